"""What the receiver does in the spool: storing, by one and by many at once, and what is refused."""

import ctypes
import fcntl
import os
import re
import signal
import struct
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
from spool_files import BODY, NOTIFICATION, files

from spooler import durable
from spooler.clock import SystemClock
from spooler.errors import StorageUnavailableError
from spooler.name import Name, log_name
from spooler.state import State
from spooler.storing import Arrival, ReceiversSpool


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


def test_a_deadline_that_passes_while_others_store_counts_too(make_spool: MakeSpool) -> None:
    clock = SystemClock()
    spool = ReceiversSpool(make_spool().root, "crm", clock)
    with durable.opened_folder(spool.folder(State.INCOMING)) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)
        deadline = clock.monotonic() + 0.3
        with pytest.raises(
            StorageUnavailableError, match=r"can't store in .*/incoming: another process holds"
        ):
            spool.store(BODY, NOTIFICATION, deadline=deadline)
        assert 0 <= clock.monotonic() - deadline < 1
        with pytest.raises(
            StorageUnavailableError, match=r"can't write in .*/incoming: another process holds"
        ):
            spool.check_writable()
    assert files(spool) == {}
    spool.check_writable()
    spool.store(BODY, NOTIFICATION, deadline=clock.monotonic() + 5)
    assert len(files(spool)) == 1


def test_whose_deadline_is_past_gives_nobody_less_time_for_the_lock(make_spool: MakeSpool) -> None:
    clock = SystemClock()
    spool = ReceiversSpool(make_spool().root, "crm", clock)
    late, early = (
        Arrival(content=BODY, notification=NOTIFICATION, deadline=clock.monotonic() + seconds)
        for seconds in (-1, 5)
    )
    with ThreadPoolExecutor(1) as pool:
        with durable.opened_folder(spool.folder(State.INCOMING)) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            storing = pool.submit(spool.store_all, [late, early])
            wait_until(lambda: len(files(spool)) == 2)  # under their hidden names
        storing.result()
    assert isinstance(late.error, StorageUnavailableError)
    assert files(spool) == {f"incoming/{early.name}": BODY}


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


def store_many(root: Path, process: int, threads: int, each: int) -> None:
    spool = ReceiversSpool(root, "crm")

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
    spool = ReceiversSpool(tmp_path, "crm")
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
    spool = ReceiversSpool(tmp_path, "crm")
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


def test_a_refused_request_whose_line_finds_no_room_leaves_nothing(make_spool: MakeSpool) -> None:
    spool = make_spool()
    line = {"at": "a", "headers": {"X-Note": "x" * 5000}}
    with full_disk(room_bytes=2000), pytest.raises(OSError, match="File too large"):
        spool.refuse(BODY, NOTIFICATION, line)
    assert len(BODY) < 2000  # so it's the line that found none
    assert files(spool) == {}


def test_a_refused_request_never_takes_a_log_that_is_there(make_spool: MakeSpool) -> None:
    spool = make_spool()
    name = spool.refuse(BODY, NOTIFICATION, {"at": "a"})
    spool.path(State.REJECTED, name).unlink()
    other = spool.refuse(BODY, NOTIFICATION, {"at": "b"})
    assert files(spool) == {
        f"rejected/{log_name(name)}": b'{"at": "a"}\n',
        f"rejected/{other}": BODY,
        f"rejected/{log_name(other)}": b'{"at": "b"}\n',
    }


def test_no_lock_outlives_a_call(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.store(BODY, NOTIFICATION)
    spool.listing(State.INCOMING)
    stored = threading.Thread(target=spool.store, args=(BODY, NOTIFICATION), daemon=True)
    stored.start()
    stored.join(5)
    assert not stored.is_alive()
    assert len(spool.listing(State.INCOMING).names) == 2
