"""Small real file systems for the tests, in memory: full ones, read-only ones.

Owns: mounting under a test's own folder, and unmounting when the `with` is left.
"""

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from running_service import wait_until


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount an empty file system of a few hundred KiB on a new folder; options: of tmpfs, `size=400k`."""
    folder.mkdir(parents=True)
    try:
        mount = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", folder],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    if mount.returncode:
        pytest.skip(f"nothing can be mounted here: {mount.stderr.splitlines()[0]}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    """Change the options of what is mounted there: `remount(folder, "ro")`."""
    command = ["mount", "-o", f"remount,{options}", str(folder)]
    # It is refused as long as anybody has a file open for writing there.
    wait_until(lambda: not subprocess.run(command, capture_output=True, check=False).returncode)


def fill(folder: Path) -> list[Path]:
    """Write until nothing more fits, bytes and inodes; return what was made, to be removed again."""
    filler = folder / ".filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return [filler]


def take_inodes(folder: Path) -> list[Path]:
    """Make empty files until there is no inode left; return them, to be removed again."""
    made: list[Path] = []
    while True:
        path = folder / f".filler-{len(made)}"
        try:
            path.touch()
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - anything else is a mistake of the test
            return made
        made.append(path)
