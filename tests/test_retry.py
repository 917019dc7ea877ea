"""The arithmetic of retries."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spooler.config import Processing
from spooler.retry import JITTER, delay_seconds

DELAYS = Processing().retry_delays


def test_the_usual_delays_are_one_fifteen_thirty_and_sixty_minutes_so_there_are_five_attempts() -> None:
    waits = [delay_seconds(attempt, DELAYS, lambda: 0.0) for attempt in range(1, 6)]
    assert waits == [60, 900, 1800, 3600, None]
    assert Processing().max_attempts == 5


@given(st.integers(1, 10), st.lists(st.floats(0, 1e6), max_size=8), st.integers())
def test_up_to_a_tenth_is_added_and_nothing_taken_away(attempt: int, delays: list[float], seed: int) -> None:
    wait = delay_seconds(attempt, delays, random.Random(seed).random)
    if attempt > len(delays):
        assert wait is None
    else:
        assert wait is not None
        assert delays[attempt - 1] <= wait <= delays[attempt - 1] * (1 + JITTER)
        assert JITTER == 0.1


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 60.0), (0.5, 63.0), (1.0, 66.0)])
def test_chance_decides_how_much_is_added(chance: float, seconds: float) -> None:
    assert delay_seconds(1, DELAYS, lambda: chance) == pytest.approx(seconds)


def test_without_delays_there_is_one_attempt() -> None:
    assert delay_seconds(1, (), lambda: 0.0) is None
