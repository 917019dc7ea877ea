"""What the processor does in the spool: claim a notification, write its log, and settle it or let it wait.

Owns: those moves of the table in `spooler.state`.
Promises: as `spooler.spool`; what is settled, waits for another attempt or goes back survives a power cut.
The name of what is claimed is on the disk, be it where it was claimed, so that no attempt is made at what a
power cut would take. The one file that is ever replaced is another user's that has to wait, by a copy of it.
Does not promise: to know when a notification is due, or what a log's lines say. That the content of a file
which a person has put there is on the disk.
"""

import os
from dataclasses import dataclass, field
from datetime import datetime

from spooler import durable, history, latest
from spooler.arrived import Arrived
from spooler.name import log_name
from spooler.spool import Moved, WebhookSpool, hidden_name
from spooler.state import State

_LOCK_SECONDS = 0.1  # it is tried again soon, and everything that waits is held up meanwhile


@dataclass(frozen=True, slots=True)
class ProcessorsSpool(WebhookSpool):
    """One webhook's part of the spool, for the processor."""

    _arrived: Arrived = field(default_factory=Arrived, init=False, repr=False, compare=False)

    def record(self, state: State, file_name: str, *lines: history.Line, sync: bool = False) -> None:
        """Append lines to a notification's log. Raises: OSError."""
        log = self.where(state, log_name(file_name))
        self._synced_logs.discard(log)
        history.append(log, lines, sync=sync)
        if sync:
            self._synced_logs.add(log)

    def claim(self, state: State, file_name: str) -> str:
        """Take a waiting notification into `processing/`.

        Raises: FileNotFoundError (gone), OSError; it may be in `processing/` then, for no attempt.
        """
        failed = None
        if state is State.INCOMING:
            try:
                # RACE: the receiver gives a name first and then syncs the folder; it may be about to.
                self._arrived.keep(str(self.folder(state)), self.where(state, file_name))
            except FileNotFoundError:
                raise
            except OSError as error:
                failed = error
        name = self._move("claim", state, file_name)
        if failed is not None:
            raise failed  # only now: what is held up in processing/ is overtaken by nobody
        return name

    def release(self, file_name: str) -> str:
        """Put a notification back into `incoming/`. Raises: OSError."""
        return self._move("release", State.PROCESSING, file_name)

    def postpone(self, file_name: str, due: datetime) -> str:
        """Let a notification wait in `retry/` until `due`. Raises: OSError."""
        path, times = self.path(State.PROCESSING, file_name), (due.timestamp(), due.timestamp())
        # CRASH: a time to come on a file in processing/ means nothing.
        try:
            os.utime(path, times, follow_symlinks=False)
        except PermissionError:
            self._adopt(file_name)
            os.utime(path, times, follow_symlinks=False)
        durable.sync_file(path)
        return self._move("postpone", State.PROCESSING, file_name)

    def correct_due(self, file_name: str, due: datetime) -> None:
        """Let a notification that waits in `retry/` already be due at another time. Raises: OSError."""
        os.utime(self.path(State.RETRY, file_name), (due.timestamp(), due.timestamp()), follow_symlinks=False)

    def _adopt(self, file_name: str) -> None:
        """Put a copy of our own in the place of a file that somebody else's user has copied here.

        Only a file's owner may set its time. It is replaced in one step, and by the same bytes.
        """
        body = self.read(State.PROCESSING, file_name)
        hidden = hidden_name()
        # CRASH: the hidden copy is left in incoming/, where the receiver's start sweeps it.
        with durable.opened_folder(self.folder(State.INCOMING)) as folder:
            durable.write_hidden(folder, hidden, body, sync=True)
        self.path(State.INCOMING, hidden).replace(self.path(State.PROCESSING, file_name))

    def finish(self, file_name: str) -> str:
        """Settle a notification as done, today. Raises: NotSyncedError (it has moved), OSError."""
        return self._move("finish", State.PROCESSING, file_name, day=self.today)

    def finish_marked(self, file_name: str) -> Moved:
        """Settle a notification as done, today; it is yet to be synced, by `spooler.spool.sync_moved`.

        Till then the mark of its last run is to stand; then log and file get onto the disk in one go.

        Raises: OSError.
        """
        return self._moved("finish", State.PROCESSING, file_name, day=self.today, is_marked=True)

    def give_up(self, file_name: str) -> str:
        """Settle a notification as failed. Raises: OSError."""
        return self._move("give_up", State.PROCESSING, file_name)

    def follow_clock(self) -> bool:
        """Give stamps by the clock again, after it was set back, if no later one waits in the folders.

        Returns whether that was so. The caller knows of those that are just being moved.

        Raises: BlockingIOError while others hold the lock that names are given under; OSError.
        """
        with self.locked(State.INCOMING, _LOCK_SECONDS):
            now, known, newest = (
                self.clock.now(),
                latest.read(self.folder(State.REJECTED)),
                self.newest_waiting(),
            )
            if known is None or known <= now or (newest is not None and newest > now):
                return False
            return latest.write(self.folder(State.REJECTED), now)
