"""Metrics: the numbers of all processes and what the folders hold, in Prometheus' text format.

Owns: what is told of the folders and the disk, under which names; the text.
Promises: works while no service runs. A folder that can't be read leaves out its own numbers alone. However
often somebody asks, the folders are counted for a small share of the time.
Does not promise: that everything is of one instant.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from spooler import inventory, measures, refusals, shared_measures
from spooler.clock import Clock, SystemClock
from spooler.config import Configuration
from spooler.folders import WebhookFolders
from spooler.measures import Histogram
from spooler.room import Room
from spooler.state import State

_COUNTING_SHARE = 20  # counting a million files takes seconds: at most this fraction of the time

_GAUGES = {
    "spooler_notifications": (
        "Notifications in each state; of rejected, refused requests.",
        "webhook",
        "state",
    ),
    "spooler_oldest_waiting_seconds": (
        "Age of the oldest notification that isn't settled; 0: none.",
        "webhook",
    ),
    "spooler_last_received_timestamp_seconds": ("When the latest notification was received.", "webhook"),
    "spooler_paused": ("Whether the processor is held back: 1 or 0.", "webhook"),
    "spooler_consecutive_errors": (
        "Answers in a row other than 200; after 100 over at least 8 hours the sender switches off.",
        "webhook",
    ),
    "spooler_errors_since_timestamp_seconds": ("When those errors began.", "webhook"),
    "spooler_disk_free_bytes": ("Room on the spool's disk for its user.",),
    "spooler_disk_free_inodes": ("Files that may still be made on the spool's disk.",),
}


class Metrics:
    """A collector as the library wants it; also the text. Several threads may ask at once.

    unread: what kept folders or the disk from being counted the last time; their numbers are left out.
    """

    def __init__(self, configuration: Configuration, *, clock: Clock | None = None) -> None:
        self._configuration = configuration
        self._clock = clock or SystemClock()
        self.unread: list[OSError] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._lock = Lock()
        self._counted: list[Metric] = []
        self._count_again_at = 0.0  # monotonic seconds

    def text(self) -> bytes:
        """Return everything in Prometheus' text format (version 0.0.4)."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from _of_processes(shared_measures.read_all(self._configuration.spool))
        with self._lock:
            if time.monotonic() >= self._count_again_at:
                begun = time.monotonic()
                self._counted = list(self._of_folders())
                now = time.monotonic()
                self._count_again_at = now + (now - begun) * _COUNTING_SHARE
            yield from self._counted

    def describe(self) -> list[Metric]:
        """Return nothing: what there is shows when it is asked for."""
        return []

    def _of_folders(self) -> Iterator[Metric]:
        gauges = {
            name: GaugeMetricFamily(name, help_, labels=labels) for name, (help_, *labels) in _GAUGES.items()
        }
        self.unread = []
        for webhook in self._configuration.webhooks:
            with self._left_out():
                self._of_webhook(WebhookFolders(self._configuration.spool, webhook, self._clock), gauges)
        with self._left_out():
            room = Room.of_existing(self._configuration.spool)
            gauges["spooler_disk_free_bytes"].add_metric([], room.free_bytes)
            if room.free_inodes is not None:
                gauges["spooler_disk_free_inodes"].add_metric([], room.free_inodes)
        yield from gauges.values()

    @contextmanager
    def _left_out(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.unread.append(error)

    def _of_webhook(self, folders: WebhookFolders, gauges: dict[str, GaugeMetricFamily]) -> None:
        label = [folders.webhook]
        refused = refusals.read(folders.folder(State.REJECTED))
        gauges["spooler_consecutive_errors"].add_metric(label, refused.errors)
        if refused.since:
            gauges["spooler_errors_since_timestamp_seconds"].add_metric(label, refused.since.timestamp())
        gauges["spooler_paused"].add_metric(label, folders.paused)
        held = inventory.take(folders)
        for state, count in held.states.items():
            gauges["spooler_notifications"].add_metric([*label, state.value], count)
        oldest = held.oldest_waiting
        age_seconds = (self._clock.now() - oldest).total_seconds() if oldest else 0.0
        gauges["spooler_oldest_waiting_seconds"].add_metric(label, max(0.0, age_seconds))
        if held.last_received:
            received = held.last_received.timestamp()
            gauges["spooler_last_received_timestamp_seconds"].add_metric(label, received)


def _of_processes(numbers: shared_measures.Numbers) -> Iterator[Metric]:
    for measure in measures.ALL:
        if isinstance(measure, Histogram):
            histogram = HistogramMetricFamily(measure.name, measure.help, labels=measure.labels)
            for values, counted in numbers[measure.name]:
                histogram.add_metric(values, _buckets(measure, counted), counted[-1])
            yield histogram
        else:
            counter = CounterMetricFamily(measure.name, measure.help, labels=measure.labels)
            for values, counted in numbers[measure.name]:
                counter.add_metric(values, counted[0])
            yield counter


def _buckets(measure: Histogram, counted: list[float]) -> list[tuple[str, float]]:
    """Return (upper bound, how many took at most so long) for each bucket."""
    so_far, buckets = 0.0, []
    for bound, count in zip([*map(str, measure.bounds_seconds), "+Inf"], counted[:-1], strict=True):
        so_far += count
        buckets.append((bound, so_far))
    return buckets
