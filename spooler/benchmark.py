"""The benchmark: what this machine's receiver confirms, beside what its disk allows.

Owns: the receiver of its own that is measured, with its own settings but for the address, and the turns.
Promises: receiver and disk take turns, each time in a new folder of the same disk, so that whatever else the
machine does hits both alike. Every confirmed notification is found as a file. Nothing is left behind. Who
else writes to that disk, a receiver above all, has room enough all the time.
Does not promise: figures of another machine, or of this one under other load. The requests come from the
same machine, and take their share of it.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from spooler import disk_limit, load
from spooler.errors import SpoolerError
from spooler.keypair import generate, write_pair
from spooler.latency import Latencies
from spooler.playground import Service, free_port
from spooler.room import Room
from spooler.state import State
from spooler.units import format_size

_WEBHOOK = "bench"
_SIGNED = 500  # so many different requests; each repeat of one is stored like the first
# What stays free: a twentieth of the disk, within these; a receiver's own limit is 64 MiB and 100 inodes.
_KEPT_BYTES_LEAST, _KEPT_BYTES_MOST = 128 << 20, 1 << 30
_KEPT_INODES = 10_000
_BEGINNING_BYTES, _BEGINNING_INODES = 64 << 20, 10_000  # less is over before it says anything
_LOOK_SECONDS = 0.01  # the fastest disk takes a few MiB in that time
_CONFIGURATION = """\
spool = "spool"
processors = "processors"
[receiver]
listen = "127.0.0.1:{port}"
[webhook.{webhook}]
public_keys = ["keys/public.pem"]
"""


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of each. `processor_ms`: what the receiver takes of the processors for each request."""

    receiver: Latencies
    processor_ms: float
    disk: Latencies


class ScarceRoomError(SpoolerError):
    """To go on measuring would take the room on the disk that others need."""


class Reserve:
    """The room on a disk that stays free for others. Several threads may look after it at once."""

    def __init__(self, folder: Path) -> None:
        """Find out how much it is, on the folder's disk. Raises: OSError."""
        disk = os.statvfs(folder)
        twentieth = disk.f_blocks * disk.f_frsize // 20
        self.kept_bytes = max(_KEPT_BYTES_LEAST, min(twentieth, _KEPT_BYTES_MOST))
        self._folder = folder
        self._look_at = 0.0  # monotonic seconds

    def demand_beginning(self) -> None:
        """Raises: ScarceRoomError if there is hardly more than has to stay free; OSError."""
        if shortage := self._shortage(_BEGINNING_BYTES, _BEGINNING_INODES, "{} are needed"):
            raise ScarceRoomError(f"too little room to begin: {shortage}; name a folder on a disk with more")

    def demand(self) -> None:
        """Look whether it is still there, if that was a while ago. Raises: ScarceRoomError, OSError."""
        if time.monotonic() < self._look_at:
            return
        if shortage := self._shortage(0, 0, "{} are left to others"):
            raise ScarceRoomError(
                f"the disk has no more room for this: {shortage}; measure for a shorter time"
            )
        self._look_at = time.monotonic() + _LOOK_SECONDS

    def _shortage(self, more_bytes: int, more_inodes: int, words: str) -> str:
        room, least_bytes = Room.of(self._folder), self.kept_bytes + more_bytes
        if room.free_bytes < least_bytes:
            return f"{format_size(room.free_bytes)} free, {words.format(format_size(least_bytes))}"
        if room.free_inodes is not None and room.free_inodes < _KEPT_INODES + more_inodes:
            return f"{room.free_inodes:,} inodes free, {words.format(f'{_KEPT_INODES + more_inodes:,}')}"
        return ""


@contextmanager
def workplace(where: Path) -> Iterator[Path]:
    """Make a folder there that is removed in the end. Raises: SpoolerError, if there is no room too."""
    try:
        made = tempfile.TemporaryDirectory(prefix="spooler-bench-", dir=where)
    except OSError as error:
        words = f"{where}: can't be measured: {error.strerror}; name a folder that you may write to"
        raise SpoolerError(words) from None
    with made as folder:
        Reserve(where).demand_beginning()
        yield Path(folder)


def run(place: Path, connections: int, rounds: int, seconds: float) -> Iterator[Round]:
    """Yield each round as soon as it is over. Nothing is deleted: that makes some disks slow for minutes.

    Raises: ScarceRoomError when the rest of the rounds, or of the one that has begun, has to be left out;
    SpoolerError, OSError.
    """
    reserve = Reserve(place)
    key = generate()
    requests = list(load.requests(f"/webhook/{_WEBHOOK}", key, _SIGNED))
    for number in range(rounds):
        folder = place / f"{number}"
        (folder / "disk").mkdir(parents=True)
        (folder / "processors").mkdir()
        write_pair(folder / "keys", key)
        receiver, processor_ms = _receiver(folder, requests, connections, seconds, reserve)
        disk = disk_limit.run(folder / "disk", seconds, load.BODY_BYTES, before_each=reserve.demand)
        yield Round(receiver, processor_ms, disk)


def _receiver(
    folder: Path, requests: Sequence[bytes], connections: int, seconds: float, reserve: Reserve
) -> tuple[Latencies, float]:
    port = free_port()
    config = folder / "spooler.toml"
    config.write_text(_CONFIGURATION.format(port=port, webhook=_WEBHOOK), encoding="utf-8")
    log = folder / "receiver.log"
    with Service("receive", config, port, log) as service, _refusals_explained(log):
        load.run(port, requests, 1, 0)  # the first request finds everything for the first time
        before = service.processor_seconds()
        latencies = load.run(port, requests, connections, seconds, before_each=reserve.demand)
        used_seconds = service.processor_seconds() - before
    stored = sum(1 for _ in (folder / "spool" / _WEBHOOK / State.INCOMING).glob("[!.]*.json"))
    if stored < latencies.count:
        raise SpoolerError(f"{latencies.count} notifications were confirmed, and {stored} are stored")
    return latencies, used_seconds * 1e3 / latencies.count


@contextmanager
def _refusals_explained(log: Path) -> Iterator[None]:
    """Add to what failed why the receiver refused a request last: an answer doesn't tell, its log does."""
    try:
        yield
    except ScarceRoomError:
        raise
    except SpoolerError as error:
        lines = log.read_text("utf-8", "replace").splitlines()
        why = [
            line.partition(" reason=")[2].strip('"')
            for line in lines
            if " status=" in line and " reason=" in line
        ]
        if not why:
            raise
        raise SpoolerError(f"{error}: {why[-1]}") from None


@dataclass(frozen=True, slots=True)
class Summary:
    """The medians of all rounds."""

    receiver: Latencies
    processor_ms: float
    disk: Latencies
    share_of_disk: float

    @classmethod
    def of(cls, rounds: Sequence[Round]) -> "Summary":
        """Sum up; at least one round."""
        return cls(
            medians([one.receiver for one in rounds]),
            statistics.median(one.processor_ms for one in rounds),
            medians([one.disk for one in rounds]),
            statistics.median(one.receiver.per_second / one.disk.per_second for one in rounds),
        )


def medians(of_rounds: Sequence[Latencies]) -> Latencies:
    """Return the median of each figure."""
    return Latencies(
        *(statistics.median(getattr(one, field.name) for one in of_rounds) for field in fields(Latencies))
    )
