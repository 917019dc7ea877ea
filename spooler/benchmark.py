"""The benchmark: what this machine's receiver confirms, beside what its disk allows.

Owns: the receiver of its own that is measured, with its own settings but for the address, and the turns.
Promises: receiver and disk take turns, each time in a new folder of the same disk, so that whatever else the
machine does hits both alike. Every confirmed notification is found as a file. Nothing is left behind.
Does not promise: figures of another machine, or of this one under other load. The requests come from the
same machine, and take their share of it.
"""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from spooler import disk_limit, load
from spooler.errors import SpoolerError
from spooler.keypair import generate, write_pair
from spooler.latency import Latencies
from spooler.playground import Service, free_port
from spooler.state import State

_WEBHOOK = "bench"
_SIGNED = 500  # so many different requests; each repeat of one is stored like the first
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


@contextmanager
def workplace(where: Path) -> Iterator[Path]:
    """Make a folder there that is removed in the end. Raises: SpoolerError."""
    try:
        made = tempfile.TemporaryDirectory(prefix="spooler-bench-", dir=where)
    except OSError as error:
        words = f"{where}: can't be measured: {error.strerror}; name a folder that you may write to"
        raise SpoolerError(words) from None
    with made as folder:
        yield Path(folder)


def run(place: Path, connections: int, rounds: int, seconds: float) -> Iterator[Round]:
    """Yield each round as soon as it is over. Raises: SpoolerError, OSError."""
    key = generate()
    requests = list(load.requests(f"/webhook/{_WEBHOOK}", key, _SIGNED))
    for number in range(rounds):
        folder = place / f"{number}"
        (folder / "disk").mkdir(parents=True)
        (folder / "processors").mkdir()
        write_pair(folder / "keys", key)
        receiver, processor_ms = _receiver(folder, requests, connections, seconds)
        disk = disk_limit.run(folder / "disk", seconds, load.BODY_BYTES)
        yield Round(receiver, processor_ms, disk)


def _receiver(
    folder: Path, requests: Sequence[bytes], connections: int, seconds: float
) -> tuple[Latencies, float]:
    port = free_port()
    config = folder / "spooler.toml"
    config.write_text(_CONFIGURATION.format(port=port, webhook=_WEBHOOK), encoding="utf-8")
    with Service("receive", config, port, folder / "receiver.log") as service:
        load.run(port, requests, 1, 0)  # the first request finds everything for the first time
        before = service.processor_seconds()
        latencies = load.run(port, requests, connections, seconds)
        used_seconds = service.processor_seconds() - before
    stored = sum(1 for _ in (folder / "spool" / _WEBHOOK / State.INCOMING).glob("[!.]*.json"))
    if stored < latencies.count:
        raise SpoolerError(f"{latencies.count} notifications were confirmed, and {stored} are stored")
    return latencies, used_seconds * 1e3 / latencies.count


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
