"""What a confined process can still do, and what it can't, in a process of its own."""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from threading import Thread

import pytest

from spooler.confinement import Confinement


def can(action: Callable[[], object]) -> bool:
    try:
        action()
    except PermissionError:
        return False
    return True


def abilities(folder: Path, elsewhere: Path, port: int) -> dict[str, bool] | None:
    """Give everything up but writing to `folder`, and try all kinds of things; None without Landlock."""
    if not Confinement([folder]).restrict():
        return None
    (folder / "hidden").write_text("a body")
    found = {
        "rename there": can(lambda: (folder / "hidden").rename(folder / "name")),
        "append there": can(lambda: (folder / "name").open("a").write("more")),
        "truncate there": can(lambda: os.truncate(folder / "name", 1)),
        "remove there": can((folder / "name").unlink),
        "read elsewhere": can((elsewhere / "file").read_bytes),
        "write elsewhere": can((elsewhere / "new").touch),
        "overwrite elsewhere": can(lambda: (elsewhere / "file").open("a")),
        "truncate elsewhere": can(lambda: os.truncate(elsewhere / "file", 0)),
        "remove elsewhere": can((elsewhere / "file").unlink),
        "rename from there": can(lambda: (elsewhere / "file").rename(folder / "taken")),
        "make a folder": can((folder / "folder").mkdir),
        "make a link": can(lambda: (folder / "link").symlink_to(elsewhere)),
        "run a program": can(lambda: subprocess.run(["true"], check=True)),
        "connect": can(lambda: socket.create_connection(("127.0.0.1", port)).close()),
        "signal its parent": can(lambda: os.kill(os.getppid(), 0)),
    }
    in_a_thread: list[bool] = []
    thread = Thread(target=lambda: in_a_thread.append(can((elsewhere / "new").touch)))
    thread.start()
    thread.join()
    return found | {"write elsewhere from a thread": in_a_thread[0]}


def test_a_confined_process_writes_to_its_folders_and_does_little_else(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "incoming", tmp_path / "done"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "file").write_text("precious")
    with socket.create_server(("127.0.0.1", 0)) as server, get_context("fork").Pool(1) as pool:
        found = pool.apply(abilities, (folder, elsewhere, server.getsockname()[1]))
    if found is None:
        pytest.skip("this kernel has no Landlock")
    version_4_is_there = not found.pop("connect")
    version_6_is_there = not found.pop("signal its parent")
    assert version_4_is_there >= version_6_is_there
    allowed = {"rename there", "append there", "truncate there", "remove there", "read elsewhere"}
    assert {what for what, is_allowed in found.items() if is_allowed} == allowed
    assert (elsewhere / "file").read_text() == "precious"


def test_it_tells_when_a_folder_was_replaced_and_only_then(tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    folder.mkdir()
    confinement = Confinement([folder])
    assert not confinement.is_outdated
    (folder / "file").touch()
    assert not confinement.is_outdated
    shutil.rmtree(folder)
    assert not confinement.is_outdated  # there is nothing yet to begin anew with
    folder.mkdir()
    assert confinement.is_outdated


def test_a_folder_that_is_there_at_last_makes_it_outdated(tmp_path: Path) -> None:
    confinement = Confinement([tmp_path / "missing"])
    assert not confinement.is_outdated
    (tmp_path / "missing").touch()
    assert not Confinement([tmp_path / "missing"]).is_outdated  # a file in its place
    (tmp_path / "missing").unlink()
    (tmp_path / "missing").mkdir()
    assert confinement.is_outdated
