"""A notification's turn: from the claim to where it ends up.

Owns: the decision what a claimed notification needs (scripts, or none and why), and carrying out what came
of it: the outcome's move, with a note in its log.
Promises: whatever is in the body, and whatever a script does, the notification ends in one state. A script
that has answered 0 for it isn't run again, unless its content changed since.
Does not promise: the order of turns; that is the backlog's.
Logs: one line per settlement.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from structlog.typing import FilteringBoundLogger

from spooler import dropins, history, measures, recovery
from spooler.attempt import Attempt, InHand
from spooler.claiming import ProcessorsSpool
from spooler.config import Webhook
from spooler.finished import REPEATS, FinishedIds
from spooler.folders import is_there
from spooler.history import Progress
from spooler.log import get_logger
from spooler.name import Name, identify, log_name
from spooler.notification import Notification
from spooler.outcome import Done, GiveUp, Outcome, Release, Retry
from spooler.retry import AFTER_ERROR_SECONDS, delay_seconds
from spooler.running import Seat
from spooler.spool import Moved, NotSyncedError, bring_log
from spooler.state import State


@dataclass(frozen=True, slots=True)
class Unsynced:
    """A notification that was moved, for `spooler.spool.sync_moved`; `then` is to be called after that.

    is_last_attempt: a power cut till then would have it given up, though it is done.
    """

    moved: Moved
    then: Callable[[], None]
    is_last_attempt: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """Where a notification is after its turn, and its name there.

    due: if it waits in `retry/`. crashed: it is still in `processing/`, and nobody knows what was done.
    unsynced: what is left to do, if that isn't on the disk yet.
    """

    state: State
    name: str
    due: float | None = None
    crashed: bool = False
    unsynced: Unsynced | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn works with, for one webhook. `chance` returns a number from 0 to 1."""

    webhook: Webhook
    spool: ProcessorsSpool
    attempt: Attempt
    finished: FinishedIds
    chance: Callable[[], float]

    def take(self, state: State, file_name: str) -> Settled | None:
        """Claim a waiting notification, do what it needs, and settle it; None if it is gone.

        What is `unsynced` of it comes before the turn of any that it may not be overtaken by.

        Raises: OSError if it could not be claimed; then it wasn't touched.
        """
        try:
            notification = Notification.read(self.spool.read(state, file_name))
            progress, word = self._progress(state, file_name)
            name = self.spool.claim(state, file_name)
        except OSError as error:
            if self._is_in_hand(file_name):
                # It was moved, and its log couldn't be brought after it.
                log = get_logger().bind(webhook=self.webhook.name, id=identify(file_name))
                log.error("held up", file=file_name, reason=str(error))  # noqa: TRY400 - no defect
                return Settled(State.PROCESSING, file_name)
            if isinstance(error, FileNotFoundError):
                return None  # RACE: a person took it away
            raise
        log = get_logger().bind(webhook=self.webhook.name, id=identify(name, notification.id))
        log.info("claimed", file=name, source=state.value, attempt=progress.attempt, note=word or None)
        with self.attempt.seats.taken() as seat:
            try:
                hand = InHand(name, notification, progress.attempt, seat, log)
                outcome = self._decide(hand, progress)
                return self._settle(seat, name, outcome, progress, log)
            except OSError as error:
                if not self._is_in_hand(name):
                    log.warning("taken away", file=name)
                    recovery.let_go(self.spool, name)
                    return None
                log.error("held up", file=name, reason=str(error))  # noqa: TRY400 - no defect
                return self._put_back(seat, name, str(error))

    def _is_in_hand(self, name: str) -> bool:
        """Say whether it is in `processing/`; where nobody can tell now, it may be, till the next look."""
        try:
            return is_there(self.spool.where(State.PROCESSING, name))
        except OSError:
            return True

    def _progress(self, state: State, name: str) -> tuple[Progress, str]:
        """Return how far it has come; and if a person just brought it back, the note on that."""
        lines = self.spool.log_lines(state, name) or self._left_lines(state, name)
        if not lines and Name.parse(name) is None:
            # Its name doesn't tell when it came, and its time is soon that of its next attempt.
            came = history.iso(self.spool.written(state, name))
            text = "put there by hand, under a name of its own"
            marks: dict[str, bool | str] = {"released": True, "received": came}
            self.spool.record(state, name, history.note(self.spool.clock.now(), text, **marks))
        if not _brought_by_hand(state, lines):
            return Progress.of(lines), _persons_word(lines)
        # CRASH: said before the claim; in processing/ a log doesn't show any more who brought the file.
        text = "put back by hand: attempts are counted from 1, every script runs"
        self.spool.record(state, name, history.note(self.spool.clock.now(), text, anew=True))
        return Progress(by_person=True), text

    def _left_lines(self, state: State, name: str) -> list[history.Line]:
        """Bring a log that was left behind in `processing/` by a move, and return its lines."""
        left = self.spool.where(State.PROCESSING, log_name(name))
        if not is_there(left) or is_there(self.spool.where(State.PROCESSING, name)):
            return []
        bring_log(left, self.spool.where(state, log_name(name)))
        return self.spool.log_lines(state, name)

    def _decide(self, hand: InHand, progress: Progress) -> Outcome:
        name, notification = hand.file_name, hand.notification
        if notification.problem:
            return GiveUp(notification.problem)
        if notification.is_test and self.webhook.processing.test_notifications == "skip":
            return Done("a test (isTest is true): no script was run")
        if not notification.is_test and not progress.by_person:
            original = self.finished.original(name, of_any_age=progress.readmitted)
            if original is not None:
                text = f"a repeat of {original.name}: no script was run"
                self._note(name, text, **{REPEATS: original.name})
                return Done()
        return self._run_scripts(hand, progress)

    def _run_scripts(self, hand: InHand, progress: Progress) -> Outcome:
        parsed = Name.parse(hand.file_name)
        kind = parsed.type if parsed else hand.notification.type
        scripts = dropins.find(self.webhook.processors, kind)
        if not scripts:
            return Done(f"there is no script for {kind}: nothing was run")
        left = [script for script in scripts if (script.name, script.version) not in progress.answered]
        if left and progress.attempt > self.webhook.processing.max_attempts:
            return GiveUp(f"none of {self.webhook.processing.max_attempts} attempts is left")
        return self.attempt.run(hand, left)

    def _settle(
        self, seat: Seat, name: str, outcome: Outcome, progress: Progress, log: FilteringBoundLogger
    ) -> Settled:
        """Carry out the outcome's move."""
        match outcome:
            case Done() if seat.is_marked:
                return self._finish_marked(seat, name, progress.attempt, log)
            case Done(reason):
                if reason:
                    self._note(name, reason)
                settled = Settled(State.DONE, self._moved(seat, self.spool.finish, name))
                self.finished.add(settled.name)
            case Retry(reason):
                settled = self._try_later(seat, name, reason, progress.attempt)
            case GiveUp(reason):
                settled = self._give_up(seat, name, reason)
            case Release(reason):
                settled = self._release(seat, name, reason)
        self._tell(settled.state, settled.name, log, getattr(outcome, "reason", ""))
        return settled

    def _finish_marked(self, seat: Seat, name: str, attempt: int, log: FilteringBoundLogger) -> Settled:
        """Settle what scripts were run for as done; it is told of when that is on the disk."""
        moved = self.spool.finish_marked(name)
        seat.is_lent = True

        def then() -> None:
            if moved.error is not None:
                _tell_not_synced(log, moved.name, moved.error)
                seat.keep()
            self.attempt.seats.take_back(seat)
            self._tell(State.DONE, moved.name, log)

        is_last_attempt = attempt >= self.webhook.processing.max_attempts
        self.finished.add(moved.name)
        return Settled(State.DONE, moved.name, unsynced=Unsynced(moved, then, is_last_attempt))

    def _tell(self, state: State, name: str, log: FilteringBoundLogger, reason: str = "") -> None:
        measures.TURNS.count(self.webhook.name, state.value)
        log.info(state.value, file=name, reason=reason or None)

    def _try_later(self, seat: Seat, name: str, reason: str, attempt: int) -> Settled:
        delay = delay_seconds(attempt, self.webhook.processing.retry_delays, self.chance)
        if delay is None:
            return self._give_up(seat, name, f"{reason}, in the last of {attempt} attempts")
        due = self.spool.clock.now() + timedelta(seconds=delay)
        return Settled(State.RETRY, self._moved(seat, self.spool.postpone, name, due), due.timestamp())

    def _give_up(self, seat: Seat, name: str, reason: str) -> Settled:
        self._note(name, f"given up: {reason}")
        return Settled(State.FAILED, self._moved(seat, self.spool.give_up, name))

    def _release(self, seat: Seat, name: str, reason: str) -> Settled:
        lines = self.spool.log_lines(State.PROCESSING, name)
        if lines and not history.is_open(lines[-1]):
            self._note(name, f"back to incoming: {reason}", released=True)
        return Settled(State.INCOMING, self._moved(seat, self.spool.release, name))

    def _put_back(self, seat: Seat, name: str, reason: str) -> Settled:
        """Let a notification wait that an error held up; that takes a rename and no room."""
        with suppress(OSError):
            # The last line may be of a move that then failed; this one says that nothing is settled.
            self._note(name, f"held up: {reason}", released=True)
        try:
            due = self.spool.clock.now() + timedelta(seconds=AFTER_ERROR_SECONDS)
            return Settled(State.RETRY, self._moved(seat, self.spool.postpone, name, due), due.timestamp())
        except OSError:
            seat.keep()
            return Settled(State.PROCESSING, name)

    def _moved(self, seat: Seat, move: Callable[..., str], name: str, *details: datetime) -> str:
        """Carry out a move out of `processing/`, and return the name that the file has then."""
        try:
            return move(name, *details)
        except NotSyncedError as error:
            log = get_logger().bind(webhook=self.webhook.name, id=identify(name))
            _tell_not_synced(log, error.name, error)
            seat.keep()  # its attempt counts, should its log be lost
            return error.name

    def _note(self, name: str, text: str, **marks: bool | str) -> None:
        self.spool.record(State.PROCESSING, name, history.note(self.spool.clock.now(), text, **marks))


def _tell_not_synced(log: FilteringBoundLogger, name: str, error: OSError) -> None:
    # Not tried again: the next sync might report success for what was lost. It has moved, though.
    log.error("not synced", file=name, reason=error.strerror)


def _persons_word(lines: Sequence[history.Line]) -> str:
    """Return the note with which a command brought the file back, if nothing was done with it since."""
    last = lines[-1] if lines else {}
    return str(last.get("note", "")) if any(last.get(mark) is True for mark in ("anew", "readmitted")) else ""


def _brought_by_hand(state: State, lines: Sequence[history.Line]) -> bool:
    """Say whether a person put a waiting file there, judging by its log.

    In `incoming/` only spooler's own release leaves the attempts open; to `retry/` nothing comes that a note
    says is settled.
    """
    if not lines or history.is_open(lines[-1]):
        return False
    return state is State.INCOMING or "note" in lines[-1]
