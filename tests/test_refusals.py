"""What is refused is counted for all processes, cheaply, and whatever is wrong with the file."""

import fcntl
import multiprocessing
import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import FakeClock, full_disk

from spooler import refusals
from spooler.clock import SystemClock
from spooler.refusals import FILE_NAME, Reason, Refusals, Refused

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


def test_refusals_are_counted_by_day_and_errors_until_a_200(tmp_path: Path, clock: FakeClock) -> None:
    mine, others = Refusals(tmp_path, clock), Refusals(tmp_path, clock)
    mine.count(Reason.WRONG_SIGNATURE, "matches none")
    clock.advance(60)
    others.count(Reason.UNAVAILABLE, "full")
    today = {"wrong_signature": 1, "unavailable": 1}
    assert refusals.read(tmp_path) == Refused("2026-11-24", today, "full", 2, NOON)
    mine.succeeded()
    assert refusals.read(tmp_path) == Refused("2026-11-24", today, "full", 0, None)
    others.count(Reason.BAD_REQUEST, "x")
    known = refusals.read(tmp_path)
    assert (known.errors, known.since, known.count_on("2026-11-24")) == (1, NOON + timedelta(minutes=1), 3)
    clock.advance(86400)
    mine.count(Reason.BAD_REQUEST, "x")
    known = refusals.read(tmp_path)
    assert (known.errors, known.today, known.count_on("2026-11-24")) == (2, {"bad_request": 1}, 0)


def test_how_close_the_webhook_is_to_being_switched_off() -> None:
    assert Refused(errors=97, since=NOON).to_deactivation(NOON + timedelta(hours=7)) == (3, 3600)
    assert Refused(errors=150, since=NOON).to_deactivation(NOON + timedelta(hours=9)) == (0, 0)
    assert Refused().to_deactivation(NOON) == (100, 8 * 3600)


@pytest.mark.parametrize(
    "content", [b"", b'{"day": "2026', b"[]", b'{"errors": -4}', b'{"today": {"x": 1}}', b"\xff" * 5000]
)
def test_a_file_that_is_torn_or_nonsense_counts_from_none(
    tmp_path: Path, clock: FakeClock, content: bytes
) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    assert refusals.read(tmp_path) == Refused()
    Refusals(tmp_path, clock).count(Reason.BAD_REQUEST, "x")
    assert refusals.read(tmp_path).today == {"bad_request": 1}


def test_a_time_to_come_begins_anew(tmp_path: Path, clock: FakeClock) -> None:
    counting = Refusals(tmp_path, clock)
    counting.count(Reason.BAD_REQUEST, "x")
    os.utime(tmp_path / FILE_NAME, (NOON.timestamp() + 1e6,) * 2)
    counting.count(Reason.BAD_REQUEST, "x")
    assert refusals.read(tmp_path).since == NOON


def test_the_file_keeps_its_size_and_strangers_texts_are_escaped(tmp_path: Path, clock: FakeClock) -> None:
    counting = Refusals(tmp_path, clock)
    for reason in Reason:
        counting.count(reason, "\n\x1b[31m" + "é" * 5000)
    assert (tmp_path / FILE_NAME).stat().st_size == 1024
    known = refusals.read(tmp_path)
    assert len(known.today) == len(Reason)
    assert known.why.startswith("\\n\\x1b[31m\\xe9")
    assert len(known.why) == 200


def test_a_full_disk_does_not_keep_it_from_counting(tmp_path: Path, clock: FakeClock) -> None:
    counting = Refusals(tmp_path, clock)
    counting.count(Reason.UNAVAILABLE, "x")
    with full_disk(room_bytes=1024):
        counting.count(Reason.UNAVAILABLE, "x")
    assert refusals.read(tmp_path).errors == 2


def test_what_cannot_be_counted_is_nobodys_failure(tmp_path: Path, clock: FakeClock) -> None:
    counting = Refusals(tmp_path / "gone", clock)
    counting.count(Reason.BAD_REQUEST, "x")
    counting.succeeded()
    (tmp_path / FILE_NAME).mkdir()
    Refusals(tmp_path, clock).count(Reason.BAD_REQUEST, "x")
    Refusals(tmp_path, clock).succeeded()
    assert refusals.read(tmp_path) == Refused()
    shutil.rmtree(tmp_path / FILE_NAME)


def test_a_process_that_stopped_while_it_held_the_lock_delays_nobody(
    tmp_path: Path, clock: FakeClock
) -> None:
    counting = Refusals(tmp_path, clock)
    counting.count(Reason.BAD_REQUEST, "x")
    with (tmp_path / FILE_NAME).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        begun = time.monotonic()
        counting.count(Reason.BAD_REQUEST, "x")
        counting.succeeded()
        assert time.monotonic() - begun < 1
    assert refusals.read(tmp_path).errors == 1


def test_whoever_waited_for_the_lock_in_vain_asks_for_it_only_later(tmp_path: Path, clock: FakeClock) -> None:
    counting = Refusals(tmp_path, clock)
    counting.count(Reason.BAD_REQUEST, "x")
    with (tmp_path / FILE_NAME).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        counting.count(Reason.BAD_REQUEST, "x")
    clock.advance(9)
    counting.count(Reason.BAD_REQUEST, "x")
    assert refusals.read(tmp_path).errors == 1
    clock.advance(2)
    counting.count(Reason.BAD_REQUEST, "x")
    assert refusals.read(tmp_path).errors == 2


def _count(folder: Path, times: int) -> None:
    counting = Refusals(folder, SystemClock())
    for _ in range(times):
        counting.count(Reason.WRONG_SIGNATURE, "x")


def test_four_processes_count_all_of_a_flood(tmp_path: Path) -> None:
    processes = [multiprocessing.Process(target=_count, args=(tmp_path, 500)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert refusals.read(tmp_path).errors == 2000
