"""The only hand on the folders: storing, listing, and every move."""

import ctypes
import fcntl
import os
import re
import shutil
import signal
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from conftest import FakeClock, MakeSpool, durable_calls, full_disk, tree, wait_until

from spooler import history, latest
from spooler.errors import Exit, SpoolUnusableError, StorageUnavailableError
from spooler.name import Name, log_name
from spooler.notification import Notification
from spooler.spool import WebhookSpool, bring_log
from spooler.state import MOVES, State

BODY = b'{"EventUniqueID": "7c1f4a52", "Type": "contact_modified", "x": "\xff\0\n"}'
NOTIFICATION = Notification("7c1f4a52", "contact_modified", "", None, is_test=False, problem="")
LINES: list[history.Line] = [{"at": "a", "attempt": 1, "exit": 75}, {"at": "b", "note": "n"}]
HOUR = 3600


def put(spool: WebhookSpool, state: State, name: str = "", lines: list[history.Line] | None = None) -> str:
    """Put a notification into a state's folder as it would be there, with a log if there are lines."""
    name = name or str(Name(spool.clock.now(), "7c1f4a52", "contact_modified"))
    folder = (
        spool.folder(state) / f"{spool.clock.now():%Y-%m-%d}" if state is State.DONE else spool.folder(state)
    )
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(BODY)
    if lines is not None:
        history.append(folder / log_name(name), lines)
    return name


def files(spool: WebhookSpool) -> dict[str, bytes | None]:
    """Return all files of the webhook, without the folders and the note of the latest stamp."""
    found = tree(spool.base).items()
    note = f"rejected/{latest.FILE_NAME}"
    return {name: content for name, content in found if content is not None and name != note}


# Storing.


def test_a_body_is_stored_byte_for_byte_under_time_id_and_type(
    make_spool: MakeSpool, clock: FakeClock
) -> None:
    spool = make_spool()
    name = spool.store(BODY, NOTIFICATION)
    assert name == f"{clock.now():%Y%m%dT%H%M%S.%fZ}_7c1f4a52_contact_modified.json"
    assert files(spool) == {f"incoming/{name}": BODY}


@pytest.mark.parametrize("mask", [0, 0o027, 0o777])
def test_a_stored_file_has_mode_0640_under_any_umask(make_spool: MakeSpool, mask: int) -> None:
    spool = make_spool()
    before = os.umask(mask)
    try:
        name = spool.store(BODY, NOTIFICATION)
    finally:
        os.umask(before)
    assert spool.path(State.INCOMING, name).stat().st_mode & 0o7777 == 0o640


def test_storing_returns_when_file_and_name_are_on_the_disk(make_spool: MakeSpool) -> None:
    spool = make_spool()
    with durable_calls() as calls:
        name = spool.store(BODY, NOTIFICATION)
    (sync, hidden), *rest = calls
    assert sync == "sync"
    assert re.fullmatch(rf"{spool.folder(State.INCOMING)}/\.new-[0-9a-f]+", hidden)
    assert rest == [("rename", name), ("sync", str(spool.folder(State.INCOMING)))]


def test_the_folders_are_on_the_disk_before_anything_is_stored_in_them(tmp_path: Path) -> None:
    with durable_calls() as calls:
        WebhookSpool(tmp_path / "new" / "spool", "crm").prepare([State.INCOMING])
    parents = (tmp_path, tmp_path / "new", tmp_path / "new" / "spool", tmp_path / "new" / "spool" / "crm")
    assert {("sync", str(parent)) for parent in parents} == set(calls)


def test_folders_that_another_made_and_may_not_have_synced_are_synced(tmp_path: Path) -> None:
    spool = WebhookSpool(tmp_path / "spool", "crm")
    spool.folder(State.INCOMING).mkdir(parents=True)
    with durable_calls() as calls:
        spool.prepare([State.INCOMING])
    assert {("sync", str(spool.root)), ("sync", str(spool.base))} <= set(calls)


