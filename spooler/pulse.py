"""Pulses: how a parent knows that its children's loops turn, and what they have done.

Owns: memory that a service's processes share, with a record for each child.
Promises: a beat costs no system call and can't block. What a child counted stays when it is replaced.
Does not promise: exactness; a reader may see the counts of two beats mixed.
"""

import mmap
import struct
import time
from collections.abc import Sequence
from typing import NamedTuple

_RECORD = struct.Struct("=d3Q")


class Counts(NamedTuple):
    """How many requests to webhooks were stored, refused, and not stored though they were authentic."""

    stored: int = 0
    refused: int = 0
    not_stored: int = 0

    def __str__(self) -> str:
        return f"{self.stored} stored, {self.refused} refused, {self.not_stored} not stored since the start"


_NONE = Counts()


class Pulse:
    """One child's record; `last_beat` is in monotonic seconds, 0.0 before the first."""

    def __init__(self, memory: mmap.mmap, offset: int) -> None:
        self._memory = memory
        self._offset = offset
        self._before = Counts()  # what this child's predecessors have counted

    @property
    def last_beat(self) -> float:
        """When the child's loop turned last."""
        return float(_RECORD.unpack_from(self._memory, self._offset)[0])

    @property
    def counts(self) -> Counts:
        """What this child and its predecessors have counted."""
        return Counts(*_RECORD.unpack_from(self._memory, self._offset)[1:])

    def begin(self) -> None:
        """In a new child: go on where the one before it left off."""
        self._before = self.counts

    def beat(self, counts: Counts = _NONE) -> None:
        """Say that the loop turns, and what this child has counted since it began."""
        total = (before + own for before, own in zip(self._before, counts, strict=True))
        _RECORD.pack_into(self._memory, self._offset, time.monotonic(), *total)

    def clear(self) -> None:
        """In the parent: say that the child is yet to beat."""
        _RECORD.pack_into(self._memory, self._offset, 0.0, *self.counts)


def make(count: int) -> list[Pulse]:
    """Return the records of `count` children, to be made before they are forked."""
    memory = mmap.mmap(-1, max(1, count) * _RECORD.size)  # anonymous and shared
    return [Pulse(memory, place * _RECORD.size) for place in range(count)]


def total(pulses: Sequence[Pulse]) -> Counts:
    """Return what all of them have counted."""
    return Counts(*map(sum, zip(_NONE, *(pulse.counts for pulse in pulses), strict=True)))
