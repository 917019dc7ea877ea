"""Counting the folders, as somebody may leave them and while they change."""

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import FakeClock, MakeSpool, tree
from whole_spool import WholeSpool

from spooler import history, inventory
from spooler.inventory import Inventory
from spooler.name import Name, log_name
from spooler.notification import Notification
from spooler.state import State

EMPTY = dict.fromkeys(State, 0)


def put(spool: WholeSpool, state: State, received: datetime, *, day: str = "", number: int = 0) -> Path:
    folder = spool.folder(state) / day
    folder.mkdir(exist_ok=True)
    path = folder / str(Name(received, f"id-{number}", "t"))
    path.write_bytes(b"{}")
    return path


@pytest.fixture
def spool(make_spool: MakeSpool, clock: FakeClock) -> WholeSpool:
    clock.advance(12 * 3600 - clock.now().timestamp() % 86400)  # noon, today
    return make_spool()


def test_folders_that_are_not_there_are_empty(tmp_path: Path) -> None:
    spool = WholeSpool(tmp_path / "spool", "crm")
    assert inventory.take(spool) == Inventory(EMPTY, None, None, 0, 0)
    assert inventory.oldest_waiting(spool) is inventory.last_received(spool) is None
    assert inventory.failures_today(spool) == 0
    assert list(tmp_path.iterdir()) == []


def test_every_state_is_counted_and_done_over_all_its_days(spool: WholeSpool, clock: FakeClock) -> None:
    for number, state in enumerate(State):
        for one in range(number + 1):
            day = f"2026-11-{20 + one}" if state is State.DONE else ""
            put(spool, state, clock.now() - timedelta(days=1, seconds=one), day=day, number=one)
    assert inventory.take(spool).states == {state: number + 1 for number, state in enumerate(State)}


def test_only_regular_files_of_a_notification_s_name_count(spool: WholeSpool) -> None:
    incoming = spool.folder(State.INCOMING)
    (incoming / ".new-1").touch()
    (incoming / ".hidden.json").touch()
    (incoming / "one.log").touch()
    (incoming / "folder.json").mkdir()
    (incoming / "link.json").symlink_to("one.log")
    os.mkfifo(incoming / "pipe.json")
    (incoming / "by hand.json").touch()
    (spool.folder(State.DONE) / "stray.json").touch()  # in no day's folder
    assert inventory.take(spool).states == {**EMPTY, State.INCOMING: 1}


def test_the_oldest_that_waits_is_told_by_its_name(spool: WholeSpool, clock: FakeClock) -> None:
    moments = [clock.now() - timedelta(hours=hours) for hours in (3, 5, 4, 9, 8)]
    states = (State.INCOMING, State.RETRY, State.PROCESSING, State.DONE, State.REJECTED)
    for state, received in zip(states, moments, strict=True):
        put(spool, state, received, day="2026-11-23" if state is State.DONE else "")
    assert inventory.oldest_waiting(spool) == inventory.take(spool).oldest_waiting == moments[1]


def test_a_file_that_a_person_named_is_as_old_as_its_content_and_its_first_turn(
    spool: WholeSpool, clock: FakeClock
) -> None:
    named = spool.path(State.RETRY, "0-replay.json")
    named.write_bytes(b"{}")
    put(spool, State.INCOMING, clock.now())
    written = datetime(2026, 1, 2, tzinfo=UTC)
    os.utime(named, (written.timestamp(), written.timestamp()))
    assert inventory.oldest_waiting(spool) == written
    first_turn = written - timedelta(hours=1)  # the file's own time is when it is due, there
    history.append(named.with_suffix(".log"), [history.note(first_turn, "a turn")])
    assert inventory.take(spool).oldest_waiting == first_turn


def test_a_name_with_a_date_that_is_none_is_as_old_as_its_file(spool: WholeSpool) -> None:
    path = spool.path(State.INCOMING, "20260231T000000.000000Z_a_t.json")
    path.touch()
    os.utime(path, (1e9, 1e9))
    found = inventory.take(spool)
    assert (found.oldest_waiting, found.last_received) == (datetime.fromtimestamp(1e9, UTC), None)


@pytest.mark.parametrize("state", [s for s in State if s is not State.REJECTED])
def test_the_last_received_is_found_wherever_it_is(spool: WholeSpool, clock: FakeClock, state: State) -> None:
    today = f"{clock.now():%Y-%m-%d}"
    for number, other in enumerate(State):
        received = clock.now() - timedelta(minutes=0 if other is State.REJECTED else 10 + number)
        put(spool, other, received, day=today if other is State.DONE else "")
    newest = clock.now() - timedelta(minutes=5)
    put(spool, state, newest, day=today if state is State.DONE else "", number=9)
    assert inventory.last_received(spool) == inventory.take(spool).last_received == newest


def test_the_last_received_may_have_been_finished_before_an_older_one(
    spool: WholeSpool, clock: FakeClock
) -> None:
    newest = clock.now() - timedelta(days=2)
    put(spool, State.DONE, newest, day=f"{newest:%Y-%m-%d}")
    put(spool, State.DONE, newest - timedelta(hours=2), day=f"{clock.now():%Y-%m-%d}", number=1)
    assert inventory.last_received(spool) == newest


