"""Whose rights count: the spool's owner's, where root asks."""

import os
from pathlib import Path

import pytest
from conftest import NOBODY

from spooler.owner import EXECUTE, READ, WRITE, User, acting_for, service_user

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for others")


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "rights", "may"),
    [
        (7, 8, 0o700, READ | WRITE | EXECUTE, True),
        (7, 8, 0o077, READ, False),  # the owner's bits count for the owner, though all others may
        (1, 8, 0o050, READ | EXECUTE, True),
        (1, 9, 0o020, WRITE, True),  # a supplementary group
        (1, 9, 0o020, READ | WRITE, False),
        (1, 8, 0o707, READ, False),
        (1, 1, 0o004, READ, True),
        (1, 1, 0o770, READ, False),
    ],
)
@as_root
def test_owner_group_and_mode_decide(
    tmp_path: Path, *, uid: int, gid: int, mode: int, rights: int, may: bool
) -> None:
    path = tmp_path / "file"
    path.touch()
    os.chown(path, uid, gid)
    path.chmod(mode)
    assert User(7, 8, frozenset({8, 9}), "spooler").may(path, rights) is may


def test_root_may_everything_but_run_what_has_no_run_bit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o000)
    root = User(0, 0, frozenset({0}), "root")
    assert root.may(path, READ | WRITE)
    assert not root.may(path, EXECUTE)
    path.chmod(0o010)
    assert root.may(path, EXECUTE)


@as_root
def test_a_closed_folder_above_is_named(open_to_all: Path) -> None:
    inner = open_to_all / "closed" / "open"
    inner.mkdir(parents=True)
    nobody = User.of(NOBODY)
    assert nobody.barrier(inner, READ | EXECUTE) is None
    assert nobody.barrier(inner, WRITE) == inner
    inner.parent.chmod(0o700)
    assert nobody.barrier(inner, READ) == inner.parent


def test_a_user_without_an_entry_has_a_number_for_a_name() -> None:
    assert User.of(4_000_000) == User(4_000_000, 4_000_000, frozenset({4_000_000}), "4000000")


@as_root
def test_what_root_makes_is_the_owner_s_and_root_is_root_again(open_to_all: Path) -> None:
    os.chown(open_to_all, NOBODY, NOBODY)
    assert service_user(open_to_all / "not" / "yet").uid == NOBODY
    before = os.geteuid(), os.getegid(), os.getgroups()
    with acting_for(open_to_all):
        (open_to_all / "made").touch()
        with pytest.raises(PermissionError):
            Path("/root/spooler-test").touch()
    status = (open_to_all / "made").stat()
    assert (status.st_uid, status.st_gid) == (NOBODY, User.of(NOBODY).gid)
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before


def test_nothing_changes_for_a_folder_of_one_s_own(tmp_path: Path) -> None:
    with acting_for(tmp_path):
        assert os.geteuid() == tmp_path.stat().st_uid
