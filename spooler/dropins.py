"""Drop-in scripts: which executables in a folder are run for a notification, and why others aren't.

Owns: the rules for names and modes, and the order.
Promises: what is there now counts: nothing is remembered but digests of files that didn't change. What can't
be looked at may be a script: nothing goes on without it.
Does not promise: that a script can be executed; that shows when it is run.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

# Editors', packagers' and administrators' ways to say: not this one.
_IGNORED_NAME = re.compile(r"[._].*|.*(~|\.bak|\.disabled|\.swp|\.dpkg-[^.]*|\.rpm[^.]*)", re.DOTALL)

_UNKNOWN = "it can't be looked at"


@dataclass(frozen=True, slots=True)
class Script:
    """An executable that runs. `version` is a digest of its content and of whether it is a type's own."""

    name: str
    path: Path
    version: str


def find(folder: Path, notification_type: str) -> list[Script]:
    """Return the scripts for a type: those in `folder` and those in `folder/<type>/`, merged by name.

    Raises: OSError if the folder can't be read or isn't there, or what is in it can't be looked at: no script
    must not be mistaken for that.
    """
    found = [(name, False, path, version) for name, path, version in _runnable(str(folder))]
    own_folder = f"{folder}/{notification_type}"
    try:
        own = list(_runnable(own_folder))
    except (FileNotFoundError, NotADirectoryError) as error:
        is_script = isinstance(error, NotADirectoryError)
        if error.filename != own_folder or (_is_link(own_folder) and not is_script):
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
            try:
                status = os.stat(entry.path)  # noqa: PTH116 - for each notification
                if stat.S_ISREG(status.st_mode) and not _why_no_program(entry.path, status.st_mode):
                    yield entry.name, entry.path, _version(entry.path, status)
            except FileNotFoundError:  # it has just been removed
                if _is_link(entry.path):
                    raise


def _is_link(path: str) -> bool:
    """Say whether a link is there; what it leads to may be away for a while, as a disk that isn't mounted."""
    return os.path.islink(path)  # noqa: PTH114 - for each notification


def examine(folder: Path) -> list[tuple[Path, str]]:
    """Return every file in the folder and its subfolders with why it doesn't run; empty where it does.

    Raises: OSError.
    """
    found = list(_examine(folder))
    for entry in sorted(folder.iterdir()):
        if _is_folder(entry) and not entry.name.startswith("."):
            found += _examine(entry)
    return found


def _examine(folder: Path) -> Iterator[tuple[Path, str]]:
    for entry in sorted(folder.iterdir()):
        if not _is_folder(entry):
            yield entry, _why_ignored(entry)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # `_why_ignored` tells
        return False


def _why_ignored(path: Path) -> str:
    if found := _IGNORED_NAME.fullmatch(path.name):
        return f"its name {'ends in ' + found[1] if found[1] else 'starts with ' + path.name[0]}"
    try:
        status = path.stat()
    except OSError as error:
        return f"{_UNKNOWN}: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    return _why_no_program(str(path), status.st_mode)


def _why_no_program(path: str, mode: int) -> str:
    if not mode & 0o111:
        return f"it has no run bit (chmod +x {path})"
    return "" if os.access(path, os.X_OK) else forbidden()


def holds_up(why: str) -> bool:
    """Say of what `examine` returned whether the file isn't ignored, but waited for."""
    return why.startswith(_UNKNOWN)


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
