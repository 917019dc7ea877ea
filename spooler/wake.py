"""A wake-up call: what a thread sleeps on until something is to be done, and a signal handler may give.

Owns: the kernel's counter behind it.
Promises: `set` takes no lock. A handler runs in the middle of whatever the main thread does; were that just
sleeping on, or clearing, a `threading.Event`, whose lock the handler then wants, neither would ever go on.
Source: eventfd(2).
"""

import math
import os
import select
import weakref
from contextlib import suppress


class Wake:
    """Set or not set, like `threading.Event`."""

    def __init__(self) -> None:
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        weakref.finalize(self, os.close, self._event)

    def set(self) -> None:
        """Wake who waits; may be called from a signal handler, and from any thread."""
        os.eventfd_write(self._event, 1)

    def clear(self) -> None:
        """Take back the calls so far."""
        with suppress(BlockingIOError):  # there were none
            os.eventfd_read(self._event)

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, or for that long; return whether it is set."""
        poll = select.poll()
        poll.register(self._event, select.POLLIN)
        return bool(poll.poll(math.ceil(seconds * 1000)))

    def fileno(self) -> int:
        """Return a descriptor that is readable while it is set."""
        return self._event
