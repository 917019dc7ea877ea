"""Which executables of a folder are run."""

import os
import resource
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import write_script

from spooler.dropins import examine, find

TYPE = "contact_modified"


def become_a_guest() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def names(folder: Path, kind: str = TYPE) -> list[str]:
    return [script.name for script in find(folder, kind)]


def test_scripts_run_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("20-b", "10-c", "9-a", "Z", "a"):
        write_script(tmp_path, name, "exit 0")
    assert names(tmp_path) == ["10-c", "20-b", "9-a", "Z", "a"]


def test_those_of_the_type_are_merged_into_the_same_order(tmp_path: Path) -> None:
    for name in ("10-all", "30-all"):
        write_script(tmp_path, name, "exit 0")
    for name in ("05-own", "20-own", "30-all"):
        write_script(tmp_path / TYPE, name, "exit 0")
    write_script(tmp_path / "contact_optout", "15-other", "exit 0")
    assert [script.path.relative_to(tmp_path).as_posix() for script in find(tmp_path, TYPE)] == [
        f"{TYPE}/05-own",
        "10-all",
        f"{TYPE}/20-own",
        "30-all",
        f"{TYPE}/30-all",
    ]
    assert names(tmp_path, "unheard-of") == ["10-all", "30-all"]


IGNORED = {
    ".hidden": "its name starts with .",
    "_off": "its name starts with _",
    "_two\nlines": "its name starts with _",
    "10-crm~": "its name ends in ~",
    "10-crm.bak": "its name ends in .bak",
    "10-crm.disabled": "its name ends in .disabled",
    "10-crm.swp": "its name ends in .swp",
    ".10-crm.swp": "its name starts with .",
    "10-crm.dpkg-dist": "its name ends in .dpkg-dist",
    "10-crm.dpkg-old": "its name ends in .dpkg-old",
    "10-crm.rpmnew": "its name ends in .rpmnew",
    "10-crm.rpmsave": "its name ends in .rpmsave",
}


@pytest.mark.parametrize(("name", "why"), IGNORED.items())
def test_names_that_say_not_this_one_are_ignored(tmp_path: Path, name: str, why: str) -> None:
    path = write_script(tmp_path, name, "exit 0")
    assert find(tmp_path, TYPE) == []
    assert examine(tmp_path) == [(path, why)]


@pytest.mark.parametrize(
    "name",
    ["10-crm", "10-crm.sh", "a.bak.sh", "a.rpm.py", "dpkg-x", "bak", "a_b", "-x", "été", "a b", "a\nb"],
)
def test_other_names_run(tmp_path: Path, name: str) -> None:
    path = write_script(tmp_path, name, "exit 0")
    assert [script.path for script in find(tmp_path, TYPE)] == [path]
    assert examine(tmp_path) == [(path, "")]


def test_a_file_without_the_run_bit_is_ignored_and_pointed_at(tmp_path: Path) -> None:
    path = write_script(tmp_path, "10-crm", "exit 0")
    path.chmod(0o644)
    assert find(tmp_path, TYPE) == []
    assert examine(tmp_path) == [(path, f"it has no run bit (chmod +x {path})")]


def test_what_is_no_file_is_ignored_and_pointed_at(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o755)
    assert find(tmp_path, TYPE) == []
    assert examine(tmp_path) == [(tmp_path / "pipe", "it is no regular file")]


LEADS_NOWHERE = {
    "nowhere": "No such file or directory",
    "10-link": "Too many levels of symbolic links",
    "pipe/script": "Not a directory",
}


@pytest.mark.parametrize(("target", "why"), LEADS_NOWHERE.items())
def test_a_link_that_leads_nowhere_is_not_mistaken_for_no_script(
    tmp_path: Path, target: str, why: str
) -> None:
    os.mkfifo(tmp_path / "pipe", 0o755)
    link = tmp_path / TYPE / "10-link"
    link.parent.mkdir()
    link.symlink_to(target if target == link.name else tmp_path / target)
    with pytest.raises(OSError, match=why) as raised:
        find(tmp_path, TYPE)
    assert raised.value.filename == str(link)
    assert find(tmp_path, "contact_optout") == []
    assert (link, f"it can't be looked at: {why}") in examine(tmp_path)
    link.rename(link.with_name("10-link.disabled"))
    assert find(tmp_path, TYPE) == []


@pytest.mark.parametrize("kind", [TYPE, f"_{TYPE}"])
@pytest.mark.parametrize("target", ["nowhere", "itself"])
def test_a_link_in_a_types_place_that_leads_nowhere_is_not_mistaken_for_no_folder(
    tmp_path: Path, target: str, kind: str
) -> None:
    (tmp_path / kind).symlink_to(kind if target == "itself" else target)
    with pytest.raises(OSError, match=f"'{tmp_path / kind}'"):
        find(tmp_path, kind)


