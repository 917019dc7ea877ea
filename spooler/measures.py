"""Measures: what a process counts and times as it goes, under the names that Prometheus gets to see.

Owns: the table of counters and histograms, and this process's numbers.
Promises: counting costs about a microsecond, and can't fail. At most 1,000 combinations of labels each;
what comes after those is counted under `other`. No label is data from the network. A label's value is
always text that can be written down, also where a file's name isn't.
Does not promise: that anybody sees them; `spooler.shared_measures` hands them on to the other processes.
"""

from bisect import bisect_left
from threading import Event, Lock

from spooler.printable import printable

_MAX_SERIES = 1000
_OTHER = "other"

Labels = tuple[str, ...]

# Set with each count, so that whoever hands the numbers on can sleep until there are new ones.
counted = Event()


class Counter:
    """How often something happened, by label values."""

    def __init__(self, name: str, help_: str, labels: Labels) -> None:
        self.name, self.help, self.labels = name, help_, labels
        self.series: dict[Labels, list[float]] = {}  # of one number
        self._lock = Lock()

    def count(self, *values: str) -> None:
        """Count one."""
        with self._lock:
            self._of(values)[0] += 1
        _tell()

    def numbers(self) -> int:
        """Return how many numbers a series has."""
        return 1

    def add(self, values: Labels, numbers: list[float]) -> None:
        """Add what another process, or this one's forerunner, has counted."""
        with self._lock:
            own = self._of(values)
            own[:] = [mine + theirs for mine, theirs in zip(own, numbers, strict=True)]

    def copy(self) -> list[tuple[Labels, list[float]]]:
        """Return all series as they are now."""
        with self._lock:
            return [(values, list(numbers)) for values, numbers in self.series.items()]

    def _of(self, values: Labels) -> list[float]:
        numbers = self.series.get(values)
        if numbers is None:
            values = tuple(map(printable, values))
            numbers = self.series.get(values)
        if numbers is None:
            if len(self.series) >= _MAX_SERIES:
                values = (_OTHER,) * len(values)
            numbers = self.series.setdefault(values, [0.0] * self.numbers())
        return numbers


class Histogram(Counter):
    """How long something took, by label values: a count for each bucket, one above the last, and the sum."""

    def __init__(self, name: str, help_: str, labels: Labels, bounds_seconds: tuple[float, ...]) -> None:
        super().__init__(name, help_, labels)
        self.bounds_seconds = bounds_seconds

    def observe(self, seconds: float, *values: str) -> None:
        """Count one that took so long."""
        bucket = bisect_left(self.bounds_seconds, seconds)
        with self._lock:
            numbers = self._of(values)
            numbers[bucket] += 1
            numbers[-1] += seconds
        _tell()

    def numbers(self) -> int:
        return len(self.bounds_seconds) + 2


def _tell() -> None:
    """To be called when the number is there: whoever was told before that may have missed it."""
    if not counted.is_set():  # the cheaper question
        counted.set()


REQUESTS = Counter(
    "spooler_requests_total",
    "Requests by the status they were answered with; without a webhook where they named none.",
    ("webhook", "status"),
)
REFUSED_REQUESTS = Counter(
    "spooler_refused_requests_total",
    "Notifications that were answered with another status than 200.",
    ("webhook", "reason"),
)
CONFIRM_SECONDS = Histogram(
    "spooler_confirm_duration_seconds",
    "From the first byte of a request until its notification was on the disk. The sender waits 15 s.",
    ("webhook",),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0),
)
SCRIPT_SECONDS = Histogram(
    "spooler_script_duration_seconds",
    "How long runs of a script took.",
    ("webhook", "script"),
    (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
SCRIPT_EXITS = Counter(
    "spooler_script_exits_total",
    "Runs of a script by exit status, or by what ended them.",
    ("webhook", "script", "exit"),
)
TURNS = Counter(
    "spooler_turns_total",
    "Turns of notifications by the state that they ended in.",
    ("webhook", "state"),
)
ALERT_MAILS = Counter(
    "spooler_alert_mails_total",
    "Attempts to send a mail by what came of them.",
    ("outcome",),
)

ALL = (REQUESTS, REFUSED_REQUESTS, CONFIRM_SECONDS, SCRIPT_SECONDS, SCRIPT_EXITS, TURNS, ALERT_MAILS)
