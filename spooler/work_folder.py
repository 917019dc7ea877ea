"""The folders that scripts run in, one for each script that runs: empty, and nobody else's.

Owns: their hidden names in `processing/`.
Promises: a script finds its folder empty. One that it has left as it got it is the next one's; any other is
removed, whatever is in it.
"""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from spooler import room
from spooler.name import HIDDEN

_PREFIX = HIDDEN + "work-"


class _Folder(NamedTuple):
    """A working folder, and what it looked like when it was new."""

    path: Path
    identity: tuple[int, ...]


class WorkFolders:
    """Working folders in one `processing/`."""

    def __init__(self, processing: Path) -> None:
        self._processing = processing
        self._spare: list[_Folder] = []  # as many as there were in use at a time

    @contextmanager
    def given(self) -> Iterator[Path]:
        """Give an empty folder that only this user can enter; what is left in it goes. Raises: OSError."""
        folder = self._taken() or self._made()
        try:
            yield folder.path
        finally:
            if _is_unchanged(folder):
                self._spare.append(folder)
            else:
                _remove(folder.path)

    def _taken(self) -> _Folder | None:
        """Return a spare one that is as it was."""
        with suppress(IndexError):  # RACE: other threads take theirs, too
            while True:
                folder = self._spare.pop()
                if _is_unchanged(folder):
                    return folder
                _remove(folder.path)
        return None

    def _made(self) -> _Folder:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._processing))
        return _Folder(path, _identity(path))

    def remove(self) -> None:
        """Take away the spare ones, when nothing runs any more."""
        while self._spare:
            _remove(self._spare.pop().path)


def empty(folder: Path) -> bool:
    """Remove all that is in a working folder; return whether it is there, and empty."""
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries]
        for path in found:
            for left in _take_out(path, folder.parent):
                _remove(left)
        return not found or not os.listdir(folder)  # noqa: PTH208 - names are enough
    except OSError:
        return False


def sweep(processing: Path) -> None:
    """Remove the folders that a crash left."""
    for folder in processing.glob(f"{_PREFIX}*"):
        _remove(folder)


def _identity(path: Path) -> tuple[int, ...]:
    """Return what changes with whatever is done to a folder or in it. Raises: OSError."""
    status = os.lstat(path)
    return (status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_ctime_ns)


def _is_unchanged(folder: _Folder) -> bool:
    """Say whether a working folder is as it was when it was new, and the disk has ample room."""
    try:
        if _identity(folder.path) != folder.identity:
            return False
        # The time of a change is only as fine as the kernel's tick.
        with os.scandir(folder.path) as entries:
            return next(entries, None) is None and room.is_ample(folder.path)
    except OSError:
        return False


def _remove(folder: Path) -> None:
    """Remove a working folder, whatever a script left in it: no depth, no modes, no links keep it.

    Folders in it are brought up beside it and removed in their turn, so that no path ever gets long.
    """
    left = [folder]
    while left:
        emptied = left.pop()
        with suppress(OSError):
            emptied.chmod(0o700)
            with os.scandir(emptied) as entries:
                for entry in entries:
                    left += _take_out(Path(entry.path), folder.parent)
            emptied.rmdir()


def _take_out(path: Path, processing: Path) -> list[Path]:
    """Remove a file; bring a folder up to where it can be removed, and return its path there."""
    with suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return []
        path.chmod(0o700)  # one that may not be written to may not be moved either
        # CRASH: it is hidden, and the next start sweeps it like every working folder.
        return [path.rename(processing / f"{_PREFIX}{secrets.token_hex(8)}")]
    return []