def test_a_stamp_that_is_yet_to_come_does_not_hide_what_came_last(
    spool: WholeSpool, clock: FakeClock
) -> None:
    newest = clock.now() - timedelta(minutes=5)
    put(spool, State.DONE, newest, day=f"{newest:%Y-%m-%d}")
    put(spool, State.FAILED, clock.now() + timedelta(days=1000), number=1)
    assert inventory.last_received(spool) == inventory.take(spool).last_received == newest


def test_what_was_received_within_the_last_hour_is_counted(spool: WholeSpool, clock: FakeClock) -> None:
    for number, minutes in enumerate((1, 59, 61)):
        put(spool, State.INCOMING, clock.now() - timedelta(minutes=minutes), number=number)
    put(spool, State.DONE, clock.now(), day=f"{clock.now():%Y-%m-%d}")
    put(spool, State.REJECTED, clock.now())
    assert inventory.take(spool).received_lately == 3


def test_failures_are_today_s_if_their_last_line_is(spool: WholeSpool, clock: FakeClock) -> None:
    for number in range(3):
        put(spool, State.FAILED, clock.now() - timedelta(days=number), number=number)
    files = sorted(spool.folder(State.FAILED).glob("*.json"))
    for path, days_ago in zip(files, (1, 0), strict=False):  # a person put the third there, without a log
        log = path.with_name(log_name(path.name))
        history.append(log, [history.note(clock.now(), "given up")])
        seconds = (clock.now() - timedelta(days=days_ago)).timestamp()
        os.utime(log, (seconds, seconds))
    assert inventory.failures_today(spool) == inventory.take(spool).failures_today == 1
    clock.advance(86400)
    assert inventory.failures_today(spool) == inventory.take(spool).failures_today == 0


def test_only_the_log_of_a_notification_tells_of_a_failure(spool: WholeSpool, clock: FakeClock) -> None:
    failed = spool.folder(State.FAILED)
    for name in ("no file", ".hidden", "a folder's", "a link's", "a failure's"):
        (failed / f"{name}.log").write_bytes(b"{}\n")
    (failed / ".hidden.json").touch()
    (failed / "a folder's.json").mkdir()
    (failed / "a link's.json").symlink_to("a failure's.json")
    (failed / "a failure's.json").touch()
    for name in ("pipe", "folder", "link"):
        (failed / f"{name}.json").touch()
    os.mkfifo(failed / "pipe.log")
    (failed / "folder.log").mkdir()
    (failed / "link.log").symlink_to("a failure's.log")
    for path in failed.iterdir():
        os.utime(path, (clock.now().timestamp(),) * 2, follow_symlinks=False)
    assert inventory.failures_today(spool) == inventory.take(spool).failures_today == 1


def test_looking_changes_nothing(spool: WholeSpool) -> None:
    body = b'{"EventUniqueID": "a"}'
    spool.claim(State.INCOMING, spool.store(body, Notification.read(body)))
    before = tree(spool.root)
    inventory.take(spool)
    assert tree(spool.root) == before


def test_a_folder_that_cannot_be_read_is_an_error(spool: WholeSpool) -> None:
    spool.folder(State.FAILED).rmdir()
    spool.folder(State.FAILED).touch()
    with pytest.raises(NotADirectoryError):
        inventory.take(spool)


def test_files_may_come_and_go_meanwhile(spool: WholeSpool, clock: FakeClock) -> None:
    stopped = threading.Event()

    def move_about() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            path = put(spool, State.FAILED, clock.now(), number=number)
            hand = put(spool, State.INCOMING, clock.now(), number=number).rename(
                spool.path(State.INCOMING, f"hand-{number}.json")
            )
            day = spool.folder(State.DONE) / "2026-11-01"
            day.mkdir()
            path.rename(day / path.name)
            hand.unlink()
            (day / path.name).unlink()
            day.rmdir()

    mover = threading.Thread(target=move_about)
    mover.start()
    try:
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            found = inventory.take(spool)
            assert found.states[State.FAILED] <= 2
            inventory.last_received(spool)
    finally:
        stopped.set()
        mover.join()


def test_memory_does_not_grow_with_the_number_of_files(spool: WholeSpool, clock: FakeClock) -> None:
    folder = spool.folder(State.INCOMING)
    with_files = os.open(folder, os.O_DIRECTORY)
    for number in range(60_000):
        name = str(Name(clock.now() + timedelta(microseconds=number), f"id-{number:040}", "t"))
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=with_files))
    os.close(with_files)
    program = (
        "import resource, sys; from pathlib import Path; from spooler import inventory;"
        "from spooler.spool import WebhookSpool;"
        "spool = WebhookSpool(Path(sys.argv[1]), 'crm'); peak = resource.getrusage;"
        "before = peak(resource.RUSAGE_SELF).ru_maxrss; found = inventory.take(spool);"
        "print(sum(found.states.values()), peak(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", program, str(spool.root)]
    counted, grown_kib = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
    assert counted == 60_000
    assert grown_kib < 3000  # a list of the names would take 9 MB


def test_an_odd_log_hides_no_notification(spool: WholeSpool) -> None:
    spool.path(State.RETRY, "by hand.json").write_bytes(b"{}")
    spool.path(State.RETRY, "by hand.log").symlink_to("/dev/null")
    taken = inventory.take(spool)
    assert taken.states[State.RETRY] == 1
    assert inventory.oldest_waiting(spool) == spool.written(State.RETRY, "by hand.json")
