"""The folders that scripts run in."""

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import disks
import pytest
from conftest import tree

from spooler import work_folder
from spooler.work_folder import WorkFolders


def test_the_working_folder_is_empty_and_private_each_time_and_gone_afterwards(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    for _ in range(3):
        with folders.given() as folder:
            assert folder.parent == tmp_path
            assert folder.name.startswith(".")
            assert folder.stat().st_mode & 0o7777 == 0o700
            assert tree(folder) == {}
            (folder / "sub").mkdir()
            (folder / "sub" / "file").write_bytes(b"x")
        assert tree(tmp_path) == {}


def test_the_working_folder_goes_also_when_the_run_fails(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    with suppress(KeyboardInterrupt), folders.given() as folder:
        (folder / "file").touch()
        raise KeyboardInterrupt
    assert tree(tmp_path) == {}


def test_a_working_folder_in_which_nothing_was_done_is_the_next_ones(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    with folders.given() as first:
        pass
    with folders.given() as second:
        assert second == first
    folders.remove()
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
    folders = WorkFolders(tmp_path)
    with folders.given() as first:
        inode = first.stat().st_ino
        held = os.open(first, os.O_RDONLY)  # so that its number can't be the next one's
        if between == "while it is used":
            change(first)
    if between == "while it is not":
        change(first)
    with folders.given() as second:
        assert second.lstat().st_ino != inode
        assert (second.lstat().st_mode, tree(second)) == (stat.S_IFDIR | 0o700, {})
    os.close(held)


def test_what_was_done_in_the_same_tick_that_the_folder_was_made_in_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a kernel whose times are no finer than its tick: nothing tells of the change.
    monkeypatch.setattr(work_folder, "_identity", lambda path: (path.stat().st_ino,))
    folders = WorkFolders(tmp_path)
    for _ in range(2):
        with folders.given() as folder:
            assert tree(folder) == {}
            (folder / "file").touch()
    with folders.given() as folder:
        pass
    (folder / "file").touch()
    with folders.given() as folder:
        assert tree(folder) == {}


@pytest.mark.skipif(bool(disks.why_not("ext4")), reason=disks.why_not("ext4"))
def test_what_was_done_in_the_same_second_is_seen_where_times_are_whole_seconds(tmp_path: Path) -> None:
    image = disks.make_image(tmp_path / "image", "ext4", "-I", "128")  # no room for more in its inodes
    with disks.mounted(image, tmp_path / "mount") as processing:
        folders = WorkFolders(processing)
        time.sleep(1.05 - time.time() % 1)  # a second has just begun
        with folders.given() as folder:
            assert folder.stat().st_ctime_ns % 1_000_000_000 == 0
        time.sleep(0.3)
        with folders.given() as folder:
            (folder / "file").touch()
        with folders.given() as folder:
            assert tree(folder) == {}


def test_removing_the_working_folder_leaves_alone_what_a_link_in_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir(mode=0o500)
    with WorkFolders(tmp_path).given() as folder:
        (folder / "link").symlink_to(tmp_path / "kept")
    assert tree(tmp_path) == {"kept": None}
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o500


def leave_what_may_not_be_written(processing: Path) -> None:
    """Do as a script does that unpacks an archive, as a user who isn't root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    with WorkFolders(processing).given() as folder:
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


def test_a_working_folder_is_removed_however_deep_it_is(tmp_path: Path) -> None:
    with WorkFolders(tmp_path).given() as folder:
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


def test_folders_that_are_given_at_the_same_time_are_different_ones(tmp_path: Path) -> None:
    folders = WorkFolders(tmp_path)
    with folders.given() as one, folders.given() as other:
        assert one != other
    assert len(list(tmp_path.iterdir())) == 2
    folders.remove()
    assert tree(tmp_path) == {}


def test_a_folder_is_emptied_and_stays(tmp_path: Path) -> None:
    with WorkFolders(tmp_path).given() as folder:
        assert work_folder.empty(folder)
        (folder / "sub" / "deeper").mkdir(parents=True)
        (folder / "sub" / "deeper" / "file").touch()
        (folder / "link").symlink_to("/")
        assert work_folder.empty(folder)
        assert list(tmp_path.rglob("*")) == [folder]
        folder.rmdir()
        assert not work_folder.empty(folder)
