"""Latencies: how long each of many took, and what is told of them.

Owns: the quantile that is meant by p50 and p99.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (above 0, up to 1) of all values do not exceed."""
    return ascending[math.ceil(share * len(ascending)) - 1]


@dataclass(frozen=True, slots=True)
class Latencies:
    """How many there were, how many a second, and how long they took."""

    count: int
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, taken_seconds: Iterable[float], whole_seconds: float) -> "Latencies":
        """Sum up what each took; at least one, all of them within `whole_seconds`."""
        ascending = sorted(taken_seconds)
        p50, p99, most = (quantile(ascending, share) * 1e3 for share in (0.5, 0.99, 1.0))
        return cls(len(ascending), len(ascending) / whole_seconds, p50, p99, most)
