"""Group commit, with real files and threads: what is synced together, who waits for what, who is told."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest
import structlog
from conftest import wait_until

from spooler import durable
from spooler.group_commit import GroupCommit
from spooler.spool import Moved

LONG_SECONDS = 600.0
PATIENCE_SECONDS = 10.0  # after which a test that has failed ends, too
A_MOMENT_SECONDS = 0.2  # in which what isn't to happen would


@dataclass
class Disk:
    """A folder whose syncs are watched, and may have to be waited for."""

    folder: Path
    synced: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    goes_on: threading.Event = field(default_factory=threading.Event)
    broken: str = ""
    number: int = 0

    def moved(self, name: str) -> Moved:
        """Return a move into the folder, with its log."""
        made = Moved(name, str(self.folder))
        log = self.folder / f"{name}.log"
        log.touch()
        made.take_log(str(log))
        return made

    def add(self, commit: GroupCommit, name: str, *lanes: str) -> Moved:
        made = self.moved(name)
        commit.add(frozenset(lanes), made, lambda: self.told.append(name))
        return made

    def sync(self, descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        assert self.goes_on.wait(PATIENCE_SECONDS)
        self.synced.append(name)
        if name == self.broken:
            raise OSError(5, "lost")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    disk.goes_on.set()
    monkeypatch.setattr(os, "fsync", disk.sync)
    yield disk
    disk.goes_on.set()


@contextmanager
def committing(together: int = 8, linger_seconds: float = LONG_SECONDS) -> Iterator[GroupCommit]:
    commit = GroupCommit(together=together, linger_seconds=linger_seconds)
    commit.start()
    try:
        yield commit
    finally:
        commit.close()


@contextmanager
def waiting(wait: Callable[[], object]) -> Iterator[threading.Event]:
    """Have a thread wait while the block runs; gives what is set when it goes on, as it has to in the end."""
    went_on = threading.Event()

    def run() -> None:
        wait()
        went_on.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield went_on
    thread.join(10)
    assert went_on.is_set()


def test_what_was_moved_is_synced_soon_the_log_before_the_folder_and_told_then(disk: Disk) -> None:
    with committing(linger_seconds=0.01) as commit:
        disk.add(commit, "a")
        wait_until(lambda: disk.told == ["a"])
        assert disk.synced == ["a.log", disk.folder.name]


def test_what_comes_within_a_moment_is_synced_together_and_the_folder_once(disk: Disk) -> None:
    with committing(together=3) as commit:
        disk.add(commit, "a")
        disk.add(commit, "b")
        assert not threading.Event().wait(A_MOMENT_SECONDS)
        assert disk.synced == []
        disk.add(commit, "c")
        wait_until(lambda: disk.told == ["a", "b", "c"])
        assert disk.synced == ["a.log", "b.log", "c.log", disk.folder.name]


@pytest.mark.parametrize(
    "wait",
    [
        GroupCommit.hurry,
        GroupCommit.wait_for_all,
        lambda commit: commit.wait_for(frozenset({"contact 1", "other"})),
        GroupCommit.close,
    ],
    ids=["nothing else to do", "waits for all", "waits for a lane", "the end"],
)
def test_nobody_waits_for_others_to_come(disk: Disk, wait: Callable[[GroupCommit], object]) -> None:
    with committing() as commit:
        disk.add(commit, "a", "id a", "contact 1")
        wait(commit)
        wait_until(lambda: disk.told == ["a"])


def test_what_shares_a_lane_is_waited_for_till_it_is_on_the_disk_and_nothing_else_is(disk: Disk) -> None:
    disk.goes_on.clear()
    with committing() as commit:
        disk.add(commit, "a", "id a", "contact 1")
        commit.hurry()
        commit.wait_for(frozenset({"id b", "contact 2"}))
        with waiting(lambda: commit.wait_for(frozenset({"id c", "contact 1"}))) as went_on:
            assert not went_on.wait(A_MOMENT_SECONDS)
            assert disk.told == []
            disk.goes_on.set()
        assert disk.told == ["a"]


def test_all_are_waited_for_whatever_their_lanes(disk: Disk) -> None:
    disk.goes_on.clear()
    with committing(together=1) as commit:
        disk.add(commit, "a", "id a")
        disk.add(commit, "b", "id b")
        with waiting(commit.wait_for_all) as went_on:
            assert not went_on.wait(A_MOMENT_SECONDS)
            disk.goes_on.set()
        assert disk.told == ["a", "b"]


def test_a_disk_that_hangs_is_not_given_ever_more(disk: Disk) -> None:
    disk.goes_on.clear()
    with committing(together=2) as commit:
        for name in "abcd":
            disk.add(commit, name)
        with waiting(lambda: disk.add(commit, "e")) as went_on:
            assert not went_on.wait(A_MOMENT_SECONDS)
            disk.goes_on.set()
    assert disk.told == ["a", "b", "c", "d", "e"]


def test_the_logs_of_a_group_are_all_begun_to_be_written_out_before_the_first_is_waited_for(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def begin(descriptor: int) -> None:
        assert disk.synced == []
        begun.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        if len(begun) == 2:
            raise OSError(5, "lost")

    monkeypatch.setattr(durable, "begin_to_write_out", begin)
    with committing(together=3) as commit:
        moved = [disk.add(commit, name) for name in "abc"]
    assert begun == ["a.log", "b.log", "c.log"]
    assert disk.synced == ["a.log", "b.log", "c.log", disk.folder.name]
    # Its sync reported success, as for lost data it may.
    assert [one.name for one in moved if one.error is not None] == ["b"]


@pytest.mark.parametrize("broken", ["b.log", ""], ids=["a log", "the folder"])
def test_what_could_not_be_synced_has_an_error_when_it_is_told_of(disk: Disk, broken: str) -> None:
    disk.broken = broken or disk.folder.name
    with committing(together=3) as commit:
        moved = [disk.add(commit, name) for name in "abc"]
    assert disk.told == ["a", "b", "c"]
    failed = [one.name for one in moved if one.error is not None]
    assert failed == (["b"] if broken else ["a", "b", "c"])
    assert disk.synced.count(disk.folder.name) == 1


def test_no_descriptor_is_left_open(disk: Disk) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough
    disk.broken = "b.log"
    with committing(together=2) as commit:
        for name in "abcd":
            disk.add(commit, name)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def defect() -> None:
    raise ZeroDivisionError


def test_a_defect_in_whoever_is_told_holds_up_nobody(disk: Disk) -> None:
    with structlog.testing.capture_logs() as logged, committing(together=2) as commit:
        commit.add(frozenset({"id a"}), disk.moved("a"), defect)
        disk.add(commit, "b")
        commit.wait_for_all()
        assert disk.told == ["b"]
        disk.add(commit, "c")
    assert disk.told == ["b", "c"]
    assert [entry["event"] for entry in logged] == ["defect"]


def test_a_defect_that_not_even_the_log_can_be_told_of_holds_up_nobody(disk: Disk) -> None:
    def broken(*_: object) -> NoReturn:
        raise MemoryError

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[broken])
    try:
        with committing(together=2) as commit:
            commit.add(frozenset({"id a"}), disk.moved("a"), defect)
            disk.add(commit, "b")
            with waiting(commit.wait_for_all):
                pass
            disk.add(commit, "c")
    finally:
        structlog.configure(processors=before)
    assert disk.told[-1] == "c"


def test_a_defect_in_the_sync_holds_up_nobody_and_nothing_is_told_of(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with structlog.testing.capture_logs() as logged, committing() as commit:
        with monkeypatch.context() as patched:
            patched.setattr(durable, "sync_folder", lambda _folder: defect())
            disk.add(commit, "a", "id a")
            commit.wait_for(frozenset({"id a"}))
        disk.add(commit, "b")
    assert disk.told == ["b"]
    assert [entry["event"] for entry in logged] == ["defect"]


def test_one_that_was_never_started_ends_at_once() -> None:
    GroupCommit().close()
