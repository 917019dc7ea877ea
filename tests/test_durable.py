"""How bytes get onto the disk, watched at the calls that bring them there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import durable_calls, full_disk, tree

from spooler.durable import create, opened_folder, rename, sync_folder, write_hidden


def open_descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_content_is_synced_before_it_gets_its_name_and_the_name_before_create_returns(tmp_path: Path) -> None:
    with opened_folder(tmp_path) as folder, durable_calls() as calls:

        def publish() -> str:
            rename(".hidden", "name", source_folder=folder, target_folder=folder)
            return "name"

        assert create(folder, ".hidden", b"body", publish) == "name"
    assert calls == [("sync", f"{tmp_path}/.hidden"), ("rename", "name"), ("sync", str(tmp_path))]
    assert tree(tmp_path) == {"name": b"body"}


def test_content_is_complete_when_it_is_published(tmp_path: Path) -> None:
    body = os.urandom(3 << 20)
    seen: list[dict[str, bytes | None]] = []
    with opened_folder(tmp_path) as folder:

        def publish() -> str:
            seen.append(tree(tmp_path))
            return ".hidden"

        create(folder, ".hidden", body, publish)
    assert seen == [{".hidden": body}]


def test_what_publish_refuses_is_dropped(tmp_path: Path) -> None:
    def publish() -> str:
        raise KeyboardInterrupt

    with opened_folder(tmp_path) as folder, pytest.raises(KeyboardInterrupt):
        create(folder, ".hidden", b"body", publish)
    assert tree(tmp_path) == {}


def test_a_disk_that_fills_up_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with (
        opened_folder(tmp_path) as folder,
        full_disk(room_bytes=4096),
        pytest.raises(OSError, match="too large"),
    ):
        create(folder, ".hidden", b"x" * 100_000, lambda: pytest.fail("it was published"))
    assert tree(tmp_path) == {}


def test_a_hidden_name_that_is_taken_is_refused_and_stays_whole(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_bytes(b"another's")
    with opened_folder(tmp_path) as folder, pytest.raises(FileExistsError):
        write_hidden(folder, ".hidden", b"mine", sync=True)
    assert tree(tmp_path) == {".hidden": b"another's"}


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
def test_the_mode_is_0640_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    with umask(mask), opened_folder(tmp_path) as folder:
        write_hidden(folder, ".hidden", b"", sync=False)
    assert (tmp_path / ".hidden").stat().st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("sync", [True, False])
def test_what_need_not_survive_is_not_synced(tmp_path: Path, sync: bool) -> None:
    with opened_folder(tmp_path) as folder, durable_calls() as calls:
        write_hidden(folder, ".hidden", b"body", sync=sync)
    assert calls == ([("sync", f"{tmp_path}/.hidden")] if sync else [])


def test_a_rename_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"1")
    (tmp_path / "new").write_bytes(b"2")
    with pytest.raises(FileExistsError):
        rename(str(tmp_path / "new"), str(tmp_path / "old"))
    assert tree(tmp_path) == {"old": b"1", "new": b"2"}


def test_a_rename_says_which_file_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        rename(str(tmp_path / "gone"), str(tmp_path / "new"))
    assert (raised.value.filename, raised.value.filename2) == (
        str(tmp_path / "gone"),
        str(tmp_path / "new"),
    )


def test_a_rename_between_two_folders_takes_any_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"-\xff \n.json")
    (tmp_path / "from").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "from" / name).write_bytes(b"1")
    with opened_folder(tmp_path / "from") as source, opened_folder(tmp_path / "to") as target:
        rename(name, name, source_folder=source, target_folder=target)
    assert (tmp_path / "to" / name).read_bytes() == b"1"


def test_a_folder_is_synced_itself(tmp_path: Path) -> None:
    with durable_calls() as calls:
        sync_folder(tmp_path)
    assert calls == [("sync", str(tmp_path))]


def test_what_is_no_folder_is_not_opened_as_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_folder(tmp_path / "file")


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = open_descriptors()
    with opened_folder(tmp_path) as folder:
        create(folder, ".hidden", b"", lambda: ".hidden")
        with pytest.raises(FileExistsError):
            write_hidden(folder, ".hidden", b"", sync=True)
    assert open_descriptors() == before
