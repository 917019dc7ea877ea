"""One attempt at a notification: scripts one after another, until one doesn't answer 0.

Owns: what a script is given, and the log line for each of its runs.
Promises: the mark of a run stands before the script is started, so that a crash can't hide an attempt.
Does not promise: to move anything; the outcome says what is to become of the notification.
Logs: a line for each run of a script.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from structlog.typing import FilteringBoundLogger

from spooler import durable, history, measures, running
from spooler.claiming import ProcessorsSpool
from spooler.config import Webhook
from spooler.dropins import Script
from spooler.keeper import Keeper
from spooler.living import Run
from spooler.name import Name
from spooler.notification import Notification
from spooler.outcome import Done, Outcome, Release, of_exit
from spooler.scripts import Runner, Stop
from spooler.state import State
from spooler.work_folder import WorkFolders

_INHERITED = ("PATH", "HOME", "LANG", "TZ")


@dataclass(slots=True)
class InHand:
    """What an attempt is made at.

    file_name: of the file in `processing/`. attempt: its number. seat: for its marks, which it keeps until
    what came of it is on the disk. log: tells of it.
    """

    file_name: str
    notification: Notification
    attempt: int
    seat: running.Seat
    log: FilteringBoundLogger


@dataclass(slots=True)
class Attempt:
    """What attempts are made with.

    keeper: has scripts stay alive; without one each is started anew.
    """

    webhook: Webhook
    spool: ProcessorsSpool
    runner: Runner
    stop: Stop
    keeper: Keeper | None = None
    _inherited: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    folders: WorkFolders = field(init=False, repr=False, compare=False)
    seats: running.Seats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        processing = self.spool.folder(State.PROCESSING)
        self.folders = self.keeper.folders if self.keeper else WorkFolders(processing)
        self.seats = running.Seats(processing)

    def clear_away(self) -> None:
        """Take away what stands ready for the next run, when nothing runs any more."""
        self.seats.remove()
        self.folders.remove()

    def run(self, hand: InHand, scripts: Sequence[Script]) -> Outcome:
        """Run the scripts that are left. After `Done`, what came of it is synced by the move that follows.

        Raises: OSError if one could not be marked; then it didn't start.
        """
        for script in scripts:
            if self.stop.requested:
                return Release("spooler stops")
            if self.spool.paused:
                return Release("paused")
            outcome = self._run_one(hand, script, is_last=script is scripts[-1])
            if not isinstance(outcome, Done):
                return outcome
        return Done()

    def _run_one(self, hand: InHand, script: Script, *, is_last: bool) -> Outcome:
        at = history.iso(self.spool.clock.now())
        mark = running.Mark(at, hand.attempt, script.name, script.version)
        hand.seat.mark(hand.file_name, mark)
        # CRASH: from here on the mark tells recovery which attempt was cut short.
        run = self._execute(hand, script)
        line = {
            "at": at,
            "attempt": hand.attempt,
            "script": script.name,
            "exit": run.exit,
            "seconds": round(run.seconds, 3),
            "output": run.output,
            "version": script.version,
        }
        outcome = of_exit(script.name, run.exit, was_refused=run.was_refused)
        # CRASH: mark and line both stand; recovery sees that they are of the same run.
        is_settled = is_last and isinstance(outcome, Done)
        try:
            # Synced, so that a power cut in the next script doesn't have this one run again. After the last
            # one the file is moved for good, and all of that gets onto the disk in one go: `group_commit`.
            self.spool.record(State.PROCESSING, hand.file_name, line, sync=not is_settled)
        except OSError as error:
            # The script has run: what came of it still counts, though nobody can read of it.
            hand.log.error("no log line", file=hand.file_name, reason=error.strerror)  # noqa: TRY400 - a full disk
        measures.SCRIPT_SECONDS.observe(run.seconds, self.webhook.name, script.name)
        measures.SCRIPT_EXITS.count(self.webhook.name, script.name, str(run.exit))
        hand.log.info(
            "script ended",
            script=script.name,
            attempt=hand.attempt,
            exit=run.exit,
            seconds=round(run.seconds, 3),
        )
        return outcome

    def _execute(self, hand: InHand, script: Script) -> Run:
        path = self.spool.where(State.PROCESSING, hand.file_name)
        environment = self._environment(hand, path)
        if self.keeper is not None:
            return self.keeper.run(script, path, environment, self.webhook.processing.timeout)
        with self.folders.given() as folder, durable.opened_file(path) as body:
            return self.runner.run(
                script.path,
                body=body,
                environment=environment,
                folder=folder,
                timeout_seconds=self.webhook.processing.timeout,
            )

    def _environment(self, hand: InHand, path: str) -> Mapping[str, str]:
        """Return all that a script's environment holds.

        TRUST: of what came over the network only texts of harmless characters, and never as an argument.
        """
        received, identifier, kind = _identity(hand.file_name, hand.notification)
        received = received or self.spool.received(State.PROCESSING, hand.file_name)
        if not self._inherited:  # it stays as it is for as long as spooler runs
            names = (*_INHERITED, *self.webhook.processing.environment)
            self._inherited.update({name: os.environ[name] for name in names if name in os.environ})
        return {
            **self._inherited,
            "SPOOLER_FILE": path,
            "SPOOLER_WEBHOOK": self.webhook.name,
            "SPOOLER_ID": identifier,
            "SPOOLER_TYPE": kind,
            "SPOOLER_CONTACT": hand.notification.contact,
            "SPOOLER_RECEIVED": history.iso(received),
            "SPOOLER_ATTEMPT": str(hand.attempt),
            "SPOOLER_MAX_ATTEMPTS": str(self.webhook.processing.max_attempts),
            "SPOOLER_TEST": "1" if hand.notification.is_test else "0",
        }


def _identity(file_name: str, notification: Notification) -> tuple[datetime | None, str, str]:
    """Return received, id and type as the file's name has them; from the body where it has none."""
    name = Name.parse(file_name)
    return (name.received, name.id, name.type) if name else (None, notification.id, notification.type)