def test_a_script_in_a_types_place_is_no_folder(tmp_path: Path) -> None:
    target = write_script(tmp_path / "elsewhere", "tool", "exit 0")
    (tmp_path / TYPE).symlink_to(target)
    assert names(tmp_path, TYPE) == [TYPE]


def expect_to_be_refused(folder: Path) -> None:
    become_a_guest()
    with pytest.raises(PermissionError, match="10-link"):
        find(folder, TYPE)
    assert examine(folder) == [(folder / "10-link", "it can't be looked at: Permission denied")]


def test_what_lies_in_a_folder_that_may_not_be_entered_is_not_mistaken_for_no_script() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name) / "processors"
        folder.mkdir()
        target = write_script(Path(name) / "closed", "tool", "exit 0")
        (folder / "10-link").symlink_to(target)
        Path(name).chmod(0o755)
        target.parent.chmod(0)
        process = get_context("fork").Process(target=expect_to_be_refused, args=(folder,))
        process.start()
        process.join()
        target.parent.chmod(0o755)
        assert process.exitcode == 0


def test_a_script_that_no_descriptor_is_left_for_is_not_mistaken_for_none(tmp_path: Path) -> None:
    write_script(tmp_path, "10-a", "exit 0")
    write_script(tmp_path, "20-b", "exit 0")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (tmp_path / "20-b").open() as last:  # all below it are in use; a folder's listing takes the next one
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno() + 2, limits[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                find(tmp_path, TYPE)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert names(tmp_path) == ["10-a", "20-b"]


def test_what_is_removed_meanwhile_is_no_script(tmp_path: Path) -> None:
    path = write_script(tmp_path, "10-a", "exit 0")
    away = tmp_path / "10-a.disabled"
    for _ in range(50):
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(path.rename, away)
            assert names(tmp_path) in ([], ["10-a"])
            ended.result()
        away.rename(path)


def test_a_link_to_an_executable_runs_under_its_own_name(tmp_path: Path) -> None:
    target = write_script(tmp_path / "elsewhere", "tool", "exit 0")
    folder = tmp_path / "processors"
    folder.mkdir()
    (folder / "10-link").symlink_to(target)
    assert [(script.name, script.path) for script in find(folder, TYPE)] == [("10-link", folder / "10-link")]


def test_subfolders_are_no_scripts_and_are_examined_too(tmp_path: Path) -> None:
    path = write_script(tmp_path / "contact_optout", "10-own.bak", "exit 0")
    write_script(tmp_path / ".git" / "hooks", "hook", "exit 0")
    write_script(tmp_path / ".git", "hook", "exit 0")
    assert find(tmp_path, TYPE) == []
    assert examine(tmp_path) == [(path, "its name ends in .bak")]


def test_what_is_there_now_counts(tmp_path: Path) -> None:
    assert find(tmp_path, TYPE) == []
    path = write_script(tmp_path, "10-crm", "exit 0")
    (first,) = find(tmp_path, TYPE)
    assert find(tmp_path, TYPE) == [first]
    path.write_text("#!/bin/sh\nexit 1\n")
    (changed,) = find(tmp_path, TYPE)
    assert (changed.name, changed.path) == (first.name, first.path)
    assert changed.version != first.version
    path.unlink()
    assert find(tmp_path, TYPE) == []


def test_the_same_content_is_the_same_version_whatever_file_it_is(tmp_path: Path) -> None:
    path = write_script(tmp_path, "10-crm", "exit 0")
    before = find(tmp_path, TYPE)
    path.unlink()
    write_script(tmp_path, "10-crm", "exit 0")
    os.utime(path, (0, 0))
    assert find(tmp_path, TYPE) == before


def test_a_folder_that_is_not_there_is_not_mistaken_for_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find(tmp_path / "gone", TYPE)
    with pytest.raises(FileNotFoundError):
        examine(tmp_path / "gone")


def look_as_a_guest(folder: Path) -> None:
    become_a_guest()
    (script,) = find(folder, TYPE)
    assert script.name == "10-program"
    assert find(folder, TYPE) == [script]
    assert [path.name for path, why in examine(folder) if not why] == ["10-program"]


def test_a_program_that_may_be_run_but_not_read_is_a_script_all_the_same() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_script(folder, "10-program", "exit 0").chmod(0o111)
        write_script(folder, "20-for-root-only", "exit 0").chmod(0o700 if os.geteuid() == 0 else 0o070)
        process = get_context("fork").Process(target=look_as_a_guest, args=(folder,))
        process.start()
        process.join()
        assert process.exitcode == 0


def test_two_of_one_name_and_content_are_two(tmp_path: Path) -> None:
    write_script(tmp_path, "50-push", "exit 0")
    write_script(tmp_path / "t", "50-push", "exit 0")
    both = find(tmp_path, "t")
    assert [script.name for script in both] == ["50-push", "50-push"]
    assert len({(script.name, script.version) for script in both}) == 2
