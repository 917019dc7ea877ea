"""Durability: how bytes get onto the disk under a name, and how a name changes.

One sync costs about as much as many that are asked for together: files that come together are made together.

Owns: the order of write, sync and rename, and the system calls for it.
Promises: a file is visible under its name whole or not at all, and after `create` has returned it survives
a power cut. Nothing here ever replaces an existing file.
Does not promise: anything on file systems that lie about syncing, or across two file systems.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MODE = 0o640
FOLDER_MODE = 0o750

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


@contextmanager
def opened_folder(path: Path | str) -> Iterator[int]:
    """Open a folder for the calls that are relative to it; gives its descriptor."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@dataclass(slots=True, kw_only=True)
class NewFile:
    """A file on its way: under its hidden name until it is published.

    Afterwards `error` says why it isn't there, or whether it is, nobody knows: the last sync failed. If there
    is none, `name` is the file's.
    """

    hidden: str
    content: bytes
    name: str = ""
    error: Exception | None = None


def create(folder: int, files: Sequence[NewFile], publish: Callable[[], None]) -> None:
    """Write files into the folder (a descriptor). One that fails takes no other with it.

    `publish` is called when those without an `error` are synced under their hidden names: it renames them,
    and sets their `name`; or their `error`, which drops the file.

    Raises: OSError, as `publish` does; then nothing of what has no name is visible.
    """
    _write(folder, files, sync=True)
    # CRASH: the hidden files stay; they were not confirmed, and the receiver's next start sweeps them.
    synced = [file for file in files if file.error is None]
    if not synced:
        return
    try:
        publish()
    finally:
        for file in synced:
            if not file.name:
                _drop(folder, file)
    # CRASH: the names may or may not have reached the disk. Nothing was confirmed: the sender repeats.
    # A failure of this sync is not tried again (the kernel may report success for lost data) and the names
    # stay: a repeat is better than a loss.
    try:
        os.fsync(folder)
    except OSError as error:
        for file in synced:
            file.error = file.error or error


def write_hidden(folder: int, hidden: str, content: bytes, *, sync: bool) -> None:
    """Write a new file, which is removed again if that fails. Raises: OSError."""
    file = NewFile(hidden=hidden, content=content)
    _write(folder, [file], sync=sync)
    if file.error is not None:
        raise file.error


def _write(folder: int, files: Sequence[NewFile], *, sync: bool) -> None:
    """Write new files under their hidden names. Those that fail have an `error`, and are removed again."""
    opened: list[tuple[NewFile, int]] = []
    try:
        for file in files:
            try:
                opened.append((file, os.open(file.hidden, _NEW, MODE, dir_fd=folder)))
                os.fchmod(opened[-1][1], MODE)  # whatever the umask was
                write_all(opened[-1][1], file.content)
            except OSError as error:
                file.error = error
        if sync:
            _sync(opened)
    finally:
        for file, descriptor in opened:
            os.close(descriptor)
            if file.error is not None:
                _drop(folder, file)


def _sync(opened: Sequence[tuple[NewFile, int]]) -> None:
    # All are begun first, so that the syncs wait for the disk once, and not for each.
    for step in (begin_to_write_out, os.fsync) if len(opened) > 1 else (os.fsync,):
        for file, descriptor in opened:
            if file.error is None:
                try:
                    # Never tried again after a failure: the second call would report success for lost data.
                    step(descriptor)
                except OSError as error:
                    file.error = error


def begin_to_write_out(descriptor: int) -> None:
    """Ask the kernel to write a file out, and don't wait for it. Raises: OSError.

    What fails here for want of a place on the disk may be gone, and the next sync report success: not to be
    passed over, as other calls that begin it (posix_fadvise) do. Source: sync_file_range(2), mm/fadvise.c.
    """
    if _libc.sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE) == 0:
        return
    code = ctypes.get_errno()
    if code not in {errno.ENOSYS, errno.EPERM}:  # it's a service without which the sync does all
        raise OSError(code, os.strerror(code))


def _drop(folder: int, file: NewFile) -> None:
    with suppress(OSError):  # it is hidden, and will be swept
        os.unlink(file.hidden, dir_fd=folder)


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
    at_once = max(expected_bytes + 1, 1 << 12)
    content = os.read(descriptor, at_once)
    if len(content) == expected_bytes:  # as much as was expected, and less than was asked for: its end
        return content
    chunks = [content]
    while chunk := os.read(descriptor, at_once):
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


def sync_folder(path: Path | str) -> None:
    """Bring a folder's names onto the disk. Raises: OSError."""
    sync_and_close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def sync_file(path: Path | str) -> None:
    """Bring a file's content onto the disk; what is a pipe isn't waited for. Raises: OSError."""
    sync_and_close(opened(path))


def opened(path: Path | str) -> int:
    """Open a file for `sync_and_close`, wherever it is moved till then. Raises: OSError."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def sync_and_close(descriptor: int) -> None:
    """Bring onto the disk what a descriptor stands for. Raises: OSError; it is closed all the same."""
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
