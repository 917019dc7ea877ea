"""Durability: how bytes get onto the disk under a name, and how a name changes, in two functions.

Owns: the order of write, sync and rename, and the system calls for it.
Promises: a file is visible under its name whole or not at all, and after `create` has returned it survives
a power cut. No existing file is ever replaced.
Does not promise: anything on file systems that lie about syncing, or across two file systems.
"""

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MODE = 0o640
FOLDER_MODE = 0o750

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def opened_folder(path: Path) -> Iterator[int]:
    """Open a folder for the calls that are relative to it; gives its descriptor."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def create(folder: int, hidden: str, content: bytes, publish: Callable[[], str]) -> str:
    """Write `content` into the folder (a descriptor) and return the name that `publish` gave it.

    `publish` is called when the content is synced under the name `hidden`: it renames that, and may raise
    instead, which drops the file.

    Raises: OSError; then nothing of this content is visible, except when only the last sync failed.
    """
    write_hidden(folder, hidden, content, sync=True)
    # CRASH: the hidden file stays; it was not confirmed, and the receiver's next start sweeps it.
    try:
        name = publish()
    except BaseException:
        os.unlink(hidden, dir_fd=folder)
        raise
    # CRASH: the name may or may not have reached the disk. Nothing was confirmed: the sender repeats.
    # A failure of this sync is not tried again (the kernel may report success for lost data) and the name
    # stays: a repeat is better than a loss.
    os.fsync(folder)
    return name


def write_hidden(folder: int, hidden: str, content: bytes, *, sync: bool) -> None:
    """Write a new file, which is removed again if that fails. Raises: OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(hidden, flags, MODE, dir_fd=folder)
    try:
        os.fchmod(descriptor, MODE)  # whatever the umask was
        write_all(descriptor, content)
        if sync:
            # Never tried again after a failure: the second call would report success for lost data.
            os.fsync(descriptor)
    except BaseException:
        os.unlink(hidden, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)


@contextmanager
def opened_file(path: Path | str) -> Iterator[int]:
    """Open a file to be read, or to be handed on; gives its descriptor. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_all(descriptor: int, expected_bytes: int) -> bytes:
    """Return all that is left to read in a file, however large it is meanwhile. Raises: OSError."""
    # What `open` makes of a descriptor asks the kernel five times as much, for each of many small files.
    chunks = []
    while chunk := os.read(descriptor, max(expected_bytes, 1 << 12)):
        chunks.append(chunk)
    return b"".join(chunks)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content`, however many calls that takes. Raises: OSError."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def rename(
    source: str, target: str, *, source_folder: int | None = None, target_folder: int | None = None
) -> None:
    """Rename in one step, never replacing anything.

    Raises: FileExistsError if the target is there, FileNotFoundError if the source is gone, OSError.
    """
    result = _libc.renameat2(
        _AT_FDCWD if source_folder is None else source_folder,
        os.fsencode(source),
        _AT_FDCWD if target_folder is None else target_folder,
        os.fsencode(target),
        _RENAME_NOREPLACE,
    )
    if result == 0:
        return
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code), source, None, target)


def sync_folder(path: Path) -> None:
    """Bring a folder's names onto the disk. Raises: OSError."""
    with opened_folder(path) as descriptor:
        os.fsync(descriptor)