def test_a_day_that_another_made_and_may_not_have_synced_is_synced_once(make_spool: MakeSpool) -> None:
    spool = make_spool()
    (spool.folder(State.DONE) / spool.today).mkdir()
    with durable_calls() as calls:
        for name in ("1.json", "2.json"):
            spool.finish(put(spool, State.PROCESSING, name))
    named = ("sync", str(spool.folder(State.DONE)))
    assert calls.count(named) == 1
    assert calls.index(named) == 0


def test_a_name_that_is_taken_gives_the_next_microsecond(make_spool: MakeSpool, clock: FakeClock) -> None:
    spool = make_spool()
    names = [spool.store(b"%d" % number, NOTIFICATION) for number in range(3)]
    assert [Name.parse(name) for name in names] == [
        Name(clock.now() + timedelta(microseconds=number), "7c1f4a52", "contact_modified")
        for number in range(3)
    ]
    assert [spool.read(State.INCOMING, name) for name in names] == [b"0", b"1", b"2"]


def test_past_the_deadline_nothing_is_stored(make_spool: MakeSpool, clock: FakeClock) -> None:
    spool = make_spool()
    spool.store(BODY, NOTIFICATION, deadline=clock.monotonic())
    before = tree(spool.base)
    with pytest.raises(StorageUnavailableError, match="storing took longer than the sender waits"):
        spool.store(BODY, NOTIFICATION, deadline=clock.monotonic() - 0.001)
    assert tree(spool.base) == before


def test_a_deadline_that_passes_while_others_store_counts_too(
    make_spool: MakeSpool, clock: FakeClock
) -> None:
    spool = make_spool()
    folder = os.open(spool.folder(State.INCOMING), os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as pool:
        storing = pool.submit(spool.store, BODY, NOTIFICATION, deadline=clock.monotonic() + 5)
        wait_until(lambda: _waits_for_a_lock(spool.folder(State.INCOMING)))
        clock.advance(6)
        os.close(folder)
        assert isinstance(storing.exception(), StorageUnavailableError)
    assert files(spool) == {}


def _waits_for_a_lock(path: Path) -> bool:
    status = path.stat()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino} "
    locks = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and place in line for line in locks)


def test_below_min_free_nothing_is_stored(make_spool: MakeSpool) -> None:
    spool = make_spool(min_free_bytes=1 << 60)
    with pytest.raises(StorageUnavailableError, match=r"^only .* free, min_free is 1048576\.0 TiB$"):
        spool.store(BODY, NOTIFICATION)
    with pytest.raises(StorageUnavailableError, match=r"^only .* free, min_free is"):
        spool.check_writable()
    assert files(spool) == {}


def test_a_disk_that_refuses_is_told_and_nothing_is_left(make_spool: MakeSpool) -> None:
    spool = make_spool()
    with full_disk():
        with pytest.raises(StorageUnavailableError, match=r"can't store in .*/crm/incoming: File too large"):
            spool.store(BODY, NOTIFICATION)
        with pytest.raises(StorageUnavailableError, match=r"can't write in .*/crm/incoming: File too large"):
            spool.check_writable()
    assert files(spool) == {}


