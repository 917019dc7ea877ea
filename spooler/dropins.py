"""Drop-in scripts: which executables in a folder are run for a notification, and why others aren't.

Owns: the rules for names and modes, and the order.
Promises: what is there now counts: nothing is remembered but digests of files that didn't change.
Does not promise: that a script can be executed; that shows when it is run.
"""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# Editors', packagers' and administrators' ways to say: not this one.
_IGNORED_NAME = re.compile(r"[._].*|.*(~|\.bak|\.disabled|\.swp|\.dpkg-[^.]*|\.rpm[^.]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Script:
    """An executable that runs. `version` is a digest of its content and of whether it is a type's own."""

    name: str
    path: Path
    version: str


def find(folder: Path, notification_type: str) -> list[Script]:
    """Return the scripts for a type: those in `folder` and those in `folder/<type>/`, merged by name.

    Raises: OSError if the folder can't be read or isn't there: no script must not be mistaken for that.
    """
    found = [(name, False, path, version) for name, path, version in _runnable(str(folder))]
    try:
        own = list(_runnable(f"{folder}/{notification_type}"))
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            raise
        own = []
    found += [(name, True, path, version) for name, path, version in own]
    return [_script(*one) for one in sorted(found)]


@lru_cache(maxsize=256)
def _script(name: str, is_own: bool, path: str, version: str) -> Script:
    # Two of one name may stand in both folders, and be copies of one program: they are two all the same.
    return Script(name, Path(path), f"{version}{'-own' if is_own else ''}")


def _runnable(folder: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, path and version of the executables in a folder. Raises: OSError."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if _IGNORED_NAME.fullmatch(entry.name):
                continue
            with suppress(OSError):  # it can't be read, or has just been removed
                status = os.stat(entry.path)  # noqa: PTH116 - for each notification
                if stat.S_ISREG(status.st_mode) and not _why_no_program(entry.path, status.st_mode):
                    yield entry.name, entry.path, _version(entry.path, status)


def examine(folder: Path) -> list[tuple[Path, str]]:
    """Return every file in the folder and its subfolders with why it is ignored; empty where it runs.

    Raises: OSError.
    """
    found = list(_examine(folder))
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            found += _examine(entry)
    return found


def _examine(folder: Path) -> Iterator[tuple[Path, str]]:
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir():
            yield entry, _why_ignored(entry)


def _why_ignored(path: Path) -> str:
    if found := _IGNORED_NAME.fullmatch(path.name):
        return f"its name {'ends in ' + found[1] if found[1] else 'starts with ' + path.name[0]}"
    try:
        status = path.stat()
    except OSError as error:
        return f"it can't be read: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    return _why_no_program(str(path), status.st_mode)


def _why_no_program(path: str, mode: int) -> str:
    if not mode & 0o111:
        return f"it has no run bit (chmod +x {path})"
    return "" if os.access(path, os.X_OK) else forbidden()


def forbidden() -> str:
    """Return why a file is ignored that others may run."""
    return f"user id {os.geteuid()} may not run it"


def _version(path: str, status: os.stat_result) -> str:
    return _digest(path, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)


@lru_cache(maxsize=256)
def _digest(path: str, *identity: int) -> str:
    try:
        content = Path(path).read_bytes()
    except PermissionError:  # a program may be there for running only
        content = repr(identity).encode()
    return hashlib.sha256(content).hexdigest()[:16]
