"""The crash campaign in short: kills where names change, in each scene; and what these kills rest on."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from call_boundaries import Boundary, Call, attached, boundaries, read_calls, was_hit
from crash_campaign import kill_at_boundaries
from crash_scene import Scene, Target
from crash_scenes import SCENES
from test_system_calls import skip_without_strace

_MOVES = {"rename", "renameat", "renameat2", "unlink", "unlinkat", "vfork", "sendto"}
_AT_MOST = 12  # kills in each scene


def changes_names(target: Target) -> bool:
    """Say whether a boundary is right before or after a call that another process sees something of."""
    index = target.boundary.index
    near = {call.name for call in target.reference[max(index - 1, 0) : index + 1]}
    return bool(near & _MOVES) and target.phase != "start"


@pytest.mark.parametrize("scene", SCENES, ids=[scene.name for scene in SCENES])
def test_a_kill_between_two_calls_loses_nothing_and_has_nothing_done_twice(
    scene: Scene, tmp_path: Path
) -> None:
    skip_without_strace()
    figures = kill_at_boundaries(
        tmp_path, random.Random(), jobs=2, at_most=_AT_MOST, scenes=[scene], wanted=changes_names
    )
    assert figures.violations == []
    assert figures.missed == []
    assert figures.killed.total() >= 3


# What the kills rest on

RENAMING = """
import os, sys
print(flush=True)
sys.stdin.read(1)
os.fsync(os.open("a", os.O_RDONLY))
os.rename("a", "b")
os.rename("b", "c")
os.mkdir("d")
"""


@pytest.mark.parametrize(("index", "left"), [(1, "a"), (2, "b"), (3, "c")])
def test_a_kill_comes_right_before_a_call_and_right_after_the_one_before_it(
    index: int, left: str, tmp_path: Path
) -> None:
    skip_without_strace()
    reference = trace_renaming(tmp_path / "reference", None)
    found = boundaries(reference)[index]
    calls = trace_renaming(tmp_path / "killed", found)
    assert [path.name for path in (tmp_path / "killed").iterdir() if len(path.name) == 1] == [left]
    assert was_hit(found, calls, reference)


def trace_renaming(folder: Path, boundary: Boundary | None) -> list[Call]:
    folder.mkdir()
    (folder / "a").touch()
    command = [sys.executable, "-c", RENAMING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder) as process:
        assert process.stdout
        process.stdout.readline()  # now it waits for its input
        with attached([process.pid], folder / "trace", boundary):
            process.communicate(b"x")
    return [call for call in read_calls(folder / "trace") if call.name in {"rename", "mkdir", "fsync"}]


def test_each_call_is_a_boundary_known_by_its_name_and_number() -> None:
    calls = [Call("7", name, "") for name in ("openat", "write", "openat", "fsync")]
    assert list(map(str, boundaries(calls))) == [
        "before openat number 1",
        "before write number 1",
        "before openat number 2",
        "before fsync number 1",
    ]


def test_a_kill_elsewhere_counts_for_no_boundary() -> None:
    reference = [Call("7", name, "") for name in ("openat", "write", "fsync", "close")]
    fsync = next(boundary for boundary in boundaries(reference) if boundary.name == "fsync")
    assert was_hit(fsync, [Call("9", name, "") for name in ("openat", "write", "fsync")], reference)
    assert not was_hit(fsync, [Call("9", name, "") for name in ("openat", "write")], reference)
    assert not was_hit(fsync, [Call("9", name, "") for name in ("openat", "fsync")], reference)
    others = [Call("9", "write", ""), *(Call("8", name, "") for name in ("openat", "write", "fsync"))]
    assert was_hit(fsync, others, reference)


def test_the_command_tells_what_it_does() -> None:
    program = Path(__file__).with_name("crash_campaign.py")
    told = subprocess.run([sys.executable, program, "--help"], capture_output=True, text=True, check=True)
    assert "--boundaries" in told.stdout
