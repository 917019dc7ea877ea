"""The retry policy: whether there is a further attempt, and when.

Owns: the arithmetic of `retry_delays`.
Promises: pure; chance comes in as an argument.
"""

from collections.abc import Callable, Sequence

AFTER_ERROR_SECONDS = 60.0  # until one that the disk held up is tried again; no attempt is counted
JITTER = 0.1  # each delay gets up to this share more, so that what failed together doesn't come back together


def delay_seconds(attempt: int, delays: Sequence[float], chance: Callable[[], float]) -> float | None:
    """Return the seconds to wait after a failed `attempt` (from 1); None if it was the last.

    chance: returns a number from 0 to 1.
    """
    if attempt > len(delays):
        return None
    return delays[attempt - 1] * (1 + JITTER * chance())


def longest_wait_seconds(delays: Sequence[float]) -> float:
    """Return the seconds that nothing waits longer than, whatever held it up."""
    return max([AFTER_ERROR_SECONDS, *delays]) * (1 + JITTER)
