"""Room on the disk: whether a notification may still be accepted.

Owns: what counts as too little.
Promises: the receiver refuses while the processor still has room for its logs.
Does not promise: that a file fits; only writing it tells.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from spooler.units import format_size

_MIN_INODES = 100
_AMPLE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Room:
    """What is free for this user: bytes, and inodes where the file system counts them."""

    free_bytes: int
    free_inodes: int | None

    @classmethod
    def of(cls, folder: Path) -> "Room":
        """Look at the file system of a folder. Raises: OSError."""
        disk = os.statvfs(folder)
        return cls(disk.f_bavail * disk.f_frsize, disk.f_favail if disk.f_files else None)

    @classmethod
    def of_existing(cls, folder: Path) -> "Room":
        """Look at the file system that a folder is on, or will be. Raises: OSError."""
        while not folder.exists():
            folder = folder.parent
        return cls.of(folder)

    def shortage(self, min_free_bytes: int) -> str:
        """Say what there is too little of; empty if there is enough, or no limit."""
        if self.free_bytes < min_free_bytes:
            return f"only {format_size(self.free_bytes)} free, min_free is {format_size(min_free_bytes)}"
        if min_free_bytes and self.free_inodes is not None and self.free_inodes < _MIN_INODES:
            return f"only {self.free_inodes} inodes free"
        return ""


def is_ample(place: Path | int) -> bool:
    """Say whether there is room for whatever is written for one notification, where a folder or a file is.

    place: its path, or a descriptor.

    With less of it nothing is used again: what is made anew fails on a full disk, and so nothing is run whose
    end could not be written down. Raises: OSError.
    """
    disk = os.statvfs(place)
    has_inodes = not disk.f_files or disk.f_favail >= _MIN_INODES
    return has_inodes and disk.f_bavail * disk.f_frsize >= _AMPLE_BYTES
