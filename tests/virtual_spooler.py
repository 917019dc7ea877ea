"""Spooler on a virtual clock, and the way to it: the sender's requests reach the real receiver, or don't.

Owns: one site with the real receiver application, spool, queue, turns and scripts, all on one clock; the
outages and the slow and lost answers between it and the sender; a record of each request.
Promises: nothing happens but in the order of that clock. While a request is on its way, the processor works.
Does not promise: what only real time shows: sockets, threads, inotify.
"""

import contextlib
import errno
import io
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import whole_turn
from conftest import FakeClock, write_script
from running_service import call, make_site
from whole_spool import WholeSpool

from spooler.attempt import Attempt
from spooler.callback import Reply
from spooler.config import load
from spooler.delivery import REPLY_WAIT_SECONDS
from spooler.endpoint import BEGUN, STORE_WITHIN_SECONDS
from spooler.finished import FinishedIds
from spooler.receiver import Receiver
from spooler.scripts import Runner, Stop
from spooler.signature import HEADER
from spooler.state import State
from spooler.turn import Turn
from spooler.webhook_queue import WebhookQueue

URL = "http://spooler.example/webhook/crm"
# Notes each run. Every tenth id fails at first and works a minute later, so that repeats and younger ones of
# the same contact meet one that waits.
SCRIPT = """#!/bin/sh
answer=0
case $SPOOLER_ATTEMPT:$SPOOLER_ID in 1:*7) answer=75 ;; esac
echo "$SPOOLER_ID $SPOOLER_CONTACT ${{SPOOLER_FILE##*/}} $answer" >> {journal}
exit $answer
"""


class Kind(StrEnum):
    """How an outage looks from the sender's side."""

    REFUSED = "refused"  # nobody listens; the processor works on
    UNAVAILABLE = "503"  # no room on the disk
    SILENT = "silent"  # connected, and never a reply
    OFF = "off"  # the whole machine: the processor too is gone, and begins anew afterwards


@dataclass(frozen=True)
class Outage:
    """From `begin` until before `end`, in seconds since the start."""

    begin: float
    end: float
    kind: Kind


@dataclass(frozen=True)
class Trip:
    """What befalls a request that finds the receiver up."""

    body_seconds: float = 0.0  # until the body has come in
    reply_seconds: float = 0.0  # until the reply has come back
    lost: bool = False  # the reply never comes back: the connection breaks


SMOOTH = Trip()
_MARGIN_SECONDS = 0.1
TROUBLED = (
    Trip(reply_seconds=REPLY_WAIT_SECONDS - _MARGIN_SECONDS),  # stored and answered
    Trip(reply_seconds=REPLY_WAIT_SECONDS + _MARGIN_SECONDS),  # stored, and repeated
    Trip(lost=True),  # the same
    Trip(body_seconds=STORE_WITHIN_SECONDS - _MARGIN_SECONDS),  # stored and answered
    Trip(body_seconds=STORE_WITHIN_SECONDS + _MARGIN_SECONDS),  # too late to be stored: 503
)


@dataclass(frozen=True)
class Delivery:
    """One request: from when to when, what the receiver answered (None: it saw nothing), what came back.

    due: it found the receiver up, and came in within its time: nothing but 200 is the answer.
    """

    id: str
    at: float
    ended: float
    answered: int | None
    came_back: int | None
    due: bool


@dataclass(frozen=True)
class Run:
    """One run of the script."""

    id: str
    contact: str
    file: str
    exit: int


class _SlowBody(io.BytesIO):
    """A request's body that takes its time."""

    def __init__(self, body: bytes, spooler: "VirtualSpooler", seconds: float) -> None:
        super().__init__(body)
        self._spooler = spooler
        self._seconds = seconds

    def read(self, size: int | None = -1, /) -> bytes:
        self._spooler.sleep(self._seconds)
        self._seconds = 0.0
        return super().read(size)


@dataclass
class _Processor:
    queue: WebhookQueue
    turn: Turn


