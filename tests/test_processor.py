"""The loop: when it looks, what holds it back, what runs at once, and an orderly end."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from conftest import (
    NOBODY,
    FakeClock,
    full_disk,
    give_to_nobody,
    no_more_descriptors,
    no_more_threads,
    tree,
    wait_until,
    write_config,
    write_script,
)
from running_service import make_site
from whole_spool import WholeSpool

from spooler import config, history, recovery, running
from spooler.attempt import InHand
from spooler.errors import SpoolUnusableError
from spooler.lock import ProcessorLock
from spooler.name import log_name
from spooler.notification import Notification
from spooler.outcome import Outcome
from spooler.owner import acting_for
from spooler.processor import Processor
from spooler.state import State
from spooler.turn import Settled, Turn
from spooler.watcher import Watcher
from spooler.webhook_queue import LOOK_SECONDS, WebhookQueue

IN, PROCESSING, RETRY, DONE, FAILED = State.INCOMING, State.PROCESSING, State.RETRY, State.DONE, State.FAILED
Entries = list[structlog.typing.EventDict]


@pytest.fixture
def logged() -> Iterator[Entries]:
    """What is logged, as values."""
    with structlog.testing.capture_logs() as entries:
        yield entries


def store(spool: WholeSpool, contact: int = 1, identifier: str = "a") -> str:
    body = f'{{"EventUniqueID": "{identifier}", "ContactID": {{"idContact": {contact}}}}}'.encode()
    return spool.store(body, Notification.read(body))


# One webhook's queue, on a clock that stands still.


@dataclass
class Bench:
    """A queue, its folders and its clock."""

    folder: Path
    clock: FakeClock

    def __post_init__(self) -> None:
        self.webhook = config.load(write_config(self.folder)).webhooks["crm"]
        self.spool = WholeSpool(self.folder / "spool", "crm", self.clock)
        self.spool.prepare()
        self.queue = WebhookQueue(self.webhook, self.spool)

    def store(self, contact: int = 1, identifier: str = "a") -> str:
        name = store(self.spool, contact, identifier)
        self.clock.advance(0.001)
        return name

    def peek(self) -> str | None:
        found = self.queue.peek()
        return found[2] if found else None

    def look(self, *, hinted: bool = False) -> str | None:
        self.queue.look(hinted=hinted)
        return self.peek()

    def idle_seconds(self) -> float:
        return self.queue.idle_seconds(workers_free=True)


@pytest.fixture
def bench(tmp_path: Path, clock: FakeClock) -> Bench:
    return Bench(tmp_path, clock)


def test_without_a_hint_everything_is_found_within_five_seconds(bench: Bench) -> None:
    assert bench.look() is None
    name = bench.store()
    assert bench.look() is None
    assert bench.idle_seconds() == pytest.approx(LOOK_SECONDS, abs=0.01)
    bench.clock.advance(LOOK_SECONDS)
    assert bench.idle_seconds() == 0
    assert bench.look() == name
    assert LOOK_SECONDS == 5


def test_a_hint_is_followed_at_once(bench: Bench) -> None:
    bench.look()
    name = bench.store()
    assert bench.look(hinted=True) == name
    assert bench.idle_seconds() == LOOK_SECONDS


def test_what_a_person_is_copying_is_looked_at_again_soon(bench: Bench) -> None:
    bench.spool.path(IN, "by hand.json").write_bytes(b"{}")
    assert bench.look() is None
    assert bench.idle_seconds() == 0.5


class SlowDisk(FakeClock):
    """Each look at the clock takes half a second: so long does a listing."""

    def monotonic(self) -> float:
        self.advance(0.25)
        return super().monotonic()


def test_a_hint_that_comes_too_early_is_not_forgotten(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SlowDisk())
    bench.look()
    name = bench.store()
    assert bench.look(hinted=True) is None
    pause_seconds = bench.idle_seconds()
    assert 0 < pause_seconds < LOOK_SECONDS
    bench.clock.advance(pause_seconds)
    assert bench.look() == name


def test_a_hint_that_comes_while_there_is_more_to_do_is_kept_for_afterwards(bench: Bench) -> None:
    first, second = bench.store(1, "a"), bench.store(2, "b")
    assert bench.look() == first
    bench.queue.take(first)
    third = bench.store(3, "c")
    assert bench.look(hinted=True) == second
    bench.queue.take(second)
    assert bench.peek() is None
    assert bench.idle_seconds() == 0
    assert bench.look() == third


def test_listing_a_large_folder_takes_a_small_share_of_the_time(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SlowDisk())
    bench.look()
    assert bench.idle_seconds() == LOOK_SECONDS  # what holds it back may end meanwhile
    looks = 0
    for _ in range(100):
        name = bench.store()
        looks += bench.look() == name
        bench.spool.path(IN, name).unlink()
        bench.clock.advance(1)
    assert 0 < looks <= 100 * 1.5 / (0.25 * 50)


def test_what_is_put_right_at_the_start_puts_no_look_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recover(*_: object) -> None:
        bench.clock.advance(60)  # somebody's processes are looked for, on a machine that is busy

    monkeypatch.setattr(recovery, "recover", recover)
    bench.look()
    name = bench.store()
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() == name


def test_a_retry_is_waited_for_no_longer_than_until_it_is_due(bench: Bench) -> None:
    name = bench.store()
    bench.spool.claim(IN, name)
    bench.spool.postpone(name, bench.clock.now() + timedelta(seconds=2))
    assert bench.look() is None
    assert bench.idle_seconds() == pytest.approx(2, abs=0.01)
    assert bench.queue.idle_seconds(workers_free=False) == LOOK_SECONDS
    bench.clock.advance(2.001)
    assert bench.idle_seconds() == 0
    assert bench.peek() == name


def test_a_pause_holds_back_and_is_told_once(bench: Bench, logged: Entries) -> None:
    name = bench.store()
    (bench.spool.base / "paused").touch()
    for _ in range(3):
        assert bench.look() is None
    (bench.spool.base / "paused").unlink()
    assert [bench.peek(), bench.peek()] == [name, name]
    assert [(entry["event"], entry.get("reason")) for entry in logged] == [
        ("held back", "paused"),
        ("goes on", None),
    ]


def test_scripts_that_are_gone_hold_back_until_they_are_there(bench: Bench, logged: Entries) -> None:
    name = bench.store()
    (bench.folder / "processors").rmdir()
    assert [bench.look(), bench.peek()] == [None, None]
    (bench.folder / "processors").mkdir()
    assert bench.peek() == name
    assert [entry.get("reason") for entry in logged] == [
        f"the folder of scripts, {bench.folder}/processors, doesn't exist",
        None,
    ]


def test_scripts_that_cannot_be_looked_at_hold_back_and_stop_nobody_else(
    tmp_path: Path, clock: FakeClock, logged: Entries
) -> None:
    write_config(tmp_path, webhook=f'processors = "{"x" * 300}"')
    webhook = config.load(tmp_path / "spooler.toml").webhooks["crm"]
    spool = WholeSpool(tmp_path / "spool", "crm", clock)
    spool.prepare()
    queue = WebhookQueue(webhook, spool)
    store(spool)
    queue.look(hinted=False)
    assert queue.peek() is None
    assert logged[0]["reason"] == f"{webhook.processors}: can't be read: File name too long"


def test_a_disk_that_fails_holds_back_until_it_works_again(bench: Bench, logged: Entries) -> None:
    name = bench.store()
    assert bench.look() == name
    away = bench.spool.base.rename(bench.folder / "away")  # as a disk that isn't mounted
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() is None
    away.rename(bench.spool.base)
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() == name
    assert logged[0]["reason"].startswith("the disk gave an error: [Errno 2] No such file or directory")


def test_what_a_turn_came_to_decides_what_is_next(bench: Bench) -> None:
    first, second = bench.store(1, "a"), bench.store(1, "b")
    assert bench.look() == first
    due = bench.clock.now().timestamp() + 60
    for settled, next_ in (
        (Settled(IN, first), first),
        (Settled(RETRY, first, due), None),
        (Settled(RETRY, first, due - 60), first),
        (Settled(DONE, first), second),
    ):
        bench.queue.take(first)
        bench.queue.settle(first, settled)
        assert bench.peek() == next_
    bench.queue.take(second)
    bench.queue.settle(second, None)
    assert bench.peek() is None


def test_a_disk_that_is_full_at_the_start_is_waited_for_before_anything_runs(
    bench: Bench, logged: Entries
) -> None:
    name, other = bench.store(1, "a"), bench.store(2, "b")
    bench.spool.claim(IN, name)
    with full_disk():
        assert bench.look() is None
        bench.clock.advance(LOOK_SECONDS)
        assert bench.look() is None
    assert bench.spool.listing(PROCESSING).names == [name]
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() == name
    assert bench.spool.listing(IN).names == [name, other]
    assert [entry["event"] for entry in logged] == ["taken up again", "goes on"]


def test_one_that_an_error_left_in_processing_is_taken_up_at_the_next_look(
    bench: Bench, logged: Entries
) -> None:
    name = bench.store()
    bench.look()
    bench.queue.take(name)
    bench.spool.claim(IN, name)
    bench.queue.settle(name, Settled(PROCESSING, name))
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() == name
    assert [entry["event"] for entry in logged] == ["taken up again"]
    assert "attempt" not in bench.spool.log_lines(IN, name)[0]  # its turn ended in order
    bench.queue.take(name)
    bench.spool.claim(IN, name)
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() is None
    assert bench.spool.path(PROCESSING, name).exists()  # for now it is running


def test_one_that_a_person_took_out_of_processing_holds_nobody_up(bench: Bench, logged: Entries) -> None:
    name, other = bench.store(1, "a"), bench.store(1, "b")
    bench.look()
    bench.queue.take(name)
    bench.spool.claim(IN, name)
    bench.queue.settle(name, Settled(PROCESSING, name))
    bench.spool.path(PROCESSING, name).unlink()
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() == other
    assert logged == []
    assert tree(bench.spool.folder(PROCESSING)) == {}


# The watcher.


def test_only_notifications_wake_it(tmp_path: Path) -> None:
    woken = threading.Event()
    watcher = Watcher([tmp_path], woken.set)
    watcher.start()
    assert watcher.works
    for name in (".new-1", "a.log", "b.txt"):
        (tmp_path / name).touch()
    assert not woken.wait(0.2)
    (tmp_path / ".new-1").rename(tmp_path / "a.json")
    assert woken.wait(10)
    watcher.stop()
    assert not watcher.works


_IN_MOVED_FROM = 0x40


def watched() -> dict[int, int]:
    """Return what the kernel tells this process of: the events' bits, by the folder's inode."""
    said = "".join(path.read_text() for path in Path("/proc/self/fdinfo").iterdir() if path.exists())
    found = re.findall(r"^inotify wd:\S+ ino:(\S+) \S+ mask:(\S+)", said, re.MULTILINE)
    return {int(inode, 16): int(mask, 16) for inode, mask in found}


def test_no_arrival_waits_for_what_has_left(tmp_path: Path) -> None:
    incoming, retry = tmp_path / "incoming", tmp_path / "retry"
    incoming.mkdir()
    retry.mkdir()
    watcher = Watcher([incoming, retry], lambda: None, departures=[retry])
    watcher.start()
    # Each of these would hold up the events after it.
    assert not watched()[incoming.stat().st_ino] & _IN_MOVED_FROM
    assert watched()[retry.stat().st_ino] & _IN_MOVED_FROM
    watcher.stop()


@pytest.mark.parametrize(
    "leave", [lambda file: file.unlink(), lambda file: file.rename(file.parent.parent / "b.json")]
)
def test_what_leaves_a_folder_of_departures_wakes_it(tmp_path: Path, leave: Callable[[Path], object]) -> None:
    woken = threading.Event()
    retry = tmp_path / "retry"
    retry.mkdir()
    file = retry / "a.json"
    file.touch()
    watcher = Watcher([retry], woken.set, departures=[retry])
    watcher.start()
    leave(file)
    assert woken.wait(10)
    watcher.stop()


def test_a_folder_that_was_replaced_is_watched_anew(tmp_path: Path, logged: Entries) -> None:
    woken = threading.Event()
    folder = tmp_path / "incoming"
    folder.mkdir()
    watcher = Watcher([folder], woken.set)
    watcher.start()
    watcher.check()
    assert logged == []
    folder.rename(tmp_path / "old")
    watcher.check()
    folder.mkdir()
    watcher.check()
    (folder / "a.json").touch()
    assert woken.wait(10)
    assert "watching anew" in [entry["event"] for entry in logged]
    watcher.stop()


def test_a_folder_that_was_away_is_watched_again_when_it_is_back(tmp_path: Path) -> None:
    woken = threading.Event()
    folder = tmp_path / "incoming"
    watcher = Watcher([tmp_path, folder], woken.set)
    watcher.start()
    assert watcher.works
    assert not watcher.check()
    for _ in range(2):
        folder.mkdir()
        assert watcher.check()
        assert not watcher.check()
        woken.clear()
        (folder / "a.json").touch()
        assert woken.wait(10)
        shutil.rmtree(folder)
        wait_until(lambda: not watcher.works)
        assert watcher.check()
        assert not watcher.check()
    watcher.stop()


def test_where_nothing_can_be_watched_it_says_so_once_and_tries_again(
    tmp_path: Path, logged: Entries
) -> None:
    watcher = Watcher([tmp_path], lambda: None)
    threads = threading.active_count()
    with no_more_descriptors():
        watcher.start()
        for _ in range(3):
            assert not watcher.check()
    assert not watcher.works
    assert [entry["event"] for entry in logged] == ["not watching"]
    assert re.fullmatch(r"inotify: .*(limit|Too many).*; looking every few seconds", logged[0]["reason"])
    assert threading.active_count() == threads
    assert watcher.check()  # the limit is no more
    assert watcher.works
    watcher.stop()


# The whole of it, in a thread.


@contextmanager
def processing(path: Path) -> Iterator[Processor]:
    """Run a processor while the block runs, and stop it in good order."""
    threads = threading.active_count()
    processor = Processor(config.load(path))
    thread = threading.Thread(target=processor.run)
    thread.start()
    try:
        yield processor
    finally:
        processor.stop()
        thread.join(LOOK_SECONDS - 1)  # it doesn't wait for its next look
        assert not thread.is_alive()
        wait_until(lambda: threading.active_count() == threads)


def settled(spool: WholeSpool) -> int:
    """Return how many are done or failed."""
    return sum(1 for state in (DONE, FAILED) for _ in spool.folder(state).rglob("*.json"))


def prepared(folder: Path, name: str = "crm") -> WholeSpool:
    spool = WholeSpool(folder / "spool", name)
    spool.prepare()
    return spool


ORDERED = """
echo "begin $SPOOLER_ID" >> {folder}/$SPOOLER_CONTACT
sleep 0.01
[ $SPOOLER_ID = fails-once-$SPOOLER_CONTACT ] && [ $SPOOLER_ATTEMPT = 1 ] && answer=75
[ $SPOOLER_ID = fails-ever-$SPOOLER_CONTACT ] && answer=65
echo "end $SPOOLER_ID" >> {folder}/$SPOOLER_CONTACT
exit ${{answer:-0}}
"""


@pytest.mark.usefixtures("leaves_no_process")
def test_four_workers_keep_fifty_notifications_of_five_contacts_in_order(tmp_path: Path) -> None:
    path = write_config(tmp_path, '[processor]\nworkers = 4\nretry_delays = ["50ms"]\n')
    write_script(tmp_path / "processors", "10-order", ORDERED.format(folder=tmp_path))
    spool = prepared(tmp_path)
    sent: dict[int, list[str]] = defaultdict(list)

    def send(number: int) -> None:
        contact = number % 5
        kind = {2: f"fails-once-{contact}", 3: f"fails-ever-{contact}"}.get(number // 5, f"id-{number}")
        store(spool, contact, kind)
        sent[contact].append(kind)

    for number in range(25):
        send(number)
    with processing(path):
        for number in range(25, 50):
            send(number)
        wait_until(lambda: settled(spool) == 50, 30)
    for contact, identifiers in sent.items():
        lines = (tmp_path / str(contact)).read_text().splitlines()
        expected = identifiers.copy()
        expected.insert(2, f"fails-once-{contact}")  # its second attempt, before anything younger
        # Each ends before the next begins: never two of one contact.
        assert lines == [f"{what} {identifier}" for identifier in expected for what in ("begin", "end")]
    assert len(list(spool.folder(FAILED).glob("*.json"))) == 5
    assert tree(spool.folder(PROCESSING)) == {}


@contextmanager
def done_unsynced(monkeypatch: pytest.MonkeyPatch, spool: WholeSpool) -> Iterator[threading.Event]:
    """Let the logs of what is done wait for the disk while the block runs, or until what it gives is set."""
    goes_on, fsync = threading.Event(), os.fsync

    def slow(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(spool.folder(DONE)) and path.suffix == ".log":
            assert goes_on.wait(60)
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", slow)
        try:
            yield goes_on
        finally:
            goes_on.set()


def test_no_script_begins_for_a_contact_or_out_of_turn_before_its_older_one_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", f"echo $SPOOLER_ID >> {tmp_path}/journal")
    spool = prepared(tmp_path)
    for contact, identifier in ((1, "a"), (1, "b"), (2, "c")):
        store(spool, contact, identifier)
    with done_unsynced(monkeypatch, spool) as goes_on, processing(path):
        wait_until(lambda: settled(spool) == 1)
        assert not goes_on.wait(0.3)
        assert (tmp_path / "journal").read_text() == "a\n"
        goes_on.set()
        wait_until(lambda: settled(spool) == 3)
    assert (tmp_path / "journal").read_text() == "a\nb\nc\n"


def test_while_one_gets_onto_the_disk_another_contacts_has_its_turn_and_each_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Entries
) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", "exit 0")
    spool = prepared(tmp_path)
    names = [store(spool, contact, f"id-{contact}") for contact in range(4)]

    def told() -> list[str]:
        return [entry["file"] for entry in logged if entry["event"] == "done"]

    with done_unsynced(monkeypatch, spool) as goes_on, processing(path):
        wait_until(lambda: settled(spool) == 4)
        assert sorted(running.marks(spool.folder(PROCESSING))) == names
        assert told() == []
        goes_on.set()
        wait_until(lambda: told() == names)
        wait_until(lambda: not running.marks(spool.folder(PROCESSING)))
    assert tree(spool.folder(PROCESSING)) == {}


def test_one_that_may_have_ended_the_processor_waits_until_the_others_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", f"echo $SPOOLER_ID >> {tmp_path}/journal")
    spool = prepared(tmp_path)
    store(spool, 1, "a")
    spool.claim(IN, store(spool, 2, "interrupted"))
    with done_unsynced(monkeypatch, spool) as goes_on, processing(path):
        wait_until(lambda: settled(spool) == 1)
        assert not goes_on.wait(0.3)
        assert (tmp_path / "journal").read_text() == "a\n"
        goes_on.set()
        wait_until(lambda: settled(spool) == 2)


def test_what_has_no_further_attempt_is_on_the_disk_before_its_worker_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(tmp_path, "[processor]\nretry_delays = []\n")
    write_script(tmp_path / "processors", "10-a", f"echo $SPOOLER_ID >> {tmp_path}/journal")
    spool = prepared(tmp_path)
    for contact, identifier in ((1, "a"), (2, "b")):
        store(spool, contact, identifier)
    with done_unsynced(monkeypatch, spool) as goes_on, processing(path):
        wait_until(lambda: settled(spool) == 1)
        assert not goes_on.wait(0.3)
        assert (tmp_path / "journal").read_text() == "a\n"
        goes_on.set()
        wait_until(lambda: settled(spool) == 2)


def test_an_older_one_that_comes_back_while_the_disk_is_waited_for_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", f"echo $SPOOLER_ID >> {tmp_path}/journal")
    spool = prepared(tmp_path)
    older = store(spool, 1, "older")
    spool.path(IN, older).rename(tmp_path / older)
    for identifier in ("a", "b"):
        store(spool, 1, identifier)
    with done_unsynced(monkeypatch, spool) as goes_on, processing(path):
        wait_until(lambda: settled(spool) == 1)
        (tmp_path / older).rename(spool.path(IN, older))
        assert not goes_on.wait(1.5)  # for it to be seen
        goes_on.set()
        wait_until(lambda: settled(spool) == 3)
    assert (tmp_path / "journal").read_text() == "a\nolder\nb\n"


def test_another_file_of_the_same_name_waits_until_the_first_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", f"echo $SPOOLER_ID >> {tmp_path}/journal")
    spool = prepared(tmp_path)

    def put(identifier: str, contact: int) -> None:
        body = f'{{"EventUniqueID": "{identifier}", "ContactID": {{"idContact": {contact}}}}}'
        spool.path(IN, "by hand.log").touch()  # with a log, nobody waits until it stands still
        spool.path(IN, "by hand.json").write_text(body)

    put("a", 1)
    with done_unsynced(monkeypatch, spool) as goes_on, processing(path):
        wait_until(lambda: settled(spool) == 1)
        put("b", 2)
        assert not goes_on.wait(1.0)
        assert (tmp_path / "journal").read_text() == "a\n"
        goes_on.set()
        wait_until(lambda: settled(spool) == 2)


def test_on_a_stop_what_is_done_gets_onto_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Entries
) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", "exit 0")
    spool = prepared(tmp_path)
    store(spool)
    with done_unsynced(monkeypatch, spool) as goes_on, processing(path) as processor:
        wait_until(lambda: settled(spool) == 1)
        processor.stop()
        assert not goes_on.wait(0.1)
        goes_on.set()
    assert [entry["event"] for entry in logged][-2:] == ["done", "processor ended"]
    assert tree(spool.folder(PROCESSING)) == {}


def test_four_workers_do_run_four_at_once(tmp_path: Path) -> None:
    path = write_config(tmp_path, "[processor]\nworkers = 4\n")
    write_script(
        tmp_path / "processors",
        "10-meet",
        f"cd {tmp_path}; touch here-$SPOOLER_ID; while [ $(ls here-* | wc -l) -lt 4 ]; do sleep 0.01; done",
    )
    spool = prepared(tmp_path)
    for number in range(4):
        store(spool, number, f"id-{number}")
    with processing(path):
        wait_until(lambda: settled(spool) == 4)


def test_where_no_thread_can_be_had_it_goes_on_when_one_can(tmp_path: Path, logged: Entries) -> None:
    write_script(tmp_path / "processors", "10-x", "exit 0")
    spool = prepared(tmp_path)
    with processing(write_config(tmp_path)) as processor:
        wait_until(lambda: [entry["event"] for entry in logged] == ["processor ready"])
        with no_more_threads():
            name = store(spool)
            wait_until(lambda: any(entry["event"] == "can't begin" for entry in logged))
            processor.look()
            time.sleep(0.1)
            assert spool.path(IN, name).exists()
        processor.look()
        wait_until(lambda: settled(spool) == 1)
    assert [entry["file"] for entry in logged if entry["event"] == "can't begin"] == [name]
    assert [line["exit"] for line in spool.log_lines(DONE, name, spool.today)] == [0]


def test_a_notification_wakes_it_also_right_after_another(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", "exit 0")
    spool = prepared(tmp_path)
    with processing(path):
        for number in range(3):
            time.sleep(0.05)  # so that it is idle again
            began = time.monotonic()
            store(spool, 1, f"first-{number}")
            time.sleep(0.002 * number)
            store(spool, 2, f"second-{number}")
            wait_until(lambda so_many=2 * number + 2: settled(spool) == so_many)  # type: ignore[misc]
            assert time.monotonic() - began < LOOK_SECONDS - 1


def test_without_any_event_it_finds_what_changed_and_what_a_person_put_there(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", "exit 0")
    spool = prepared(tmp_path)
    name = store(spool)
    spool.claim(IN, name)
    spool.postpone(name, spool.clock.now() + timedelta(days=1))
    spool.path(IN, "by hand.json").write_bytes(b"{}")
    spool.path(IN, "folder.json").mkdir()
    large = spool.path(IN, "20261123T190001.123456Z_large_t.json")
    large.touch()
    os.truncate(large, 1 << 40)
    with structlog.testing.capture_logs() as entries, processing(path):
        wait_until(lambda: any(entry["event"] == "left alone" for entry in entries))
        os.utime(spool.path(RETRY, name), (0, 0))  # inotify's events for this are not asked for
        wait_until(lambda: settled(spool) == 2, 3 * LOOK_SECONDS)
    reported = [entry["file"] for entry in entries if entry["event"] == "left alone"]
    assert sorted(reported) == [large.name, "folder.json"]
    assert set(os.listdir(spool.folder(IN))) == {large.name, "folder.json"}  # noqa: PTH208


def test_it_wakes_when_a_retry_is_due(tmp_path: Path) -> None:
    path = write_config(tmp_path, '[processor]\nretry_delays = ["200ms", "200ms"]')
    write_script(tmp_path / "processors", "10-a", "test $SPOOLER_ATTEMPT = 3")
    spool = prepared(tmp_path)
    store(spool)
    began = time.monotonic()
    with processing(path):
        wait_until(lambda: settled(spool))
    assert 0.4 <= time.monotonic() - began < LOOK_SECONDS - 1
    assert len(list(spool.folder(DONE).rglob("*.json"))) == 1


def test_what_a_crash_left_is_put_right_and_what_was_done_before_is_known(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", f"echo $SPOOLER_ATTEMPT; touch {tmp_path}/ran-$SPOOLER_ID")
    spool = prepared(tmp_path)
    original = store(spool, 1, "same")
    spool.claim(IN, original)
    spool.finish(original)
    store(spool, 1, "same")
    name = store(spool)
    spool.claim(IN, name)
    (spool.folder(PROCESSING) / ".work-x").mkdir()
    with processing(path):
        wait_until(lambda: settled(spool) == 3)
    assert [ran.name for ran in tmp_path.glob("ran-*")] == ["ran-a"]
    (log,) = spool.folder(DONE).rglob(log_name(name))
    assert [line.get("output") for line in history.read(log)] == [None, "2\n"]
    assert tree(spool.folder(PROCESSING)) == {}


def test_a_webhook_whose_disk_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    path = write_config(tmp_path, webhooks=["broken", "crm"])
    write_script(tmp_path / "processors", "10-a", "exit 0")
    spool, broken = prepared(tmp_path), prepared(tmp_path, "broken")
    store(broken)
    (broken.base / "paused").touch()
    with processing(path):
        broken.folder(IN).rename(broken.base / "moved-away")
        (broken.base / "paused").unlink()
        store(spool)
        wait_until(lambda: settled(spool))
    assert settled(broken) == 0


def test_the_oldest_of_all_webhooks_comes_first(tmp_path: Path) -> None:
    path = write_config(tmp_path, webhooks=["a", "b"])
    write_script(
        tmp_path / "processors", "10-a", f'echo "$SPOOLER_WEBHOOK $SPOOLER_ID" >> {tmp_path}/journal'
    )
    spools = {name: prepared(tmp_path, name) for name in ("a", "b")}
    for number in range(6):
        store(spools["ba"[number % 2]], number, str(number))
    with processing(path):
        wait_until(lambda: sum(map(settled, spools.values())) == 6)
    assert (tmp_path / "journal").read_text().split() == "b 0 a 1 b 2 a 3 b 4 a 5".split()  # noqa: SIM905


def test_one_that_a_person_moves_away_while_its_script_runs_holds_nobody_up(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    spool = prepared(tmp_path)
    write_script(
        tmp_path / "processors",
        "10-a",
        f'[ $SPOOLER_ID = a ] && mv "$SPOOLER_FILE" {spool.folder(FAILED)}; exit 0',
    )
    moved, other = store(spool, 1, "a"), store(spool, 1, "b")
    with processing(path):
        wait_until(lambda: list(spool.folder(DONE).rglob(other)))
    assert [path.name for path in spool.folder(FAILED).glob("*.json")] == [moved]
    assert len(spool.log_lines(FAILED, moved)) == 1
    assert tree(spool.folder(PROCESSING)) == {}


def test_on_a_stop_the_running_script_ends_and_nothing_else_is_begun(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    write_script(
        tmp_path / "processors", "10-a", f"touch {tmp_path}/started; sleep 0.2; touch {tmp_path}/ended"
    )
    write_script(tmp_path / "processors", "20-b", "exit 0")
    spool = prepared(tmp_path)
    first, second = store(spool, 1, "a"), store(spool, 2, "b")
    with processing(path) as processor:
        wait_until((tmp_path / "started").exists)
        processor.stop()
        processor.stop()
    assert (tmp_path / "ended").exists()
    assert spool.listing(IN).names == [first, second]
    assert [line.get("exit", line.get("note")) for line in spool.log_lines(IN, first)] == [
        0,
        "back to incoming: spooler stops",
    ]
    assert spool.log_lines(IN, second) == []
    assert tree(spool.folder(PROCESSING)) == {}
    with processing(path):
        wait_until(lambda: settled(spool) == 2)
    (log,) = spool.folder(DONE).rglob(log_name(first))
    assert [line["script"] for line in history.read(log) if "script" in line] == ["10-a", "20-b"]


def test_a_spool_that_cannot_be_used_is_told_before_anything_runs(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    (tmp_path / "spool").touch()
    with pytest.raises(SpoolUnusableError, match="Not a directory"):
        Processor(config.load(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders that others can't read")
def test_only_a_day_s_folder_in_done_has_to_be_readable_and_it_is_named(open_to_all: Path) -> None:
    path = write_config(open_to_all)
    spool = WholeSpool(open_to_all / "spool", "crm")
    spool.prepare()
    give_to_nobody(spool.root)
    (spool.folder(DONE) / "old").mkdir(0o700)
    (spool.folder(DONE) / "lost+found").mkdir(0o700)
    day = spool.folder(DONE) / spool.today
    name = spool.store(b"{}", Notification.read(b"{}"))
    os.chown(spool.path(IN, name), NOBODY, NOBODY)
    with acting_for(spool.root):
        with processing(path):
            wait_until(lambda: settled(spool) == 1)
        day.chmod(0o000)
        with pytest.raises(SpoolUnusableError) as raised:
            Processor(config.load(path))
    assert str(raised.value) == (
        f"{day}: can't be read by user id {NOBODY}: Permission denied; "
        "give that user the folder (chown, chmod u+rwx)"
    )


# The command.


def test_a_second_processor_on_the_spool_ends_at_once_with_a_clear_message(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    lock = ProcessorLock(tmp_path / "spool")
    ended = subprocess.run(
        [sys.executable, "-m", "spooler", "process", "--config", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lock.close()
    assert ended.returncode == 1
    assert ended.stderr == (
        f"spooler: {tmp_path}/spool: another processor works on this spool (there can be one); "
        "stop that one first\n"
    )


def test_on_sigterm_the_command_settles_what_runs_and_ends_with_0(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", f"touch {tmp_path}/started; sleep 0.2")
    spool = prepared(tmp_path)
    name = store(spool)
    command = [sys.executable, "-m", "spooler", "process", "--config", str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until((tmp_path / "started").exists, 30)
        process.send_signal(signal.SIGTERM)
        _out, log = process.communicate()
    assert process.returncode == 0, log
    assert [path.name for path in spool.folder(DONE).rglob("*.json")] == [name]
    assert [line.split(" event=")[1].split()[0] for line in log.splitlines()] == [
        '"processor',
        "claimed",
        '"script',
        "done",
        '"processor',
    ]


def test_one_that_an_error_left_in_processing_is_not_overtaken(bench: Bench, logged: Entries) -> None:
    name, other = bench.store(1, "a"), bench.store(1, "b")
    assert bench.look() == name
    bench.queue.take(name)
    bench.spool.claim(IN, name)
    bench.queue.settle(name, Settled(PROCESSING, name))
    assert bench.peek() is None  # `other` is younger, and of the same contact
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() == name
    assert [entry["event"] for entry in logged] == ["taken up again"]
    bench.queue.take(name)
    bench.queue.settle(name, Settled(DONE, name))
    bench.spool.path(IN, name).unlink()
    assert bench.look() == other


def test_one_that_a_crash_left_beside_an_odd_log_is_counted_once_and_suspected_when_it_can_be_read(
    bench: Bench, logged: Entries
) -> None:
    name = bench.store()
    bench.spool.claim(IN, name)
    log = bench.spool.path(PROCESSING, log_name(name))
    os.mkfifo(log)
    assert bench.look() is None
    log.unlink()
    before = history.note(bench.clock.now(), "back to incoming: paused", released=True)
    history.append(log, [before])
    bench.clock.advance(LOOK_SECONDS)
    bench.look()  # one that is put back may be followed by older ones
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() == name
    assert bench.queue.is_suspect(name)
    assert [line.get("attempt") for line in bench.spool.log_lines(IN, name)] == [None, 1]


@pytest.mark.parametrize("crashed", [False, True])
def test_one_that_has_to_stay_in_processing_is_told_of_once(
    bench: Bench, logged: Entries, crashed: bool
) -> None:
    name = bench.store()
    if not crashed:
        bench.look()
        bench.queue.take(name)
    bench.spool.claim(IN, name)
    bench.spool.path(PROCESSING, log_name(name)).mkdir()
    if not crashed:
        bench.queue.settle(name, Settled(PROCESSING, name))
    for _ in range(3):
        bench.clock.advance(LOOK_SECONDS)
        assert bench.look() is None
    assert [entry["event"] for entry in logged] == ["left alone"]


def test_a_defect_in_a_turn_costs_an_attempt_and_holds_nobody_up_for_ever(
    tmp_path: Path, logged: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", f"echo $SPOOLER_ID $SPOOLER_ATTEMPT >> {tmp_path}/journal")
    spool = prepared(tmp_path)
    store(spool, 1, "a")
    store(spool, 1, "b")
    defects = [ZeroDivisionError()]
    decide = Turn._decide

    def broken(turn: Turn, hand: InHand, progress: history.Progress) -> Outcome:
        if defects:
            raise defects.pop()
        return decide(turn, hand, progress)

    monkeypatch.setattr(Turn, "_decide", broken)
    with processing(path):
        wait_until(lambda: settled(spool) == 2, 3 * LOOK_SECONDS)
    assert "defect" in [entry["event"] for entry in logged]
    assert (tmp_path / "journal").read_text().split() == ["a", "2", "b", "1"]


def test_without_order_a_younger_one_of_the_contact_goes_on(tmp_path: Path, clock: FakeClock) -> None:
    webhook = config.load(write_config(tmp_path, '[processor]\nordering = "none"')).webhooks["crm"]
    spool = WholeSpool(tmp_path / "spool", "crm", clock)
    spool.prepare()
    queue = WebhookQueue(webhook, spool)
    names = []
    for number in range(2):
        names.append(store(spool, 1, f"id-{number}"))
        clock.advance(0.001)
    queue.look(hinted=False)
    for name in names:
        found = queue.peek()
        assert found is not None
        assert found[2] == name
        queue.take(name)


def test_a_retry_that_is_due_while_it_is_paused_is_no_busy_loop(bench: Bench) -> None:
    name = bench.store()
    bench.spool.claim(IN, name)
    bench.spool.postpone(name, bench.clock.now() + timedelta(seconds=1))
    bench.look()
    (bench.spool.base / "paused").touch()
    bench.clock.advance(2)
    assert bench.look() is None
    assert bench.idle_seconds() > 1


def test_an_idle_processor_takes_next_to_no_time(tmp_path: Path) -> None:
    path = write_config(tmp_path, "[processor]\nworkers = 4\n")
    spool = prepared(tmp_path)
    store(spool)
    with processing(path):
        wait_until(lambda: settled(spool))
        used = time.process_time()
        time.sleep(2)
        used = time.process_time() - used
    assert used < 0.2  # a busy loop takes all of it


def test_what_fails_together_does_not_come_back_together(tmp_path: Path) -> None:
    path = write_config(tmp_path, '[processor]\nretry_delays = ["1000s"]')
    write_script(tmp_path / "processors", "10-a", "exit 75")
    spool = prepared(tmp_path)
    for number in range(8):
        store(spool, number, f"id-{number}")
    with processing(path):
        wait_until(lambda: len(spool.listing(RETRY).names) == 8)
    dues = [spool.due(name) for name in spool.listing(RETRY).names]
    assert max(dues) - min(dues) > 5


def test_the_loop_watches_a_folder_anew_that_was_replaced(tmp_path: Path, logged: Entries) -> None:
    path = write_config(tmp_path)
    spool = prepared(tmp_path)
    with processing(path):
        wait_until(lambda: any(entry["event"] == "processor ready" for entry in logged))
        spool.folder(IN).rename(spool.base / "old")
        spool.prepare()
        wait_until(lambda: any(entry["event"] == "watching anew" for entry in logged), 2 * LOOK_SECONDS)


def test_folders_that_a_person_removed_are_made_again(bench: Bench) -> None:
    for state in (RETRY, State.FAILED, State.DONE):
        shutil.rmtree(bench.spool.folder(state))
    name = bench.store()
    assert bench.look() == name
    assert all(bench.spool.folder(state).is_dir() for state in State)


def test_the_older_one_that_a_person_took_back_while_it_ran_is_next(bench: Bench) -> None:
    name, _other = bench.store(1, "a"), bench.store(1, "b")
    assert bench.look() == name
    bench.queue.take(name)
    bench.spool.claim(IN, name)
    bench.spool.path(PROCESSING, name).rename(bench.spool.path(IN, name))
    bench.queue.settle(name, None)
    assert bench.look() is None  # there may be more that are being moved
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() == name


def test_one_that_runs_as_a_copy_is_still_waited_for_in_retry(bench: Bench) -> None:
    name, other = bench.store(1, "a"), bench.store(1, "b")
    assert bench.look() == name
    bench.queue.take(name)
    bench.spool.claim(IN, name)
    bench.spool.postpone(name, bench.clock.now() + timedelta(minutes=1))
    bench.queue.settle(name, Settled(RETRY, name, bench.spool.due(name)))
    shutil.copy(bench.spool.path(RETRY, name), bench.spool.path(IN, name))
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() is None  # there may be more that are being copied
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() == name
    bench.queue.take(name)
    bench.spool.claim(IN, name)
    bench.spool.finish(name)
    bench.queue.settle(name, Settled(DONE, name))
    assert bench.look() is None
    bench.clock.advance(60)
    assert bench.look() == name
    assert other in bench.spool.listing(IN).names


def test_one_that_cannot_be_moved_holds_nobody_up(bench: Bench, logged: Entries) -> None:
    name, other = bench.store(1, "a"), bench.store(2, "b")
    for _ in range(3):
        assert bench.look() == name
        bench.queue.take(name)
        bench.queue.report(name, "Operation not permitted")
        bench.queue.settle(name, None)
        assert bench.peek() == other
        bench.clock.advance(LOOK_SECONDS)
    assert [entry["event"] for entry in logged] == ["left alone"]


def test_a_due_retry_is_no_busy_loop_while_another_file_is_being_put_back(bench: Bench) -> None:
    late = bench.store(1, "late")
    bench.spool.claim(IN, late)
    bench.spool.postpone(late, bench.clock.now() + timedelta(seconds=1))
    old = bench.store(2, "old")
    bench.spool.claim(IN, old)
    bench.spool.give_up(old)
    bench.look()
    bench.spool.path(FAILED, old).rename(bench.spool.path(IN, old))
    bench.clock.advance(LOOK_SECONDS)
    assert bench.look() is None
    assert bench.idle_seconds() > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody who may not write to a log")
def test_a_log_of_roots_beside_one_that_was_put_back_holds_up_no_other_contact(clock: FakeClock) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:  # where others may go
        folder = Path(place)
        write_config(folder)
        spool = prepared(folder)
        name = store(spool, 1, "a")
        spool.record(IN, name, history.note(clock.now(), "given up"))
        for number in range(5):
            store(spool, 2 + number, f"b{number}")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 12345, 12345)
        os.chown(spool.path(IN, log_name(name)), 0, 0)
        command = [sys.executable, "-c", AS_SOMEBODY, str(folder / "spooler.toml")]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda: settled(spool) == 5)
            process.send_signal(signal.SIGTERM)
        assert spool.listing(IN).names == [name]


AS_SOMEBODY = """
import os, sys
from pathlib import Path
from spooler import config, service
configuration = config.load(Path(sys.argv[1]))
os.setgroups([]); os.setgid(12345); os.setuid(12345)
service.process(configuration)
"""


def test_what_was_left_of_a_start_that_was_killed_is_swept_after_an_hour(tmp_path: Path) -> None:
    """Nobody else looks for it, and each such start would leave one more in every folder."""
    configuration = make_site(tmp_path / "site").configuration()
    Processor(configuration)
    for state in ("processing", "retry", "done", "failed"):
        for name, age in ((".new-old", 3601), (".new-young", 0)):
            path = configuration.spool / "crm" / state / name
            path.touch()
            os.utime(path, (time.time() - age, time.time() - age))
    Processor(configuration)
    left = sorted(path.parent.name for path in configuration.spool.rglob(".new-*"))
    assert left == ["done", "failed", "processing", "retry"]
    assert not list(configuration.spool.rglob(".new-old"))


def test_signals_that_come_in_the_midst_of_one_another_end_it_all_the_same(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    write_script(tmp_path / "processors", "10-a", f"touch {tmp_path}/started")
    store(prepared(tmp_path))
    command = [sys.executable, "-m", "spooler", "process", "--config", str(path)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        wait_until((tmp_path / "started").exists, 30)
        try:
            end = time.monotonic() + 3  # on a machine that is busy few signals come to much in less
            while time.monotonic() < end:
                process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