def test_a_folder_that_is_gone_is_told(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.folder(State.INCOMING).rmdir()
    for attempt in (lambda: spool.store(BODY, NOTIFICATION), spool.check_writable):
        with pytest.raises(StorageUnavailableError, match="incoming: No such file or directory"):
            attempt()


def test_asking_whether_it_could_store_leaves_nothing(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.check_writable()
    assert files(spool) == {}


# Many at once.


def store_many(root: Path, process: int, threads: int, each: int) -> None:
    spool = WebhookSpool(root, "crm")

    def store(number: int) -> None:
        for _ in range(each):
            spool.store(b"%d" % number, NOTIFICATION)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(store, range(process * threads, (process + 1) * threads)))


@contextmanager
def appearances(folder: Path) -> Iterator[Callable[[], list[str]]]:
    """Let the kernel tell in which order names appear in a folder by renames."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    moved_to = 0x80
    assert libc.inotify_add_watch(descriptor, os.fsencode(folder), moved_to) >= 0

    def names() -> list[str]:
        found: list[str] = []
        while True:
            try:
                events = os.read(descriptor, 1 << 20)
            except BlockingIOError:
                return found
            while events:
                (length,) = struct.unpack_from("I", events, 12)
                found.append(os.fsdecode(events[16 : 16 + length].rstrip(b"\0")))
                events = events[16 + length :]

    yield names
    os.close(descriptor)


def test_names_from_many_threads_and_processes_are_unique_and_sorted_as_they_became_visible(
    tmp_path: Path,
) -> None:
    spool = WebhookSpool(tmp_path, "crm")
    spool.prepare()
    processes, threads, each = 3, 4, 25
    with appearances(spool.folder(State.INCOMING)) as appeared:
        workers = [
            get_context("fork").Process(target=store_many, args=(tmp_path, number, threads, each))
            for number in range(processes)
        ]
        for worker in workers:
            worker.start()
        seen: set[str] = set()
        complete_to = ""
        while any(worker.is_alive() for worker in workers):
            listing = spool.listing(State.INCOMING)
            # Nothing comes up later that sorts before what a listing said is complete.
            assert not [name for name in listing.names if name <= complete_to and name not in seen]
            seen, complete_to = set(listing.names), listing.complete_to
        names = appeared()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(names) == processes * threads * each == len(set(names))
    assert names == sorted(names) == spool.listing(State.INCOMING).names
    assert set(files(spool).values()) == {b"%d" % n for n in range(processes * threads)}


def test_what_a_killed_process_had_confirmed_is_there_whole(tmp_path: Path) -> None:
    spool = WebhookSpool(tmp_path, "crm")
    spool.prepare()
    body = b"x" * 100_000
    receiving, sending = get_context("fork").Pipe(duplex=False)

    def store_for_ever(confirm: Connection) -> None:
        while True:
            confirm.send(spool.store(body, NOTIFICATION))

    process = get_context("fork").Process(target=store_for_ever, args=(sending,))
    process.start()
    sending.close()
    confirmed = [receiving.recv() for _ in range(20)]
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    with suppress(EOFError):
        while True:
            confirmed.append(receiving.recv())
    process.join()
    listed = spool.listing(State.INCOMING).names
    assert listed[: len(confirmed)] == confirmed
    assert len(listed) <= len(confirmed) + 1
    assert all(spool.path(State.INCOMING, name).read_bytes() == body for name in listed)


# Litter.


def test_what_a_crashed_receiver_left_is_swept_after_an_hour_and_not_before(
    make_spool: MakeSpool, clock: FakeClock
) -> None:
    spool = make_spool()
    kept = put(spool, State.INCOMING)
    now = clock.now().timestamp()
    for state in (State.INCOMING, State.REJECTED):
        for name, age in ((".new-old", HOUR + 1), (".new-young", HOUR - 1), (".other", 9 * HOUR)):
            path = spool.path(state, name)
            path.touch()
            os.utime(path, (now - age, now - age))
    os.utime(spool.path(State.INCOMING, kept), (0, 0))
    assert spool.sweep_litter() == 2
    assert set(files(spool)) == {
        f"incoming/{kept}",
        *(f"{state}/{name}" for state in ("incoming", "rejected") for name in (".new-young", ".other")),
    }
    assert spool.sweep_litter() == 0
    clock.advance(2)
    assert spool.sweep_litter() == 2


# Listing and reading.


def test_a_listing_gives_the_notifications_sorted_and_tells_what_is_odd(make_spool: MakeSpool) -> None:
    spool = make_spool()
    folder = spool.folder(State.INCOMING)
    for name in ("b.json", "a.json", "a.log", ".c.json", ".new-1", "d.txt", "-.json", "e\n.json"):
        (folder / name).touch()
    (folder / os.fsdecode(b"\xff.json")).touch()
    (folder / "link.json").symlink_to(folder / "a.json")
    (folder / "broken.json").symlink_to("nowhere")
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / "pipe.log").mkdir()
    listing = spool.listing(State.INCOMING)
    assert listing.names == ["-.json", "a.json", "b.json", "e\n.json", os.fsdecode(b"\xff.json")]
    assert listing.odd == ["broken.json", "folder.json", "link.json", "pipe.json"]


def test_a_listing_is_complete_to_the_moment_when_it_began(make_spool: MakeSpool, clock: FakeClock) -> None:
    spool = make_spool()
    before = spool.store(BODY, NOTIFICATION)
    clock.advance(1)
    listing = spool.listing(State.INCOMING)
    after = spool.store(BODY, NOTIFICATION)
    assert before < listing.complete_to < after


def test_a_body_is_read_only_from_a_regular_file_of_a_sensible_size(make_spool: MakeSpool) -> None:
    spool = make_spool()
    folder = spool.folder(State.INCOMING)
    (folder / "secret").write_text("root")
    (folder / "link.json").symlink_to(folder / "secret")
    (folder / "folder.json").mkdir()
    (folder / "large.json").touch()
    os.truncate(folder / "large.json", (64 << 20) + 1)
    for name, error in (
        ("link.json", "Too many levels of symbolic links"),
        ("folder.json", "Is a directory"),
        ("large.json", "larger than 64.0 MiB"),
        ("gone.json", "No such file"),
    ):
        with pytest.raises(OSError, match=error):
            spool.read(State.INCOMING, name)
    os.mkfifo(folder / "pipe.json")
    assert spool.read(State.INCOMING, "pipe.json") == b""  # and nobody waits for a writer


def test_a_files_own_time_is_no_obstacle_whatever_it_is(clock: FakeClock) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:  # it knows dates that Python doesn't
        spool = WebhookSpool(Path(memory), "crm", clock)
        spool.prepare()
        path = spool.path(State.INCOMING, "a.json")
        path.touch()
        for seconds, written in (
            (0.0, "1970-01-01"),
            (-1e9, "1938-04-24"),
            (1e14, f"{clock.now():%Y-%m-%d}"),
        ):
            os.utime(path, (seconds, seconds))
            assert f"{spool.written(State.INCOMING, 'a.json'):%Y-%m-%d}" == written


def test_the_webhook_is_paused_while_the_file_is_there(make_spool: MakeSpool) -> None:
    spool = make_spool()
    assert not spool.paused
    (spool.base / "paused").touch()
    assert spool.paused
    (spool.base / "paused").unlink()
    assert not spool.paused


# Moves.

TRIALS: dict[str, Callable[[WebhookSpool, State, str], str]] = {
    "claim": lambda spool, source, name: spool.claim(source, name),
    "release": lambda spool, _source, name: spool.release(name),
    "postpone": lambda spool, _source, name: spool.postpone(name, spool.clock.now() + timedelta(minutes=1)),
    "finish": lambda spool, _source, name: spool.finish(name),
    "give_up": lambda spool, _source, name: spool.give_up(name),
}
PAIRS = [(verb, source) for verb in TRIALS for source in State]
LEGAL = [(verb, source) for verb, source in PAIRS if source in MOVES[verb].sources]


@pytest.mark.parametrize("more", [False, True])
def test_a_log_whose_last_line_was_synced_is_not_synced_again_and_one_that_grew_since_is(
    make_spool: MakeSpool, *, more: bool
) -> None:
    spool = make_spool()
    name = spool.claim(State.INCOMING, put(spool, State.INCOMING))
    log = str(spool.path(State.PROCESSING, log_name(name)))
    spool.record(State.PROCESSING, name, LINES[0], sync=True)
    if more:
        spool.record(State.PROCESSING, name, LINES[1])
    with durable_calls() as calls:
        spool.finish(name)
    assert (("sync", log) in calls) is more


def test_every_move_of_the_table_is_tried() -> None:
    by_person = {"retry", "drop", "readmit", "prune"}
    assert set(TRIALS) | {"store", "refuse"} | by_person == set(MOVES)


@pytest.mark.parametrize(("verb", "source"), LEGAL)
@pytest.mark.parametrize("lines", [None, LINES], ids=["without a log", "with a log"])
def test_a_legal_move_brings_file_and_log_into_the_folder_that_the_table_names(
    make_spool: MakeSpool, clock: FakeClock, verb: str, source: State, lines: list[history.Line] | None
) -> None:
    spool = make_spool()
    name = put(spool, source, lines=lines)
    with durable_calls() as calls:
        assert TRIALS[verb](spool, source, name) == name
    move = MOVES[verb]
    day = f"/{clock.now():%Y-%m-%d}" if move.target is State.DONE else ""
    target = f"{move.target}{day}"
    log = {} if lines is None else {f"{target}/{log_name(name)}": b"".join(map(history._encode, lines))}
    assert files(spool) == {f"{target}/{name}": BODY, **log}

    names = [name] if lines is None else [name, log_name(name)]
    renames = [("rename", f"{spool.base}/{target}/{moved}") for moved in names]
    before: list[tuple[str, str]] = []
    after: list[tuple[str, str]] = []
    if move.synced:
        before += [("sync", f"{spool.base}/{source}/{name}")] if verb == "postpone" else []  # its due time
        before += [("sync", f"{spool.base}/{move.target}")] if day else []  # the day's folder is new
        before += [] if lines is None else [("sync", f"{spool.base}/{source}/{log_name(name)}")]
        after += [("sync", f"{spool.base}/{target}")]
    assert calls == [*before, *renames, *after]


@pytest.mark.parametrize(("verb", "source"), [pair for pair in PAIRS if pair not in LEGAL])
def test_any_other_move_is_refused_and_changes_nothing(
    make_spool: MakeSpool, verb: str, source: State
) -> None:
    spool = make_spool()
    name = put(spool, source, lines=LINES)
    before = files(spool)
    with pytest.raises((ValueError, FileNotFoundError)):
        TRIALS[verb](spool, source, name)
    assert files(spool) == before


@pytest.mark.parametrize(("verb", "source"), LEGAL)
def test_a_move_of_what_a_person_took_away_is_refused(
    make_spool: MakeSpool, verb: str, source: State
) -> None:
    spool = make_spool()
    with pytest.raises(FileNotFoundError):
        TRIALS[verb](spool, source, "gone.json")
    assert files(spool) == {}


@pytest.mark.parametrize(("verb", "source"), LEGAL)
@pytest.mark.parametrize("name", ["by-hand.json", "20261123T190001.123456Z_7c1f4a52_contact_modified.json"])
def test_a_move_never_replaces_a_file(make_spool: MakeSpool, verb: str, source: State, name: str) -> None:
    spool = make_spool()
    put(spool, source, name, LINES)
    target = MOVES[verb].target
    assert target
    put(spool, target, name, [{"at": "other"}])
    there = {path: content for path, content in files(spool).items() if path.startswith(f"{target}/")}
    moved = TRIALS[verb](spool, source, name)
    parsed = Name.parse(name)
    assert moved == (str(parsed.next()) if parsed else "by-hand-again-2.json")
    assert files(spool).items() > there.items()
    assert len(files(spool)) == 4
    assert {path.rpartition("/")[2] for path in files(spool) if path not in there} == {moved, log_name(moved)}


def test_a_third_of_the_same_name_finds_its_place_too(make_spool: MakeSpool) -> None:
    spool = make_spool()
    names = []
    for _ in range(3):
        put(spool, State.PROCESSING, "by-hand.json")
        names.append(spool.give_up("by-hand.json"))
    assert names == ["by-hand.json", "by-hand-again-2.json", "by-hand-again-3.json"]


def test_a_copy_of_a_finished_file_can_be_brought_back_and_finished_again(make_spool: MakeSpool) -> None:
    spool = make_spool()
    name = put(spool, State.PROCESSING, lines=LINES)
    spool.finish(name)
    (done,) = spool.folder(State.DONE).iterdir()
    shutil.copy(done / name, spool.path(State.INCOMING, name))
    spool.claim(State.INCOMING, name)
    spool.record(State.PROCESSING, name, {"at": "second"})
    again = spool.finish(name)
    assert again != name
    assert {path.name for path in done.iterdir()} == {name, log_name(name), again, log_name(again)}
    assert history.read(done / log_name(name)) == LINES
    assert history.read(done / log_name(again)) == [{"at": "second"}]


def test_a_file_that_comes_back_without_its_log_finds_it_in_the_end(make_spool: MakeSpool) -> None:
    spool = make_spool()
    name = put(spool, State.PROCESSING, lines=LINES)
    spool.give_up(name)
    spool.path(State.FAILED, name).rename(spool.path(State.PROCESSING, name))
    spool.record(State.PROCESSING, name, {"at": "second"})
    assert spool.give_up(name) == name
    assert spool.log_lines(State.FAILED, name) == [*LINES, {"at": "second"}]
    assert len(files(spool)) == 2


def test_when_a_retry_is_due_stands_in_the_files_own_time(make_spool: MakeSpool, clock: FakeClock) -> None:
    spool = make_spool()
    name = put(spool, State.PROCESSING)
    due = clock.now() + timedelta(minutes=15, microseconds=7)
    spool.postpone(name, due)
    assert spool.due(name) == pytest.approx(due.timestamp(), abs=1e-5)
    assert spool.path(State.RETRY, name).stat().st_mtime == spool.due(name)
    assert spool.path(State.RETRY, name).read_bytes() == BODY


def test_finished_files_are_in_the_folder_of_the_day_in_utc(make_spool: MakeSpool, clock: FakeClock) -> None:
    spool = make_spool()
    days = []
    for _ in range(2):
        spool.finish(put(spool, State.PROCESSING))
        days.append(f"{clock.now():%Y-%m-%d}")
        clock.advance(24 * HOUR)
    assert [path.name for path in sorted(spool.folder(State.DONE).iterdir())] == days


def test_a_log_that_is_in_the_way_keeps_its_lines_in_front(tmp_path: Path) -> None:
    history.append(tmp_path / "old", LINES[:1])
    history.append(tmp_path / "new", LINES[1:])
    with durable_calls() as calls:
        bring_log(tmp_path / "new", tmp_path / "old")
    assert calls[-1] == ("sync", str(tmp_path / "old"))  # for then its own is removed
    assert history.read(tmp_path / "old") == LINES
    assert not (tmp_path / "new").exists()


# Refused requests.


def test_a_refused_request_is_kept_with_its_line_until_it_is_forgotten(make_spool: MakeSpool) -> None:
    spool = make_spool()
    with durable_calls() as calls:
        names = [spool.refuse(BODY, NOTIFICATION, {"at": "a", "status": 401}) for _ in range(2)]
    assert "sync" not in {kind for kind, _path in calls}
    assert len(set(names)) == 2
    assert files(spool) == {
        f"rejected/{path}": content
        for name in names
        for path, content in ((name, BODY), (log_name(name), b'{"at": "a", "status": 401}\n'))
    }
    for name in names:
        spool.forget(State.REJECTED, name)
        spool.forget(State.REJECTED, name)
    assert files(spool) == {}


# The folders themselves.


def test_all_folders_are_made_for_the_service_and_its_group(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        spool = WebhookSpool(tmp_path / "deep" / "spool", "crm")
        spool.prepare()
        spool.prepare()
    finally:
        os.umask(before)
    assert tree(spool.base) == {state.value: None for state in State}
    assert {spool.folder(state).stat().st_mode & 0o7777 for state in State} == {0o750}


def test_a_folder_that_cannot_be_made_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    with pytest.raises(SpoolUnusableError) as raised:
        WebhookSpool(tmp_path / "spool", "crm").prepare()
    assert raised.value.exit is Exit.CONFIGURATION
    assert str(raised.value) == (
        f"{tmp_path}/spool/crm/incoming: can't be written by user id {os.geteuid()}: Not a directory; "
        "give that user the folder (chown, chmod u+rwx) or change `spool`"
    )


def test_folders_on_two_file_systems_are_refused(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        assert Path(elsewhere).stat().st_dev != tmp_path.stat().st_dev
        (tmp_path / "crm").mkdir()
        (tmp_path / "crm" / "retry").symlink_to(elsewhere)
        with pytest.raises(SpoolUnusableError, match="crm: its folders must be on one file system"):
            WebhookSpool(tmp_path, "crm").prepare()


def test_no_lock_outlives_a_call(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.store(BODY, NOTIFICATION)
    spool.listing(State.INCOMING)
    stored = threading.Thread(target=spool.store, args=(BODY, NOTIFICATION), daemon=True)
    stored.start()
    stored.join(5)
    assert not stored.is_alive()
    assert len(spool.listing(State.INCOMING).names) == 2
