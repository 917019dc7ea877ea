"""What stands in `processing/` while a script runs."""

import errno
import os
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import leave_mark, tree
from hypothesis import given
from hypothesis import strategies as st

from spooler import running
from spooler.running import Mark, Seat, Seats

NAME = "20261123T190001.123456Z_a_contact_modified.json"
MARK = Mark("2026-11-23T19:00:02.000000Z", 3, "10-crm", "0123456789abcdef")


@pytest.mark.parametrize("name", [NAME, "x" * 250 + ".json", os.fsdecode(b"\xff\n.json")])
def test_a_mark_is_hidden_and_comes_back_for_its_own_file_only(tmp_path: Path, name: str) -> None:
    leave_mark(tmp_path, "another.json", MARK)
    leave_mark(tmp_path, name, MARK)
    assert running.read(tmp_path, name) == MARK
    assert running.read(tmp_path, "other.json") is None
    assert all(entry.startswith(".") for entry in tree(tmp_path))
    running.clear(tmp_path, name)
    running.clear(tmp_path, name)
    assert running.marks(tmp_path) == {"another.json": MARK}


def test_the_mark_of_the_next_script_takes_the_place_of_the_last(tmp_path: Path) -> None:
    seat = Seat(tmp_path, 1)
    seat.mark(NAME, MARK)
    later = Mark("2026-11-23T19:00:03.000000Z", 3, os.fsdecode(b"20-\xff" * 50), "v")
    seat.mark("other.json", later)
    assert running.marks(tmp_path) == {"other.json": later}
    seat.clear()
    assert running.marks(tmp_path) == {}


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"{}", b"null", b'{"at": 1}', b'{"x": 1}']))
def test_a_torn_mark_is_none(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        leave_mark(Path(folder), NAME, MARK)
        (path,) = Path(folder).iterdir()
        path.write_bytes(content)
        assert running.read(Path(folder), NAME) is None


def test_what_was_cut_short_gives_a_line_of_the_same_run() -> None:
    assert MARK.interrupted() == {
        "at": MARK.at,
        "attempt": 3,
        "script": "10-crm",
        "version": "0123456789abcdef",
        "exit": "interrupted",
        "seconds": None,
        "output": "",
    }


def test_seats_that_are_taken_at_the_same_time_have_nothing_in_common(tmp_path: Path) -> None:
    seats = Seats(tmp_path)
    with seats.taken() as one, seats.taken() as other:
        one.mark(NAME, MARK)
        other.mark("other.json", MARK)
        assert running.marks(tmp_path) == {NAME: MARK, "other.json": MARK}
        one.clear()
        assert running.marks(tmp_path) == {"other.json": MARK}
    assert running.marks(tmp_path) == {}
    with seats.taken(), seats.taken():
        pass
    seats.remove()
    assert tree(tmp_path) == {}


def test_where_nothing_could_be_run_no_mark_is_left(tmp_path: Path) -> None:
    mark_and_raise(Seats(tmp_path), OSError(errno.ENOSPC, "full"))
    assert tree(tmp_path) == {}


def test_after_a_defect_a_mark_stays_whatever_is_run_next(tmp_path: Path) -> None:
    seats = Seats(tmp_path)
    mark_and_raise(seats, ZeroDivisionError())
    with seats.taken() as seat:
        seat.mark("other.json", MARK)
        assert running.marks(tmp_path) == {NAME: MARK, "other.json": MARK}
    assert running.marks(tmp_path) == {NAME: MARK}


@pytest.mark.parametrize("why", ["kept", "lent", "a defect"])
def test_at_an_orderly_end_the_mark_of_what_may_not_be_on_the_disk_stays(tmp_path: Path, why: str) -> None:
    seats = Seats(tmp_path)
    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough
    with suppress(ZeroDivisionError), seats.taken() as seat, seats.taken() as other:
        other.mark("other.json", MARK)
        seat.mark(NAME, MARK)
        if why == "kept":
            seat.keep()
        elif why == "lent":
            seat.is_lent = True
        else:
            other.clear()
            raise ZeroDivisionError
    seats.remove()
    assert running.marks(tmp_path) == {NAME: MARK}
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


def test_a_mark_is_synced_and_where_its_file_is_new_the_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    for call in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, call, lambda fd: synced.append(str(Path(f"/proc/self/fd/{fd}").readlink())))
    seat = Seat(tmp_path, 1)
    path = str(tmp_path / ".run-1")
    anew = [path, str(tmp_path)]
    for what, expected in (("new", anew), ("known", [path]), ("gone", anew), ("known", [path])):
        if what == "gone":
            Path(path).unlink()
        synced.clear()
        seat.mark(NAME, MARK)
        assert synced == expected, what
        assert running.read(tmp_path, NAME) == MARK


def test_after_a_sync_that_failed_the_mark_is_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat = Seat(tmp_path, 1)
    seat.mark(NAME, MARK)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="lost"):
            seat.mark("other.json", MARK)
    assert tree(tmp_path) == {}
    seat.mark("other.json", MARK)
    assert running.marks(tmp_path) == {"other.json": MARK}


def mark_and_raise(seats: Seats, error: Exception) -> None:
    with suppress(type(error)), seats.taken() as seat:
        seat.mark(NAME, MARK)
        raise error


def fail(_descriptor: int) -> None:
    raise OSError(errno.EIO, "lost")


def test_a_sweep_removes_marks_and_folders_and_nothing_else(tmp_path: Path) -> None:
    leave_mark(tmp_path, NAME, MARK)
    leave_mark(tmp_path, "other.json", MARK)
    (tmp_path / ".work-abc" / "sub").mkdir(parents=True)
    (tmp_path / ".work-abc" / "sub" / "file").touch()
    for name in (NAME, NAME.replace(".json", ".log"), ".other"):
        (tmp_path / name).touch()
    running.sweep(tmp_path)
    assert set(tree(tmp_path)) == {NAME, NAME.replace(".json", ".log"), ".other"}


def look_as_nobody(processing: Path) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    assert running.marks(processing) == {}
    assert running.read(processing, NAME) is None


def test_a_mark_that_may_not_be_read_holds_nothing_up() -> None:
    with TemporaryDirectory() as folder:
        processing = Path(folder)
        processing.chmod(0o755)
        leave_mark(processing, NAME, MARK)
        for path in processing.iterdir():
            path.chmod(0)
        process = get_context("fork").Process(target=look_as_nobody, args=(processing,))
        process.start()
        process.join()
        assert process.exitcode == 0
