"""Counting and timing in one process."""

import re
import threading

from spooler import measures
from spooler.measures import Counter, Histogram


def test_threads_count_together() -> None:
    counter = Counter("c", "", ("webhook",))

    def count() -> None:
        for _ in range(1000):
            counter.count("crm")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.copy() == [(("crm",), [4000.0])]


def test_a_time_falls_into_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram("h", "", ("webhook",), (0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds, "crm")
    assert histogram.copy() == [(("crm",), [2.0, 1.0, 1.0, 7.65])]


def test_there_is_a_bound_to_the_combinations_of_labels() -> None:
    counter = Counter("c", "", ("webhook", "script"))
    for number in range(1500):
        counter.count("crm", f"script-{number}")
    series = dict(counter.copy())
    assert len(series) == 1001
    assert series["other", "other"] == [500.0]


def test_names_follow_the_conventions() -> None:
    for measure in measures.ALL:
        unit = "_seconds" if isinstance(measure, Histogram) else "_total"
        assert re.fullmatch(rf"spooler_[a-z_]+{unit}", measure.name)
        assert measure.help.endswith(".")
        assert set(measure.labels) <= {"webhook", "status", "reason", "script", "exit", "state", "outcome"}
