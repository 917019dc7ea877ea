"""What stands in `processing/` while a script runs: a mark that says which, and the folder that it runs in.

Owns: those hidden names. The mark is what tells, after a crash, whose run was cut short.
Promises: after a crash of the processor, or of the machine, the mark of the script that was running is
there: what takes the machine down can't do so for ever.
Does not promise: that the notification is in `processing/` after a power cut. The claim isn't synced, and the
mark alone says that a run had begun; `spooler.recovery` looks for the notification where it was claimed.

A mark is one block that is written over and over, as many of them as scripts run at a time: no name changes
with it and no length, so that its sync brings nothing but this block onto the disk. A working folder that a
script has left as it got it is the next one's.
"""

import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from spooler import durable
from spooler.history import INTERRUPTED, Line
from spooler.name import HIDDEN

_MARK_PREFIX = HIDDEN + "run-"
_FOLDER_PREFIX = HIDDEN + "work-"
_MARK_BYTES = 4096  # a block, and room for two names of 255 bytes as long as JSON may write them
_CLEARED = b"-" * 16
# With less room than this nothing is used again: what is made anew fails on a full disk, and so nothing is
# run whose end could not be written down.
_AMPLE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Mark:
    """What is being run: the members of the log line that its end will give."""

    at: str
    attempt: int
    script: str
    version: str

    def interrupted(self) -> Line:
        """Return the line for a run whose end nobody saw."""
        return {**asdict(self), "exit": INTERRUPTED, "seconds": None, "output": ""}


class _Folder(NamedTuple):
    """A working folder, and what it looked like when it was new."""

    path: Path
    identity: tuple[int, ...]


class Seat:
    """What one run at a time needs: a mark's file, and a working folder."""

    def __init__(self, processing: Path, number: int) -> None:
        self._processing = processing
        self._path = f"{processing}/{_MARK_PREFIX}{number}"
        self._inode = 0  # of the mark's file whose name is on the disk
        self._spare: _Folder | None = None

    def mark(self, file_name: str, mark: Mark) -> None:
        """Say what is about to be run, so that it survives a power cut.

        Raises: OSError; then nothing may be run, for it could not be counted.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, durable.MODE)
        try:
            status = os.fstat(descriptor)
            is_known = status.st_ino == self._inode and status.st_size == _MARK_BYTES
            if not (is_known and _is_ample(descriptor)):
                self._inode = 0
                os.ftruncate(descriptor, 0)
            durable.write_all(descriptor, _encode(file_name, mark))
            # CRASH: an earlier mark is gone, or both are; what that one told of is settled.
            if self._inode:
                os.fdatasync(descriptor)
            else:
                os.fsync(descriptor)
                durable.sync_folder(self._processing)
                self._inode = status.st_ino
        except OSError:
            # Never tried again: the next sync of this file might report success for lost data.
            self._inode = 0
            with suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - a text
            raise
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        """Say that nothing is being run any more. Raises: OSError."""
        # CRASH: a power cut brings the mark back. Its line stands in the log by then.
        with suppress(FileNotFoundError):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                durable.write_all(descriptor, _CLEARED)
            finally:
                os.close(descriptor)

    @contextmanager
    def work_folder(self) -> Iterator[Path]:
        """Give an empty folder that only this user can enter; what is left in it goes. Raises: OSError."""
        folder, self._spare = self._spare, None
        if folder is None or not _is_unchanged(folder):
            if folder is not None:
                _remove(folder.path)
            path = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=self._processing))
            folder = _Folder(path, _identity(path))
        try:
            yield folder.path
        finally:
            if _is_unchanged(folder):
                self._spare = folder
            else:
                _remove(folder.path)

    def remove(self) -> None:
        """Take away what stands there for the next run."""
        if self._spare is not None:
            _remove(self._spare.path)
            self._spare = None
        with suppress(OSError):
            os.unlink(self._path)  # noqa: PTH108 - a text


class Seats:
    """As many seats as scripts run at a time."""

    def __init__(self, processing: Path) -> None:
        self._processing = processing
        self._all: list[Seat] = []
        self._free: list[Seat] = []

    @contextmanager
    def taken(self) -> Iterator[Seat]:
        """Give a seat that is nobody else's meanwhile."""
        try:
            seat = self._free.pop()
        except IndexError:
            seat = self._made()
        try:
            yield seat
        finally:
            self._free.append(seat)

    def remove(self) -> None:
        """Take all of them away, when nothing runs any more."""
        for seat in self._all:
            seat.remove()

    def _made(self) -> Seat:
        seat = Seat(self._processing, secrets.randbits(32))
        self._all.append(seat)
        return seat


def _identity(path: Path) -> tuple[int, ...]:
    """Return what changes with whatever is done to a folder or in it. Raises: OSError."""
    status = path.lstat()
    return (status.st_dev, status.st_ino, status.st_mode, status.st_uid, status.st_gid, status.st_ctime_ns)


def _is_unchanged(folder: _Folder) -> bool:
    """Say whether a working folder is as it was when it was new, and the disk has ample room."""
    try:
        if _identity(folder.path) != folder.identity:
            return False
        # The time of a change is only as fine as the kernel's tick.
        descriptor = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with os.scandir(descriptor) as entries:
                return next(entries, None) is None and _is_ample(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        return False


def _is_ample(descriptor: int) -> bool:
    room = os.fstatvfs(descriptor)
    return room.f_bavail * room.f_frsize >= _AMPLE_BYTES


def _encode(file_name: str, mark: Mark) -> bytes:
    """Return the block; with a digest in front, for a power cut may tear it."""
    text = json.dumps([file_name, asdict(mark)]).encode()
    return (_digest(text) + text).ljust(_MARK_BYTES)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[: len(_CLEARED)].encode()


def marks(processing: Path) -> dict[str, Mark]:
    """Return the marks that a crash left, by their files' names; not the torn ones. Raises: OSError."""
    return {found[0]: found[1] for path in _mark_paths(processing) if (found := _decode(path))}


def read(processing: Path, file_name: str) -> Mark | None:
    """Return the mark that a crash left of a file; None if there is none, or only a torn one."""
    return marks(processing).get(file_name)


def clear(processing: Path, file_name: str) -> None:
    """Say that nothing is being run for a file any more. Raises: OSError."""
    for path in _mark_paths(processing):
        found = _decode(path)
        if found and found[0] == file_name:
            path.unlink(missing_ok=True)


def _mark_paths(processing: Path) -> list[Path]:
    return list(processing.glob(f"{_MARK_PREFIX}*"))


def _decode(path: Path) -> tuple[str, Mark] | None:
    try:
        content = path.read_bytes()
        digest, text = content[: len(_CLEARED)], content[len(_CLEARED) :].rstrip(b" ")
        if digest != _digest(text):
            return None
        file_name, members = json.loads(text)
        return str(file_name), Mark(**members)
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None


def sweep(processing: Path) -> None:
    """Remove the marks and folders that a crash left. Raises: OSError."""
    for mark in _mark_paths(processing):
        mark.unlink(missing_ok=True)
    for folder in processing.glob(f"{_FOLDER_PREFIX}*"):
        _remove(folder)


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
        return [path.rename(processing / f"{_FOLDER_PREFIX}{secrets.token_hex(8)}")]
    return []
