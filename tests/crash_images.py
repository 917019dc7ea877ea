"""Images of a disk as a power cut leaves it, made from the record of what was written to it.

Owns: which of the writes that no flush followed are lost: all, or a random part of their blocks.
"""

import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import block_recorder
from power_promises import Mark

_BLOCK = 4096  # what a disk writes in one piece


@dataclass(frozen=True)
class CrashImage:
    """The disk as a cut leaves it. It can be made, more than once, until the next one is asked for.

    marks: what was promised by then. told: which cut it is.
    """

    marks: list[Mark]
    told: str
    _before: Path
    _kept: list[block_recorder.Entry]

    def make(self, image: Path) -> None:
        """Make the image in a file, which may be there already."""
        copy(self._before, image)
        _write(image, self._kept)


def crash_images(before: Path, record: Path, rounds: int) -> Iterator[CrashImage]:
    """Yield image after image. before: the disk at the record's beginning; it is changed."""
    marks: list[Mark] = []
    pending: list[block_recorder.Entry] = []
    chance = random.Random(0)
    flushes = 0
    for number, entry in enumerate(block_recorder.read_record(record)):
        if entry.kind == block_recorder.MARK:
            when = f"(entry {number} of the record, after flush {flushes} and {len(pending)} more blocks)"
            marks += [Mark(text, when) for text in entry.content.decode().splitlines()]
        elif entry.kind == block_recorder.WRITE:
            pending += _blocks(entry)
        else:
            flushes += 1
            if not pending:
                continue
            # With all of them it is the image before the next flush with none of what comes after this one.
            for part in [[], *([b for b in pending if chance.random() < 0.5] for _ in range(rounds))]:
                told = f"entry {number} of the record, before flush {flushes}"
                told += f", with {len(part)} of {len(pending)} blocks that no flush followed"
                yield CrashImage(list(marks), told, before, part)
            _write(before, pending)
            pending = []


def _blocks(entry: block_recorder.Entry) -> Iterator[block_recorder.Entry]:
    for start in range(0, len(entry.content), _BLOCK):
        yield entry._replace(offset=entry.offset + start, content=entry.content[start : start + _BLOCK])


def _write(image: Path, blocks: list[block_recorder.Entry]) -> None:
    with image.open("r+b") as file:
        for block in blocks:
            file.seek(block.offset)
            file.write(block.content)


def copy(source: Path, target: Path) -> None:
    """Copy a sparse file."""
    subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)
