"""What stands in `processing/` while a script runs: a mark that says which.

Owns: the marks' hidden names. A mark is what tells, after a crash, whose run was cut short.
Promises: after a crash of the processor, or of the machine, the mark of the script that was running is
there: what takes the machine down can't do so for ever. It stands until what came of that is on the disk.
Does not promise: that the notification is in `processing/` after a power cut. The claim isn't synced, and the
mark alone says that a run had begun; `spooler.recovery` looks for the notification where it was claimed.

A mark is one block that is written over and over, as many of them as scripts run at a time: no name changes
with it and no length, so that its sync brings nothing but this block onto the disk.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from spooler import durable, room, work_folder
from spooler.history import INTERRUPTED, Line
from spooler.name import HIDDEN

_MARK_PREFIX = HIDDEN + "run-"
_MARK_BYTES = 4096  # a block, and room for two names of 255 bytes as long as JSON may write them
_CLEARED = b"-" * 16


@dataclass(frozen=True, slots=True)
class Mark:
    """What is being run: the members of the log line that its end will give."""

    at: str
    attempt: int
    script: str
    version: str

    def interrupted(self) -> Line:
        """Return the line for a run whose end nobody saw."""
        return {**self.members(), "exit": INTERRUPTED, "seconds": None, "output": ""}

    def members(self) -> Line:
        """Return what it says, by name."""
        return {"at": self.at, "attempt": self.attempt, "script": self.script, "version": self.version}


class Seat:
    """A mark's file, for what one notification has run, one script at a time."""

    def __init__(self, processing: Path, number: int) -> None:
        self._processing = processing
        self._path = f"{processing}/{_MARK_PREFIX}{number}"
        self._inode = 0  # of the mark's file whose name is on the disk
        self._descriptor: int | None = None  # of the file, as long as a mark stands in it
        self.is_kept = False  # for the mark that stands in it, for good
        self.is_lent = False  # till what came of it is on the disk

    def mark(self, file_name: str, mark: Mark) -> None:
        """Say what is about to be run, so that it survives a power cut.

        Raises: OSError; then nothing may be run, for it could not be counted.
        """
        self.close()
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = self._descriptor = os.open(self._path, flags, durable.MODE)
        try:
            status = os.fstat(descriptor)
            is_known = status.st_ino == self._inode and status.st_size == _MARK_BYTES
            if not (is_known and room.is_ample(descriptor)):
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
            self.remove()
            raise

    @property
    def is_marked(self) -> bool:
        """Whether a mark stands."""
        return self._descriptor is not None

    def clear(self) -> None:
        """Say that nothing is being run any more, now that what came of it is on the disk."""
        if self._descriptor is None:
            return
        # CRASH: a power cut brings the mark back. Its line stands in the log by then.
        try:
            os.pwrite(self._descriptor, _CLEARED, 0)
        except OSError:
            self.remove()
        self.close()

    def keep(self) -> None:
        """Let the mark stand, for `recovery`: nobody knows whether what came of it is on the disk."""
        self.is_kept = self.is_marked
        self.close()

    def close(self) -> None:
        """Leave the file as it is."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Take the file away."""
        self.close()
        with suppress(OSError):
            os.unlink(self._path)  # noqa: PTH108 - a text


class Seats:
    """As many seats as notifications have their turns at a time."""

    def __init__(self, processing: Path) -> None:
        self._processing = processing
        self._all: list[Seat] = []
        self._free: list[Seat] = []

    @contextmanager
    def taken(self) -> Iterator[Seat]:
        """Give a seat that is nobody else's meanwhile; then its mark is cleared, unless it is kept, or lent.

        Raises: OSError; then the mark is gone.
        """
        try:
            seat = self._free.pop()
        except IndexError:
            seat = self._made()
        try:
            yield seat
        except OSError:
            # Nothing is being run. RACE: gone before it is another's, whose mark `clear` could take for this.
            seat.remove()
            self._free.append(seat)
            raise
        except BaseException:
            seat.keep()  # it is nobody's any more: its mark stays, to be counted
            raise
        if not seat.is_lent:
            self._clear(seat)

    def take_back(self, seat: Seat) -> None:
        """Take a seat that was lent: what came of its mark is on the disk, or the mark is kept."""
        seat.is_lent = False
        self._clear(seat)

    def _clear(self, seat: Seat) -> None:
        seat.clear()
        if not seat.is_kept:
            self._free.append(seat)

    def remove(self) -> None:
        """Take all of them away, when nothing runs any more, but those whose marks are for `recovery`."""
        for seat in self._all:
            if seat.is_kept or seat.is_lent:
                seat.close()
            else:
                seat.remove()

    def _made(self) -> Seat:
        seat = Seat(self._processing, secrets.randbits(32))
        self._all.append(seat)
        return seat


def _encode(file_name: str, mark: Mark) -> bytes:
    """Return the block; with a digest in front, for a power cut may tear it."""
    text = json.dumps([file_name, mark.members()]).encode()
    return (_digest(text) + text).ljust(_MARK_BYTES)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[: len(_CLEARED)].encode()


def marks(processing: Path) -> dict[str, Mark]:
    """Return the marks that a crash left, by their files' names; not the torn ones. Raises: OSError.

    Of several for one file the last counts: a power cut brings those of earlier runs back, in other seats.
    """
    found = [decoded for path in _mark_paths(processing) if (decoded := _decode(path))]
    return dict(sorted(found, key=lambda one: one[1].at))


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
    except (FileNotFoundError, PermissionError, ValueError, TypeError, RecursionError):
        return None  # swept, torn, or of a processor that somebody else has run by hand


def sweep(processing: Path) -> None:
    """Remove the marks and folders that a crash left. Raises: OSError."""
    for mark in _mark_paths(processing):
        mark.unlink(missing_ok=True)
    work_folder.sweep(processing)
