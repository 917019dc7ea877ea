"""One webhook's queue: when its folders are looked at, what is next, and why nothing is for now.

Owns: the pace of looking, and what holds a webhook back (paused, no scripts' folder, a disk that fails).
Promises: a hint is followed at once in small folders; in large ones listing takes a small share of the time.
Does not promise: to run anything.
Logs: once, what holds the webhook back, and that it goes on.
"""

from contextlib import suppress
from typing import NamedTuple

from spooler import recovery
from spooler.backlog import Lanes
from spooler.claiming import ProcessorsSpool
from spooler.clock import Clock
from spooler.config import Webhook
from spooler.errors import SpoolUnusableError
from spooler.folders import is_there
from spooler.intake import Intake
from spooler.log import get_logger
from spooler.retry import longest_wait_seconds
from spooler.state import State
from spooler.turn import Settled

LOOK_SECONDS = 5.0
_SOON_SECONDS = 0.5
# Listing a folder may take at most this fraction of the time, with hints and without.
_HINTED_SHARE = 5
_REGULAR_SHARE = 50


class WebhookQueue:
    """What waits for one webhook, and when to look again."""

    def __init__(self, webhook: Webhook, spool: ProcessorsSpool) -> None:
        self._webhook = webhook
        self._spool = spool
        self._clock: Clock = spool.clock
        self._intake = Intake(
            spool,
            by_contact=webhook.processing.ordering == "contact",
            longest_wait=longest_wait_seconds(webhook.processing.retry_delays),
        )
        self._backlog = self._intake.backlog
        self._look_at = 0.0  # monotonic seconds
        self._hints_count_from = 0.0
        self._hinted = False
        self._recovered = False
        self._stuck: dict[str, _Stuck] = {}  # by the names in processing/, where an error left them
        self._suspects: set[str] = set()  # they ran when the processor was killed, and haven't run since
        self._left_alone: set[str] = set()  # could not be claimed; till their turns are settled
        self._disk_error = ""
        self._held = ""  # the reason that was logged last

    def look(self, *, hinted: bool) -> None:
        """Look into the folders if it is time; the first time, put right before what a crash left.

        Errors of the disk are logged; they hold this webhook back.
        """
        self._hinted |= hinted
        if self._clock.monotonic() < self._next_look():
            return
        self._hinted = False
        began: float | None = None
        try:
            if not all(self._spool.folder(state).is_dir() for state in State):
                self._make_folders()
            if not self._recovered:
                self._recover()
            self._take_up_stuck()
            # Putting right what a crash left is done once, and says nothing of how long a listing takes.
            began = self._clock.monotonic()
            self._intake.look()
            self._disk_error = ""
        except OSError as error:
            self._disk_error = f"the disk gave an error: {error}"
        now = self._clock.monotonic()
        began = now if began is None else began
        pause = _SOON_SECONDS if self._intake.look_again_soon else LOOK_SECONDS
        share = _HINTED_SHARE if self._intake.is_moving else _REGULAR_SHARE
        self._look_at = began + max(pause, (now - began) * share)
        self._hints_count_from = began + (now - began) * _HINTED_SHARE

    def look_later(self) -> None:
        """Put the next look off, after one that failed."""
        self._look_at = self._hints_count_from = self._clock.monotonic() + LOOK_SECONDS

    def is_suspect(self, name: str) -> bool:
        """Say whether it ran when the processor was killed, and may have done that."""
        return name in self._suspects

    def peek(self) -> tuple[str, State, str] | None:
        """Return (order, state, name) of what is next; None if nothing is, or the webhook is held back."""
        if self._is_held() or self._intake.is_moving:
            return None
        return self._backlog.peek(self._clock.now().timestamp())

    def take(self, name: str) -> Lanes:
        """Note that its turn begins; return its lanes."""
        return self._backlog.take(name)

    def settle(self, name: str, settled: Settled | None) -> None:
        """Note where it is after its turn; None: gone, or left alone."""
        self._suspects.discard(name)
        if name in self._left_alone:
            self._left_alone.discard(name)
            if settled is None:
                self._backlog.leave_alone(name)
                return
        if settled is None or settled.state in {State.DONE, State.FAILED}:
            self._backlog.settle(name)
            if self._is_there_too(name):
                self._look_at = 0.0  # a person moved or copied it: nothing may get past it till that is seen
        elif settled.state is State.RETRY and settled.due is not None:
            self._backlog.postpone(name, settled.name, settled.due)
        elif settled.state is State.INCOMING:
            self._backlog.release(name, settled.name)
        else:  # it still counts as running, so that no younger one gets past it
            self._stuck[settled.name] = _Stuck(name, settled.crashed, counted=False)

    def _is_there_too(self, name: str) -> bool:
        try:
            return any(is_there(self._spool.where(state, name)) for state in (State.INCOMING, State.RETRY))
        except OSError:
            return True  # nobody can tell now

    def report(self, name: str, reason: str) -> None:
        """Tell once that it could not even be claimed; it is left alone. May be called from any thread."""
        self._intake.report(name, reason)
        self._left_alone.add(name)

    def status(self) -> str:
        """Return how many are where, and what holds them back, in one line."""
        waiting, running, in_retry = self._backlog.counts
        held = f" (held back: {self._held})" if self._held else ""
        waiting += self._intake.beyond
        return f"{self._webhook.name}: {waiting} waiting, {running} running, {in_retry} to be retried{held}"

    def idle_seconds(self, *, workers_free: bool) -> float:
        """Return how long nothing has to be done for, if nobody hints and no turn ends."""
        seconds = min(self._next_look() - self._clock.monotonic(), LOOK_SECONDS)
        due = self._backlog.next_due
        if due is not None and workers_free and not self._held and not self._intake.is_moving:
            seconds = min(seconds, due - self._clock.now().timestamp())
        return max(0.0, seconds)

    @property
    def is_look_due(self) -> bool:
        """Whether the folders are to be looked at before anything else is taken."""
        return self._next_look() <= self._clock.monotonic()

    def _next_look(self) -> float:
        """Return when to look, in monotonic seconds. A hint that came too early isn't forgotten."""
        if (self._hinted and not self._backlog.has_unread) or self._intake.is_short:
            return min(self._hints_count_from, self._look_at)
        return self._look_at

    def _is_held(self) -> bool:
        """Say whether nothing may be taken now; log when that changes."""
        reason = self._reason_to_wait()
        if reason != self._held:
            log = get_logger().bind(webhook=self._webhook.name)
            log.warning("held back", reason=reason) if reason else log.info("goes on")
            self._held = reason
        return bool(reason)

    def _reason_to_wait(self) -> str:
        try:
            if self._spool.paused:
                return "paused"
            # An empty folder means that nothing is to be run; one that isn't there, that something is wrong.
            if not self._webhook.processors.is_dir():
                return f"the folder of scripts, {self._webhook.processors}, doesn't exist"
        except OSError as error:
            return f"{error.filename}: can't be read: {error.strerror}"
        return self._disk_error

    def _recover(self) -> None:
        found = recovery.Recovered([], {})
        try:
            recovery.recover(self._spool, found)
            self._recovered = True
        finally:
            self._suspects.update(found.taken_up)
        for name, counted in found.left.items():
            self._stuck[name] = _Stuck(None, crashed=True, counted=counted, told=True)

    def _take_up_stuck(self) -> None:
        for name, stuck in sorted(self._stuck.items()):
            if self._spool.path(State.PROCESSING, name).exists():
                try:
                    if not stuck.counted:
                        recovery.count(self._spool, name, crashed=stuck.crashed)
                        self._stuck[name] = stuck._replace(counted=True)
                    now_named = recovery.put_back(self._spool, name)
                except recovery.ONE_FILES_ERRORS as error:
                    if not stuck.told:
                        self._intake.report(name, str(error), self._spool.identify(State.PROCESSING, name))
                    self._stuck[name] = self._stuck[name]._replace(told=True)
                    continue
                if stuck.crashed:
                    self._suspects.add(now_named)
                if stuck.known_as:
                    self._backlog.release(stuck.known_as, now_named)
            elif stuck.known_as:  # a person took it away
                self._backlog.settle(stuck.known_as)
            del self._stuck[name]

    def _make_folders(self) -> None:
        """Make the states' folders that a person removed; a whole spool that is gone is waited for."""
        if self._spool.base.is_dir():
            with suppress(SpoolUnusableError):
                self._spool.prepare()


class _Stuck(NamedTuple):
    """What an error left in `processing/`.

    known_as: its name in the backlog. crashed: nobody knows what was done. counted: its log says so already.
    told: that it is left alone was logged.
    """

    known_as: str | None
    crashed: bool
    counted: bool
    told: bool = False
