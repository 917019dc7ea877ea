"""Keepsakes: what a service remembers over its restarts, as a small JSON file that is replaced in one step.

Owns: writing and reading such files, whose names are hidden.
Promises: a reader sees the old content or the new one, never a part. What is missing, torn or of another
shape reads as nothing.
Does not promise: to have what was written last after a power cut, unless it is synced.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from spooler import durable
from spooler.durable import FOLDER_MODE

_MAX_BYTES = 8 << 20
_Content = TypeVar("_Content")


def write(path: Path, content: object, *, sync: bool = False) -> None:
    """Replace the file at `path` by `content`, making its folder if need be.

    Raises: OSError, ValueError for a text that can't be UTF-8.
    """
    path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    hidden = f"{path.name}.new"
    with durable.opened_folder(path.parent) as folder:
        # CRASH: what was being written stays under this one name; the next writer replaces it.
        with suppress(FileNotFoundError):
            os.unlink(hidden, dir_fd=folder)
        durable.write_hidden(folder, hidden, msgspec.json.encode(content), sync=sync)
        os.replace(hidden, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        if sync:
            os.fsync(folder)


def read(path: Path, kind: type[_Content]) -> _Content | None:
    """Return the file's content; None if there is none that can be used."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return None
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, ValueError, RecursionError):
        return None
