"""A folder's lock among the receivers, and how long each of many waits for it.

Owns: the kernel's lock (flock) on a folder.
Promises: where it is free it costs one call. Nobody waits for it past the moment that is given: whoever may
read a folder may lock it, and a process that stands still keeps what it holds. Of the threads that come for
it together only a few wait so long, and none once somebody has waited in vain: they have others to answer.
Does not promise: turns among those who wait.
"""

import errno
import fcntl
import time
from contextlib import suppress
from threading import Semaphore

from spooler.clock import Clock

_PATIENT = 2  # threads
_IMPATIENT_SECONDS = 3.0  # the others; a listing of a million names, the longest that it is held, takes less
_IN_VAIN_SECONDS = 0.05  # after somebody has waited in vain, till somebody gets it
_FIRST_PAUSE_SECONDS = 0.00001  # with what the kernel adds to it: it is held for about so long
_LONGEST_PAUSE_SECONDS = 0.01


class FolderLock:
    """What the threads of a process know together of the lock on one folder."""

    def __init__(self) -> None:
        self._patient = Semaphore(_PATIENT)
        self._in_vain = False

    def take(self, folder: int, clock: Clock, until: float) -> None:
        """Lock a folder, by a descriptor that was opened for this alone, so that threads are kept apart too.

        It ends with the descriptor at the latest. until: on the clock's monotonic scale.

        Raises: BlockingIOError if others hold it for longer, OSError.
        """
        if not (_try(folder) or self._wait(folder, clock, until)):
            self._in_vain = True
            raise BlockingIOError(errno.EAGAIN, "another process holds its lock (see /proc/locks)")
        self._in_vain = False

    def _wait(self, folder: int, clock: Clock, until: float) -> bool:
        now = clock.monotonic()
        if self._in_vain:
            return _try_until(folder, clock, min(until, now + _IN_VAIN_SECONDS))
        if not self._patient.acquire(blocking=False):
            return _try_until(folder, clock, min(until, now + _IMPATIENT_SECONDS))
        try:
            return _try_until(folder, clock, until)
        finally:
            self._patient.release()


def _try_until(folder: int, clock: Clock, until: float) -> bool:
    pause_seconds = _FIRST_PAUSE_SECONDS
    while clock.monotonic() < until:
        time.sleep(pause_seconds)
        if _try(folder):
            return True
        pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
    return False


def _try(folder: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
