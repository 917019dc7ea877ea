"""Time, as something that can be handed in: a day of retries is tested in milliseconds.

Owns: the two questions that may be asked of time.
Promises: `now` is aware and in UTC, for stamps; `monotonic` never goes back, for durations.
"""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the rest asks of time."""

    def now(self) -> datetime:
        """Return the moment, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed instant."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()
