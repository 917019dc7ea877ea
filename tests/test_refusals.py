"""What is refused is counted for all processes, cheaply, and whatever is wrong with the file."""

import fcntl
import multiprocessing
import os
import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import NOBODY, FakeClock, full_disk
from structlog.testing import capture_logs

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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("mode", [0o640, 0o666], ids=["closed", "open, but only its owner may set its time"])
def test_another_users_file_makes_way_for_one_that_counts(open_to_all: Path, mode: int) -> None:
    os.chown(open_to_all, NOBODY, NOBODY)
    file = open_to_all / FILE_NAME
    Refusals(open_to_all, SystemClock()).count(Reason.BAD_REQUEST, "as root")
    file.chmod(mode)
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            counting = Refusals(open_to_all, SystemClock())
            for _ in range(3):
                counting.count(Reason.WRONG_SIGNATURE, "matches none")
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert file.stat().st_uid == NOBODY
    known = refusals.read(open_to_all)
    assert (known.errors, known.today) == (3, {"wrong_signature": 3})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_run_of_errors_ends_with_a_200(open_to_all: Path) -> None:
    os.chown(open_to_all, NOBODY, NOBODY)
    Refusals(open_to_all, SystemClock()).count(Reason.BAD_REQUEST, "as root")
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.setgroups([])
            os.setuid(NOBODY)
            Refusals(open_to_all, SystemClock()).succeeded()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert refusals.read(open_to_all).errors == 0


def test_a_pipe_or_a_link_in_the_files_place_makes_way(tmp_path: Path, clock: FakeClock) -> None:
    file, elsewhere, counting = tmp_path / FILE_NAME, tmp_path / "elsewhere", Refusals(tmp_path, clock)
    elsewhere.write_bytes(b"mine")
    os.mkfifo(file)
    assert refusals.read(tmp_path) == Refused()
    counting.count(Reason.BAD_REQUEST, "x")
    assert refusals.read(tmp_path).errors == 1
    file.unlink()
    file.symlink_to(elsewhere)
    counting.count(Reason.BAD_REQUEST, "x")
    assert refusals.read(tmp_path).errors == 1
    assert elsewhere.read_bytes() == b"mine"


def test_that_nothing_can_be_counted_is_told_once_until_it_can(tmp_path: Path, clock: FakeClock) -> None:
    file, counting = tmp_path / FILE_NAME, Refusals(tmp_path, clock)
    with capture_logs() as lines:
        counting.succeeded()
        assert lines == []
        for _ in range(2):
            file.mkdir()
            for _ in range(3):
                counting.count(Reason.BAD_REQUEST, "x")
                counting.succeeded()
            file.rmdir()
            counting.count(Reason.BAD_REQUEST, "x")
            file.unlink()
    told = {"event": "refusals aren't counted", "log_level": "error", "path": str(file)}
    assert all(told.items() <= line.items() for line in lines)
    assert len(lines) == 2


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
