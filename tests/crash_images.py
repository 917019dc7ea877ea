"""Images of a disk as a power cut leaves it, made from the record of what was written to it.

Owns: which of the writes that no flush followed are lost: all, or a random part of their blocks.
"""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import block_recorder

_BLOCK = 4096  # what a disk writes in one piece


def crash_images(before: Path, record: Path, crashed: Path, rounds: int) -> Iterator[list[str]]:
    """Make image after image in the file `crashed`; yield what was promised before each."""
    marks: list[str] = []
    pending: list[block_recorder.Entry] = []
    chance = random.Random(0)
    for entry in block_recorder.read_record(record):
        if entry.kind == block_recorder.MARK:
            marks += entry.content.decode().splitlines()
        elif entry.kind == block_recorder.WRITE:
            pending += _blocks(entry)
        elif pending:
            # With all of them it is the image before the next flush with none of what comes after this one.
            for part in [[], *([b for b in pending if chance.random() < 0.5] for _ in range(rounds))]:
                copy(before, crashed)
                _write(crashed, part)
                yield list(marks)
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
