"""The file system of a folder: whether a power cut leaves there what was promised.

Owns: which file systems power cuts were tried on, and what is to be said of others.
Promises: nothing is done but reading. What the kernel doesn't tell speaks against nothing.
Source: proc(5), mountinfo; the options in /proc/fs/ext4, of which `data=` is there only with a journal.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_TRIED = {"ext4", "xfs"}
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What a folder is on. kind: as the kernel calls it; empty if it doesn't tell.

    has_barriers: a sync has the disk write out what it only holds in its own memory.
    """

    kind: str
    has_journal: bool = True
    has_barriers: bool = True

    @classmethod
    def of(cls, folder: Path) -> "FileSystem":
        """Look at the file system that a folder is on, or will be."""
        best, kind, number = Path(), "", ""
        try:
            folder = folder.resolve()
            for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
                before, _, after = line.partition(b" - ")
                _id, _parent, device, _root, place, *_rest = before.split()
                mounted_on = Path(os.fsdecode(_ESCAPE.sub(lambda found: bytes([int(found[1], 8)]), place)))
                # Of several on one place the last covers the others.
                if folder.is_relative_to(mounted_on) and len(mounted_on.parts) >= len(best.parts):
                    best, kind, number = mounted_on, after.split()[0].decode(), device.decode()
        except (OSError, RuntimeError):  # RuntimeError: a symlink that leads to itself
            return cls("")
        options = _ext4_options(number) if kind == "ext4" else []
        has_journal = not options or any(option.startswith("data=") for option in options)
        return cls(kind, has_journal, "nobarrier" not in options)

    @property
    def doubt(self) -> str:
        """Say why a power cut may take what was promised; empty if nothing speaks for that."""
        if not self.has_journal:
            return (
                f"this {self.kind} has no journal: a power cut may take what was answered with 200; "
                "to add one, unmount it and run `tune2fs -O has_journal DEVICE`"
            )
        if not self.has_barriers:
            return "mounted with nobarrier: a power cut may take what was answered with 200; mount it without"
        if self.kind and self.kind not in _TRIED:
            return f"{self.kind}: power cuts were tried on ext4 and XFS only; put the spool on one of these"
        return ""


def _ext4_options(device: str) -> list[str]:
    """Return how it is mounted, in all detail; nothing if the kernel doesn't tell. device: as in `8:1`."""
    name = (Path("/sys/dev/block") / device).resolve().name
    try:
        return (Path("/proc/fs/ext4") / name / "options").read_text().splitlines()
    except OSError:
        return []
