"""A name that has just arrived: it is on the disk before anything is done with its file, at few syncs."""

import time
from pathlib import Path

import pytest
from conftest import durable_calls

from spooler.arrived import Arrived

TICK_SECONDS = 0.02  # the kernel's times are no finer than its tick


def arrive(folder: Path, name: str) -> str:
    """Give a file its name, as the receiver does; later than whatever was changed before."""
    folder.mkdir(exist_ok=True)
    time.sleep(TICK_SECONDS)
    hidden = folder / f".{name}"
    hidden.touch()
    return str(hidden.rename(folder / name))


def syncs(arrived: Arrived, folder: Path, path: str) -> int:
    with durable_calls() as calls:
        arrived.keep(str(folder), path)
    assert set(calls) <= {("sync", str(folder))}
    return len(calls)


def test_one_sync_serves_for_all_that_was_there_when_it_began(tmp_path: Path) -> None:
    arrived = Arrived()
    paths = [arrive(tmp_path, name) for name in "1234"]
    assert [syncs(arrived, tmp_path, path) for path in paths[:3]] == [1, 0, 0]
    younger = arrive(tmp_path, "5")
    assert syncs(arrived, tmp_path, younger) == 1
    assert [syncs(arrived, tmp_path, path) for path in paths] == [0, 0, 0, 0]


def test_what_the_last_change_may_have_brought_is_synced_again(tmp_path: Path) -> None:
    arrived = Arrived()
    path = arrive(tmp_path, "1")
    while Path(path).stat().st_ctime_ns != tmp_path.stat().st_ctime_ns:  # a tick came between the two
        path = arrive(tmp_path, "1")
    # The kernel says the same of what was there when the sync began, and of what came right after.
    assert [syncs(arrived, tmp_path, path) for _ in range(2)] == [1, 1]


def test_after_the_clock_was_set_back_times_say_nothing(tmp_path: Path) -> None:
    arrived, folder = Arrived(), tmp_path / "earlier"
    earlier = arrive(folder, "1")
    arrive(folder, "2")
    later = arrive(tmp_path / "later", "1")
    assert syncs(arrived, tmp_path / "later", later) == 1
    assert syncs(arrived, folder, earlier) == 1
    assert syncs(arrived, folder, earlier) == 0


def test_what_is_gone_meanwhile_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Arrived().keep(str(tmp_path), str(tmp_path / "gone"))
