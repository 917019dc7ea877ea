"""What the tests share: time that is moved by hand, folders, scripts, a configuration and a key pair.

`from conftest import write_script` gives the functions; the fixtures come by their names.
"""

import os
import resource
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import settings
from whole_spool import WholeSpool

from spooler import children, durable, keypair
from spooler.intake import Intake
from spooler.running import Mark, Seat

# Real files and processes take what time they take.
settings.register_profile("spooler", deadline=None)
# For a long run (`python tests/fuzz.py`), which tries so many times as many inputs.
FACTOR = int(os.environ.get("SPOOLER_FUZZ_FACTOR", "1"))
settings.register_profile("long", settings.get_profile("spooler"), max_examples=100 * FACTOR)
settings.load_profile("long" if FACTOR > 1 else "spooler")


def examples(count: int) -> int:
    """Return how many examples a test is to try that tries so many in the suite."""
    return count * FACTOR


NOBODY = 65534  # a user without rights, on Debian as elsewhere


class FakeClock:
    """Time that stands still until it is moved.

    It starts at the real moment, because the file system's own stamps take part: `done/` is judged by them.
    """

    def __init__(self, at: datetime | None = None) -> None:
        self._now = at or datetime.now(UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def set_back(self, seconds: float) -> None:
        """Set the wall clock wrong, or right; durations know nothing of it."""
        self._now -= timedelta(seconds=seconds)


class MakeSpool(Protocol):
    def __call__(self, webhook: str = "crm", *, min_free_bytes: int = 0) -> WholeSpool: ...


@dataclass(frozen=True)
class KeyPair:
    """A private key, and the files that `spooler keygen` writes for it."""

    private: RSAPrivateKey
    private_pem: Path
    public_pem: Path
    public_xml: Path


@pytest.fixture
def clock() -> FakeClock:
    """Time that only the test moves."""
    return FakeClock()


@pytest.fixture
def make_spool(tmp_path: Path, clock: FakeClock) -> MakeSpool:
    """Make a webhook's folders under `tmp_path/spool`, on the test's clock."""

    def make(webhook: str = "crm", *, min_free_bytes: int = 0) -> WholeSpool:
        spool = WholeSpool(tmp_path / "spool", webhook, clock, min_free_bytes)
        spool.prepare()
        return spool

    return make


@pytest.fixture
def spool(make_spool: MakeSpool) -> WholeSpool:
    return make_spool()


@pytest.fixture
def intake(spool: WholeSpool) -> Intake:
    return Intake(spool, by_contact=True)


@pytest.fixture(scope="session")
def key_pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """One key pair for the whole run; making one takes a tenth of a second."""
    folder = tmp_path_factory.mktemp("keys")
    private = keypair.generate()
    keypair.write_pair(folder, private)
    return KeyPair(private, folder / "private.pem", folder / "public.pem", folder / "public.xml")


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own may only be entered by the one who tests."""
    folder = Path(tempfile.mkdtemp(prefix="spooler-open-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def leaves_no_process() -> Iterator[None]:
    """Fail a test that ends while something that it started still runs."""
    before = children.all_children()
    yield
    left = {process for process in children.all_children() - before if is_alive(process)}
    children.kill(left)
    assert not left


def give_to_nobody(folder: Path) -> None:
    """Give a folder and what is in it to a user without rights, whom root's commands then act for."""
    for place in (folder, *folder.rglob("*")):
        os.chown(place, NOBODY, NOBODY)


def leave_mark(processing: Path, file_name: str, mark: Mark) -> None:
    """Leave a mark behind, as a crash does while a script runs."""
    seat = Seat(processing, secrets.randbits(32))
    seat.mark(file_name, mark)
    seat.close()


def is_alive(process: int) -> bool:
    """Say whether a process runs; one that has ended and nobody waited for doesn't."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def write_script(folder: Path, name: str, text: str) -> Path:
    """Write an executable: a shell script, unless the text has a `#!` line of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def write_config(
    folder: Path,
    text: str = "",
    *,
    webhooks: Sequence[str] = ("crm",),
    webhook: str = "",
    key: Path | None = None,
) -> Path:
    """Write a `spooler.toml` with `spool` and `processors` beside it, make the latter, return its path.

    text: further tables, such as `[processor]`. webhook: further lines for each webhook's table.
    key: the public key; without one, requests need no signature.
    """
    signature = f'public_keys = ["{key}"]' if key else 'signature = "none"'
    tables = [f"[webhook.{name}]\n{signature}\n{webhook}\n" for name in webhooks]
    path = folder / "spooler.toml"
    path.write_text("\n".join(['spool = "spool"', 'processors = "processors"', text, *tables]), "utf-8")
    (folder / "processors").mkdir(exist_ok=True)
    return path


@contextmanager
def durable_calls() -> Iterator[list[tuple[str, str]]]:
    """Watch this thread: what is synced and renamed, in order, as ("sync", path) and ("rename", target)."""
    calls: list[tuple[str, str]] = []

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and called is os.fsync:
            known = frame.f_locals
            descriptor = known["descriptor"] if "descriptor" in known else known["folder"]
            calls.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        elif event == "call" and frame.f_code is durable.rename.__code__:
            calls.append(("rename", frame.f_locals["target"]))

    sys.setprofile(watch)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    """Let the kernel refuse everything that needs a new descriptor, as it does when a limit is reached."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def no_more_threads() -> Iterator[None]:
    """Let the kernel refuse every new thread: none gets a stack of that size."""
    usual = threading.stack_size(1 << 47)
    try:
        yield
    finally:
        threading.stack_size(usual)


@contextmanager
def full_disk(*, room_bytes: int = 0) -> Iterator[None]:
    """Let the kernel refuse to make any file longer than that: a disk that fills up in the middle of one.

    Log lines are swallowed, for what a test prints is caught in a file, too.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, hard))
    try:
        with structlog.testing.capture_logs():
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return everything below a folder, with the content of files and None for the rest."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for what other threads and processes do. Fails when it doesn't come."""
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it didn't come"
        time.sleep(0.005)
