"""What a parent learns of its children, over real forks."""

import os
import time
from collections.abc import Callable

from spooler import pulse
from spooler.pulse import Counts


def in_a_child(work: Callable[[], object]) -> None:
    """Do something in a fork, and wait for its end."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(process, 0)[1] == 0


def test_a_childs_beats_and_counts_are_seen_by_its_parent() -> None:
    first, second = pulse.make(2)
    before = time.monotonic()
    in_a_child(lambda: second.beat(Counts(3, 2, 1)))
    assert before <= second.last_beat <= time.monotonic()
    assert (first.last_beat, first.counts, second.counts) == (0.0, (0, 0, 0), (3, 2, 1))


def test_what_a_child_counted_stays_when_it_is_replaced() -> None:
    (only,) = pulse.make(1)

    def count() -> None:
        only.begin()
        only.beat(Counts(1, 0, 0))
        only.beat(Counts(5, 1, 0))

    for _ in range(3):
        only.clear()
        assert only.last_beat == 0.0
        in_a_child(count)
    assert only.counts == (15, 3, 0)


def test_the_total_is_that_of_all() -> None:
    pulses = pulse.make(3)
    for number, one in enumerate(pulses):
        one.beat(Counts(number, 10 * number, 0))
    assert pulse.total(pulses) == (3, 30, 0)
    assert str(pulse.total(pulses)) == "3 stored, 30 refused, 0 not stored since the start"


def test_no_children_count_nothing() -> None:
    assert pulse.total(pulse.make(0)) == (0, 0, 0)
