"""What stands in `processing/` while a script runs: a mark that says which, and the folder that it runs in.

Owns: those hidden names. The mark is what tells, after a crash, whose run was cut short.
Promises: after a crash of the processor, or of the machine, the mark of the script that was running is
there, and its notification in `processing/`: what takes the machine down can't do so for ever.
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

from spooler import durable
from spooler.history import INTERRUPTED, Line
from spooler.name import HIDDEN

_MARK_PREFIX = HIDDEN + "run-"
_FOLDER_PREFIX = HIDDEN + "work-"


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


def _path(processing: Path, file_name: str) -> Path:
    # A digest, for a file's name may be as long as names can be.
    return processing / (_MARK_PREFIX + hashlib.sha256(os.fsencode(file_name)).hexdigest()[:16])


def write(processing: Path, file_name: str, mark: Mark) -> None:
    """Say what is about to be run, so that it survives a power cut.

    Raises: OSError; then nothing may be run, for it could not be counted.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(_path(processing, file_name), flags, durable.MODE)
    try:
        durable.write_all(descriptor, json.dumps(asdict(mark)).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    # This brings the claim onto the disk, too; and the log's name, if an earlier script's run has made it.
    durable.sync_folder(processing)


def clear(processing: Path, file_name: str) -> None:
    """Say that nothing is being run any more."""
    _path(processing, file_name).unlink(missing_ok=True)


def read(processing: Path, file_name: str) -> Mark | None:
    """Return the mark that a crash left; None if there is none, or only a torn one."""
    try:
        return Mark(**json.loads(_path(processing, file_name).read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


@contextmanager
def work_folder(processing: Path) -> Iterator[Path]:
    """Make an empty folder that only this user can enter; remove it with all it holds. Raises: OSError."""
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=processing))
    try:
        yield folder
    finally:
        _remove(folder)


def sweep(processing: Path) -> None:
    """Remove the marks and folders that a crash left. Raises: OSError."""
    for mark in processing.glob(f"{_MARK_PREFIX}*"):
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
