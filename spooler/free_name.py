"""Free names: a rename to the name that is wanted, or to the next one after it that nobody has.

Owns: what the next name is.
Promises: no file is ever replaced, and the name sorts right behind the one that was wanted.
"""

import os

from spooler import durable
from spooler.name import SUFFIX, Name

_AGAIN = "-again-"  # in the name of a further file under a name that a person gave
_NAME_BYTES = 255


def rename(
    source: str,
    wanted: str,
    source_folder: int | None = None,
    target_folder: int | None = None,
    *,
    target_parent: str = "",
) -> str:
    """Rename to `wanted`, or to the next free name after it (a copy of a settled file may come back).

    The folders are descriptors, target_parent a path. Returns the name. Raises: OSError.
    """
    while True:
        target = f"{target_parent}/{wanted}" if target_parent else wanted
        try:
            durable.rename(source, target, source_folder=source_folder, target_folder=target_folder)
        except FileExistsError:
            wanted = after(wanted)
        else:
            return wanted


def after(taken: str) -> str:
    """Return the name to try after one that is taken."""
    if parsed := Name.parse(taken):
        return str(parsed.next())
    stem, mark, number = taken.removesuffix(SUFFIX).rpartition(_AGAIN)
    if mark and number.isdecimal():
        tail = f"{_AGAIN}{int(number) + 1}{SUFFIX}"
    else:
        stem, tail = taken.removesuffix(SUFFIX), f"{_AGAIN}2{SUFFIX}"
    return os.fsdecode(os.fsencode(stem)[: _NAME_BYTES - len(tail)]) + tail
