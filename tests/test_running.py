"""What stands in `processing/` while a script runs."""

import errno
import os
import stat
import time
from collections.abc import Callable
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


def test_the_working_folder_is_empty_and_private_each_time_and_gone_afterwards(tmp_path: Path) -> None:
    seat = Seat(tmp_path, 1)
    for _ in range(3):
        with seat.work_folder() as folder:
            assert folder.parent == tmp_path
            assert folder.name.startswith(".")
            assert folder.stat().st_mode & 0o7777 == 0o700
            assert tree(folder) == {}
            (folder / "sub").mkdir()
            (folder / "sub" / "file").write_bytes(b"x")
        assert tree(tmp_path) == {}


def test_the_working_folder_goes_also_when_the_run_fails(tmp_path: Path) -> None:
    seat = Seat(tmp_path, 1)
    with suppress(KeyboardInterrupt), seat.work_folder() as folder:
        (folder / "file").touch()
        raise KeyboardInterrupt
    assert tree(tmp_path) == {}


def test_a_working_folder_in_which_nothing_was_done_is_the_next_ones(tmp_path: Path) -> None:
    seat = Seat(tmp_path, 1)
    with seat.work_folder() as first:
        pass
    with seat.work_folder() as second:
        assert second == first
    seat.remove()
    assert tree(tmp_path) == {}


def touched(folder: Path) -> None:
    time.sleep(0.02)  # more than a tick of the kernel's
    (folder / "file").touch()
    (folder / "file").unlink()


def replaced(folder: Path) -> None:
    folder.rename(folder.with_name("kept"))
    folder.mkdir(0o700)


def linked(folder: Path) -> None:
    folder.rmdir()
    folder.symlink_to(".")


CHANGES: dict[str, Callable[[Path], None]] = {
    "something is in it": lambda folder: (folder / "file").touch(),
    "something was in it": touched,
    "its mode is another": lambda folder: folder.chmod(0o755),
    "it is a link": linked,
    "it is another one": replaced,
    "it is gone": Path.rmdir,
}


@pytest.mark.parametrize("between", ["while it is used", "while it is not"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_working_folder_that_was_changed_is_nobody_elses(
    tmp_path: Path, change: Callable[[Path], None], between: str
) -> None:
    seat = Seat(tmp_path, 1)
    with seat.work_folder() as first:
        inode = first.stat().st_ino
        held = os.open(first, os.O_RDONLY)  # so that its number can't be the next one's
        if between == "while it is used":
            change(first)
    if between == "while it is not":
        change(first)
    with seat.work_folder() as second:
        assert second.lstat().st_ino != inode
        assert (second.lstat().st_mode, tree(second)) == (stat.S_IFDIR | 0o700, {})
    os.close(held)


def test_seats_that_are_taken_at_the_same_time_have_nothing_in_common(tmp_path: Path) -> None:
    seats = Seats(tmp_path)
    with seats.taken() as one, seats.taken() as other, one.work_folder() as mine, other.work_folder() as its:
        assert mine != its
        one.mark(NAME, MARK)
        other.mark("other.json", MARK)
        assert running.marks(tmp_path) == {NAME: MARK, "other.json": MARK}
        one.clear()
        assert running.marks(tmp_path) == {"other.json": MARK}
    with seats.taken(), seats.taken():
        pass
    seats.remove()
    assert tree(tmp_path) == {}


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


def fail(_descriptor: int) -> None:
    raise OSError(errno.EIO, "lost")


def test_removing_the_working_folder_leaves_alone_what_a_link_in_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir(mode=0o500)
    with Seat(tmp_path, 1).work_folder() as folder:
        (folder / "link").symlink_to(tmp_path / "kept")
    assert tree(tmp_path) == {"kept": None}
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o500


def leave_what_may_not_be_written(processing: Path) -> None:
    """Do as a script does that unpacks an archive, as a user who isn't root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    with Seat(processing, 1).work_folder() as folder:
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "a" / "b" / "file").touch()
        (folder / "a" / "b").chmod(0o500)
        (folder / "a").chmod(0)
        folder.chmod(0o500)


def test_folders_that_may_not_be_written_go_too() -> None:
    with TemporaryDirectory() as name:
        processing = Path(name, "processing")
        processing.mkdir()
        processing.parent.chmod(0o755)
        processing.chmod(0o777)
        process = get_context("fork").Process(target=leave_what_may_not_be_written, args=(processing,))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert tree(processing) == {}


def test_a_sweep_removes_marks_and_folders_and_nothing_else(tmp_path: Path) -> None:
    leave_mark(tmp_path, NAME, MARK)
    leave_mark(tmp_path, "other.json", MARK)
    (tmp_path / ".work-abc" / "sub").mkdir(parents=True)
    (tmp_path / ".work-abc" / "sub" / "file").touch()
    for name in (NAME, NAME.replace(".json", ".log"), ".other"):
        (tmp_path / name).touch()
    running.sweep(tmp_path)
    assert set(tree(tmp_path)) == {NAME, NAME.replace(".json", ".log"), ".other"}


def test_a_working_folder_is_removed_however_deep_it_is(tmp_path: Path) -> None:
    with Seat(tmp_path, 1).work_folder() as folder:
        inside = os.open(folder, os.O_RDONLY)
        for _ in range(3000):  # deeper than Python's stack, and longer than a path may be
            os.mkdir("a folder", dir_fd=inside)
            deeper = os.open("a folder", os.O_RDONLY, dir_fd=inside)
            os.close(inside)
            inside = deeper
        os.close(inside)
        for number in range(50):
            (folder / f"closed-{number}").mkdir()
            (folder / f"closed-{number}" / "inside").mkdir()
            (folder / f"closed-{number}").chmod(0)
    assert list(tmp_path.iterdir()) == []
