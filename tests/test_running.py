"""What stands in `processing/` while a script runs."""

import os
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import tree
from hypothesis import given
from hypothesis import strategies as st

from spooler import running
from spooler.running import Mark, work_folder

NAME = "20261123T190001.123456Z_a_contact_modified.json"
MARK = Mark("2026-11-23T19:00:02.000000Z", 3, "10-crm", "0123456789abcdef")


@pytest.mark.parametrize("name", [NAME, "x" * 250 + ".json", os.fsdecode(b"\xff\n.json")])
def test_a_mark_is_hidden_and_comes_back_for_its_own_file_only(tmp_path: Path, name: str) -> None:
    running.write(tmp_path, name, MARK)
    assert running.read(tmp_path, name) == MARK
    assert running.read(tmp_path, "other.json") is None
    assert all(entry.startswith(".") for entry in tree(tmp_path))
    running.clear(tmp_path, name)
    running.clear(tmp_path, name)
    assert tree(tmp_path) == {}


def test_the_mark_of_the_next_script_takes_the_place_of_the_last(tmp_path: Path) -> None:
    running.write(tmp_path, NAME, MARK)
    later = Mark("2026-11-23T19:00:03.000000Z", 3, os.fsdecode(b"20-\xff"), "v")
    running.write(tmp_path, NAME, later)
    assert running.read(tmp_path, NAME) == later


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"{}", b"null", b'{"at": 1}', b'{"x": 1}']))
def test_a_torn_mark_is_none(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        running.write(Path(folder), NAME, MARK)
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


def test_the_working_folder_is_empty_private_and_gone_afterwards(tmp_path: Path) -> None:
    with work_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith(".")
        assert folder.stat().st_mode & 0o7777 == 0o700
        assert tree(folder) == {}
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_bytes(b"x")
    assert tree(tmp_path) == {}


def test_the_working_folder_goes_also_when_the_run_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), work_folder(tmp_path):
        raise KeyboardInterrupt
    assert tree(tmp_path) == {}


def test_removing_the_working_folder_leaves_alone_what_a_link_in_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir(mode=0o500)
    with work_folder(tmp_path) as folder:
        (folder / "link").symlink_to(tmp_path / "kept")
    assert tree(tmp_path) == {"kept": None}
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o500


def leave_what_may_not_be_written(processing: Path) -> None:
    """Do as a script does that unpacks an archive, as a user who isn't root."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    with work_folder(processing) as folder:
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
    running.write(tmp_path, NAME, MARK)
    running.write(tmp_path, "other.json", MARK)
    (tmp_path / ".work-abc" / "sub").mkdir(parents=True)
    (tmp_path / ".work-abc" / "sub" / "file").touch()
    for name in (NAME, NAME.replace(".json", ".log"), ".other"):
        (tmp_path / name).touch()
    running.sweep(tmp_path)
    assert set(tree(tmp_path)) == {NAME, NAME.replace(".json", ".log"), ".other"}


def test_a_working_folder_is_removed_however_deep_it_is(tmp_path: Path) -> None:
    with running.work_folder(tmp_path) as folder:
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