@dataclass
class VirtualSpooler:
    """Receiver and processor over a spool in `folder`; to the sender it is its clock and its network.

    trips: what befalls the requests that find the receiver up, one after another.
    """

    folder: Path
    outages: Sequence[Outage] = ()
    trips: Iterator[Trip] = field(default_factory=lambda: itertools.repeat(SMOOTH))
    deliveries: list[Delivery] = field(default_factory=list)

    def __post_init__(self) -> None:
        site = make_site(self.folder, receiver='min_free = "1MiB"')
        write_script(self.folder / "processors", "10-script", SCRIPT.format(journal=self.folder / "journal"))
        (self.folder / "journal").touch()
        full = site.config_file.with_name("full.toml")
        full.write_text(site.config_file.read_text().replace('"1MiB"', '"8000TiB"'))
        self._clock = FakeClock()
        self._began = self._clock.monotonic()
        self._configuration = site.configuration()
        self.spool = WholeSpool(self._configuration.spool, "crm", self._clock)
        self.spool.prepare()
        self._receiver = Receiver(self._configuration, clock=self._clock)
        self._full_receiver = Receiver(load(full), clock=self._clock)
        self._processor: _Processor | None = None

    # The sender's clock.

    def now(self) -> float:
        """Return the seconds since the start."""
        return self._clock.monotonic() - self._began

    def sleep(self, seconds: float) -> None:
        """Let time pass, and the processor do what falls due meanwhile."""
        end = self.now() + seconds
        while True:
            outage = self._outage()
            if outage and outage.kind is Kind.OFF:
                self._processor = None
                step_seconds = outage.end - self.now()
            else:
                step_seconds = self._work()
            left_seconds = end - self.now()
            if left_seconds <= 0:
                return
            # Never less than a microsecond: what a float of days can't tell would never pass.
            self._clock.advance(max(min(left_seconds, step_seconds), 1e-6))

    def _work(self) -> float:
        """Take all turns that are due; return for how long there is nothing to do."""
        processor = self._processor = self._processor or self._start()
        processor.queue.look(hinted=True)
        while found := processor.queue.peek():
            _order, state, name = found
            processor.queue.take(name)
            processor.queue.settle(name, whole_turn.take(processor.turn, state, name))
        if not any(self.files(state) for state in (State.INCOMING, State.PROCESSING, State.RETRY)):
            return float("inf")
        return processor.queue.idle_seconds(workers_free=True)

    def _start(self) -> _Processor:
        webhook, stop = self._configuration.webhooks["crm"], Stop()
        finished = FinishedIds(self.spool, webhook.processing.deduplicate_for)
        finished.load()
        attempt = Attempt(webhook, self.spool, Runner(stop), stop)
        turn = Turn(webhook, self.spool, attempt, finished, lambda: 0.5)
        return _Processor(WebhookQueue(webhook, self.spool), turn)

    # The sender's network.

    def _outage(self) -> Outage | None:
        return next((outage for outage in self.outages if outage.begin <= self.now() < outage.end), None)

    def post(self, _url: str, body: bytes, signature: str, timeout_seconds: float, /) -> Reply:
        """Carry one request to the receiver and its answer back, or not."""
        began = self.now()
        answered, error, due = self._carry(body, signature, began + timeout_seconds)
        came_back = None if error else answered
        ended, id_ = self.now(), json.loads(body)["EventUniqueID"]
        self.deliveries.append(Delivery(id_, began, ended, answered, came_back, due))
        return Reply(came_back, error, ended - began)

    def _carry(self, body: bytes, signature: str, deadline: float) -> tuple[int | None, str, bool]:
        """Return what the receiver answered, what kept that from coming back, and whether 200 is due."""
        outage = self._outage()
        kind = outage.kind if outage else None
        if kind in (Kind.REFUSED, Kind.OFF):
            return None, os.strerror(errno.ECONNREFUSED), False
        if kind is Kind.SILENT:
            self.sleep(deadline - self.now())
            return None, "no reply", False
        trip = SMOOTH if kind else next(self.trips)
        receiver = self._full_receiver if kind is Kind.UNAVAILABLE else self._receiver
        came_in = {BEGUN: self._clock.monotonic(), "wsgi.input": _SlowBody(body, self, trip.body_seconds)}
        status = call(receiver, body, {HEADER: signature}, environ=came_in).status
        due = kind is None and trip.body_seconds < STORE_WITHIN_SECONDS
        if trip.lost:
            return status, os.strerror(errno.ECONNRESET), due
        arrives_at = self.now() + trip.reply_seconds
        self.sleep(min(arrives_at, deadline) - self.now())
        return status, "no whole reply" if arrives_at > deadline else "", due

    # What became of it.

    def files(self, state: State) -> list[Path]:
        """Return the notifications in a state."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(self.spool.folder(state).rglob("[!.]*.json"))
        return []

    def runs(self) -> list[Run]:
        """Return the runs of the script, in their order."""
        lines = map(str.split, (self.folder / "journal").read_text().splitlines())
        return [Run(id_, contact, file, int(code)) for id_, contact, file, code in lines]
