"""Patience: others are waited for, but not without end.

Owns: since when.
Promises: it lasts for so many seconds on end, and is whole again as soon as nobody has to be waited for.
"""

from spooler.clock import Clock


class Patience:
    """Patience for so many seconds."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._since: float | None = None

    def lasts(self, *, waiting: bool) -> bool:
        """Say whether it isn't used up; to be told each time whether somebody has to be waited for."""
        if not waiting:
            self._since = None
            return True
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
        return now - self._since < self._seconds
