"""The folders that scripts run in, one for each script that runs: empty, and nobody else's.

Owns: their hidden names in `processing/`.
Promises: a script finds its folder empty. One that it has left as it got it is the next one's; any other is
removed, whatever is in it.
"""

import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from spooler import room
from spooler.name import HIDDEN

_PREFIX = HIDDEN + "work-"


# Two changes so far apart have different times: those are as fine as the kernel's tick, 10 ms at most, or as
# what the file system keeps of them, which is whole seconds on an ext4 with small inodes, and two on FAT.
_APART_SECONDS = 2.1


@dataclass(slots=True)
class WorkFolder:
    """A working folder, and what it looked like when it was new.

    made_at: in monotonic seconds. is_settled: whatever was done to it since it was given changed its time.
    """

    path: Path
    identity: tuple[int, ...]
    made_at: float
    is_settled: bool = False

    def is_unchanged(self) -> bool:
        """Say whether it is as it was when it was new."""
        try:
            if _identity(self.path) != self.identity:
                return False
            if self.is_settled:
                return True
            with os.scandir(self.path) as entries:
                return next(entries, None) is None
        except OSError:
            return False


class WorkFolders:
    """Working folders in one `processing/`."""

    def __init__(self, processing: Path) -> None:
        self._processing = processing
        self._spare: list[WorkFolder] = []  # as many as there were in use at a time

    @contextmanager
    def given(self) -> Iterator[Path]:
        """Give an empty folder that only this user can enter; what is left in it goes. Raises: OSError."""
        folder = self.give()
        try:
            yield folder.path
        finally:
            self.take_back(folder)

    def give(self) -> WorkFolder:
        """Give an empty folder that only this user can enter, until `take_back`. Raises: OSError."""
        folder = self._taken() or self._made()
        folder.is_settled = time.monotonic() - folder.made_at > _APART_SECONDS
        return folder

    def take_back(self, folder: WorkFolder) -> None:
        """Take a folder that is used no more; what is left in it goes."""
        if folder.is_unchanged():
            self._spare.append(folder)
        else:
            _remove(folder.path)

    def _taken(self) -> WorkFolder | None:
        """Return a spare one that is as it was; none where the disk hasn't ample room."""
        while self._spare:
            try:
                folder = self._spare.pop()
            except IndexError:  # RACE: another thread has just taken the last one
                break
            if folder.is_unchanged() and _is_ample(folder.path):
                return folder
            _remove(folder.path)
        return None

    def _made(self) -> WorkFolder:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._processing))
        return WorkFolder(path, _identity(path), made_at=time.monotonic())

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


def _is_ample(folder: Path) -> bool:
    try:
        return room.is_ample(folder)
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
