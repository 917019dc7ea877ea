"""Group commit: what was settled gets onto the disk while others have their turns already.

Owns: the thread that waits for the disk, and what is under way to it. One sync costs about as much as several
that are asked for together: so a few are waited for, for a moment, unless nothing else is to be done.
Promises: each is synced within that moment and the disk's own time. `wait_for` returns when nothing is under
way any more that shares a lane with what is to come: a power cut may undo what is under way, and then it has
its turn again, behind whatever has had one meanwhile.
Does not promise: that a sync succeeds; whoever adds something is told in `then`.
"""

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import NamedTuple

from spooler import spool
from spooler.log import get_logger
from spooler.spool import Moved

_TOGETHER = 8  # for more of them it is hardly less each
_LINGER_SECONDS = 0.02

Lanes = frozenset[Hashable]


class _Added(NamedTuple):
    lanes: Lanes
    moved: Moved
    then: Callable[[], None]


class GroupCommit:
    """Syncs what is added, from `start` to `close`."""

    def __init__(self, *, together: int = _TOGETHER, linger_seconds: float = _LINGER_SECONDS) -> None:
        """together: so many aren't waited for longer. linger_seconds: nor is it after so long.

        While they are being synced as many again may come; who adds a further one waits.
        """
        self._together = together
        self._linger_seconds = linger_seconds
        self._under_way: list[_Added] = []
        self._is_urgent = False  # somebody waits, or nothing else is to be done
        self._closing = False
        lock = threading.Lock()
        self._wanted, self._committed = threading.Condition(lock), threading.Condition(lock)
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)

    def start(self) -> None:
        """Begin to sync."""
        self._thread.start()

    def add(self, lanes: Lanes, moved: Moved, then: Callable[[], None]) -> None:
        """Have a move synced. `then` is called afterwards, in another thread."""
        with self._committed:
            self._committed.wait_for(lambda: len(self._under_way) < 2 * self._together)
            self._under_way.append(_Added(lanes, moved, then))
            # Only then: whoever is woken takes Python's lock from those who work.
            if len(self._under_way) in {1, self._together}:
                self._wanted.notify()

    def hurry(self) -> None:
        """Wait for no more: nothing else is to be done now."""
        with self._committed:
            self._urge()

    def wait_for(self, lanes: Lanes) -> bool:
        """Wait until nothing of these lanes is under way; return whether anything was."""
        return self._wait_until(lambda: all(lanes.isdisjoint(one.lanes) for one in self._under_way))

    def wait_for_all(self) -> None:
        """Wait until nothing is under way."""
        self._wait_until(lambda: not self._under_way)

    def close(self) -> None:
        """Sync what is under way still, and end."""
        with self._wanted:
            self._closing = True
            self._wanted.notify()
        if self._thread.is_alive():  # it couldn't be started, else
            self._thread.join()

    def _wait_until(self, is_committed: Callable[[], bool]) -> bool:
        has_waited = False
        with self._committed:
            while not is_committed():
                has_waited = True
                self._urge()
                self._committed.wait()
        return has_waited

    def _urge(self) -> None:
        if self._under_way and not self._is_urgent:
            self._is_urgent = True
            self._wanted.notify()

    def _run(self) -> None:
        while group := self._next_group():
            with suppress(Exception):  # that not even the log takes: nobody is to wait for ever
                _sync(group)
            with self._committed:
                del self._under_way[: len(group)]
                self._committed.notify_all()

    def _next_group(self) -> list[_Added]:
        """Return what is to be synced next; nothing when that was all."""
        with self._wanted:
            self._wanted.wait_for(lambda: self._under_way or self._closing)
            self._wanted.wait_for(self._is_due, self._linger_seconds)
            self._is_urgent = False
            return list(self._under_way)

    def _is_due(self) -> bool:
        return self._is_urgent or self._closing or len(self._under_way) >= self._together


def _sync(group: list[_Added]) -> None:
    try:
        spool.sync_moved([one.moved for one in group])
    except Exception:  # noqa: BLE001 - the marks of these stay, for the next start
        get_logger().exception("defect")
    else:
        for one in group:
            _tell(one)


def _tell(one: _Added) -> None:
    try:
        one.then()
    except Exception:  # noqa: BLE001 - the others are to be told all the same
        get_logger().exception("defect")
