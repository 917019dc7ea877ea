"""How bytes get onto the disk, watched at the calls that bring them there."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import disks
import pytest
from conftest import durable_calls, full_disk, tree

from spooler.durable import (
    NewFile,
    create,
    opened_file,
    opened_folder,
    read_all,
    rename,
    sync_folder,
    write_hidden,
)


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

        def publish() -> None:
            rename(".hidden", "name", source_folder=folder, target_folder=folder)
            file.name = "name"

        create(folder, [file := NewFile(hidden=".hidden", content=b"body")], publish)
    assert (file.name, file.error) == ("name", None)
    assert calls == [("sync", f"{tmp_path}/.hidden"), ("rename", "name"), ("sync", str(tmp_path))]
    assert tree(tmp_path) == {"name": b"body"}


def test_content_is_complete_when_it_is_published(tmp_path: Path) -> None:
    body = os.urandom(3 << 20)
    seen: list[dict[str, bytes | None]] = []
    with opened_folder(tmp_path) as folder:

        def publish() -> None:
            seen.append(tree(tmp_path))
            file.name = ".hidden"

        create(folder, [file := NewFile(hidden=".hidden", content=body)], publish)
    assert seen == [{".hidden": body}]


def test_what_publish_refuses_is_dropped(tmp_path: Path) -> None:
    def publish() -> None:
        raise KeyboardInterrupt

    with opened_folder(tmp_path) as folder, pytest.raises(KeyboardInterrupt):
        create(folder, [NewFile(hidden=".hidden", content=b"body")], publish)
    assert tree(tmp_path) == {}


def test_a_disk_that_fills_up_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    file = NewFile(hidden=".hidden", content=b"x" * 100_000)
    with opened_folder(tmp_path) as folder, full_disk(room_bytes=4096):
        create(folder, [file], lambda: pytest.fail("it was published"))
    assert isinstance(file.error, OSError)
    assert file.error.errno == errno.EFBIG
    assert tree(tmp_path) == {}


def test_files_that_come_together_are_all_synced_before_any_gets_its_name_and_their_folder_once(
    tmp_path: Path,
) -> None:
    files = [NewFile(hidden=f".{number}", content=b"%d" % number) for number in range(3)]
    with opened_folder(tmp_path) as folder, durable_calls() as calls:
        create(folder, files, lambda: publish_all(folder, files))
    names = ["0", "1", "2"]
    assert calls == [
        *[("sync", f"{tmp_path}/.{name}") for name in names],
        *[("rename", name) for name in names],
        ("sync", str(tmp_path)),
    ]
    assert tree(tmp_path) == {name: name.encode() for name in names}


def publish_all(folder: int, files: list[NewFile], *, but: str = "") -> None:
    for file in files:
        if file.error is None and file.hidden == but:
            file.error = FileExistsError()
        elif file.error is None:
            rename(file.hidden, file.hidden[1:], source_folder=folder, target_folder=folder)
            file.name = file.hidden[1:]


def test_one_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    (tmp_path / ".1").write_bytes(b"another's")
    contents = [b"0", b"1", b"x" * 100_000, b"3", b"4"]
    files = [NewFile(hidden=f".{number}", content=content) for number, content in enumerate(contents)]
    before = open_descriptors()
    with opened_folder(tmp_path) as folder, full_disk(room_bytes=4096):
        create(folder, files, lambda: publish_all(folder, files, but=".3"))
    assert open_descriptors() == before
    assert tree(tmp_path) == {"0": b"0", ".1": b"another's", "4": b"4"}
    assert [file.name for file in files] == ["0", "", "", "", "4"]
    assert [file.error is None for file in files] == [True, False, False, False, True]


@pytest.mark.skipif(bool(disks.why_not("ext4")), reason=disks.why_not("ext4"))
@pytest.mark.parametrize("count", [1, 2])
def test_what_the_disk_has_no_block_for_is_never_taken_for_synced(tmp_path: Path, count: int) -> None:
    files = [NewFile(hidden=f".{number}", content=b"body") for number in range(count)]
    image = disks.make_image_without_blocks(tmp_path / "image")
    with disks.mounted(image, tmp_path / "mount") as mount:
        with opened_folder(mount) as folder:
            create(folder, files, lambda: publish_all(folder, files))
        assert not {"0", ".0"} & tree(mount).keys()
    assert isinstance(files[0].error, OSError)  # of the second this file system says itself that it's there


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


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 10_000])
@pytest.mark.parametrize("error_bytes", [-1, 0, 1])
def test_all_of_a_file_is_read_whatever_size_was_expected(
    tmp_path: Path, size: int, error_bytes: int
) -> None:
    (tmp_path / "file").write_bytes(content := bytes(range(250)) * 40)
    os.truncate(tmp_path / "file", size)
    with opened_file(tmp_path / "file") as descriptor:
        assert read_all(descriptor, max(0, size + error_bytes)) == content[:size]


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    before = open_descriptors()
    with opened_folder(tmp_path) as folder:
        create(
            folder, [file := NewFile(hidden=".hidden", content=b"")], lambda: setattr(file, "name", ".hidden")
        )
        with pytest.raises(FileExistsError):
            write_hidden(folder, ".hidden", b"", sync=True)
    assert open_descriptors() == before
