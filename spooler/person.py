"""What a person moves by a command: retry, drop, readmit, prune, pause and resume.

Owns: those moves of the table in `spooler.state`, and the line that says who made them.
Promises: as `spooler.spool`; and that a file is never seen in `incoming/` before its log, for the processor
may take it at once. Whoever comes second finds the file gone, and changes nothing.
Does not promise: to know which notifications are meant, or to ask.
"""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from spooler import durable, free_name, history
from spooler.folders import PAUSED, is_one
from spooler.name import LOG_SUFFIX, Name, log_name
from spooler.spool import WebhookSpool, bring_log
from spooler.state import State

_PATIENCE_SECONDS = 30.0  # each holds it for one move


@dataclass(frozen=True, slots=True)
class PersonsSpool(WebhookSpool):
    """One webhook's part of the spool, for a person; `who` stands in the logs."""

    who: str = "a person"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other persons' commands off this webhook meanwhile. Raises: OSError."""
        with self.locked(None, _PATIENCE_SECONDS):
            yield

    def retry(self, state: State, file_name: str, day: str = "") -> str:
        """Put a settled notification back into `incoming/`, to be run from the first attempt.

        The caller syncs that folder when all are moved. Returns the name that the file has there.

        Raises: FileNotFoundError if it is gone, OSError.
        """
        with self.alone():
            path = self._source("retry", state, file_name, day)
            text = f"retry, by {self.who}: attempts are counted from 1, every script runs"
            # CRASH: the note stands and the file is where it was; it says nothing there.
            self._note(path, text, anew=True)
            return self._move_log_first(path, self._target("retry"), file_name)

    def drop(self, state: State, file_name: str) -> str:
        """Settle a notification as done without any more runs. Raises: FileNotFoundError (gone), OSError."""
        with self.alone():
            text = f"dropped, by {self.who}: no script is run any more"
            day = self.today  # once, for midnight may come in between
            if state is State.RETRY:
                # RACE: the processor may claim it at any instant; so its log is left alone until it is ours.
                name = self._move("drop", state, file_name, day=day)
                # CRASH: it is dropped, and nothing says by whom.
                self._note(self.path(State.DONE, name, day), text, sync=True)
            else:
                path = self._source("drop", state, file_name)
                self._note(path, text, sync=True)
                name = self._move_log_first(path, self._target("drop", day), file_name)
                durable.sync_folder(self.folder(State.DONE) / day)
            now = time.time_ns()
            os.utime(self.folder(State.DONE), ns=(now, now))  # by this `spooler.finished` knows to look again
            return name

    def readmit(self, file_name: str, name: Name) -> str:
        """Put a refused request into `incoming/` under its proper name. Raises: OSError.

        Raises: FileNotFoundError if the receiver made room meanwhile, OSError.
        """
        with self.alone():
            path = self._source("readmit", State.REJECTED, file_name)
            durable.sync_file(path)
            self._note(path, f"readmitted, by {self.who}: it is authentic", sync=True, readmitted=True)
            admitted = self._move_log_first(path, self._target("readmit"), str(name))
            self.sync(State.INCOMING)
            return admitted

    def prune_day(self, day: str) -> int:
        """Remove a day of `done/` with all files in it; return how many notifications.

        A folder that a person made in it stays, and so does the day's. Raises: OSError.
        """
        removed = 0
        with self.alone():
            for entry in self.entries(State.DONE, day):
                if not entry.is_dir(follow_symlinks=False):
                    removed += is_one(entry)
                    Path(entry).unlink(missing_ok=True)
            try:
                (self.folder(State.DONE) / day).rmdir()
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ENOTEMPTY}:
                    raise
        return removed

    def prune_log(self, state: State, log: str) -> None:
        """Remove a log whose file is gone. Raises: OSError."""
        if log.endswith(LOG_SUFFIX):
            self._source("prune", state, log).unlink(missing_ok=True)

    def sync(self, state: State) -> None:
        """Bring what was moved to a state onto the disk. Raises: OSError."""
        durable.sync_folder(self.folder(state))

    def pause(self) -> bool:
        """Hold the processor back; return whether it wasn't yet. Raises: OSError."""
        self.base.mkdir(durable.FOLDER_MODE, exist_ok=True)
        try:
            (self.base / PAUSED).touch(durable.MODE, exist_ok=False)
        except FileExistsError:
            return False
        durable.sync_folder(self.base)
        durable.sync_folder(self.root)
        return True

    def resume(self) -> bool:
        """Let the processor go on; return whether it was held back. Raises: OSError."""
        try:
            (self.base / PAUSED).unlink()
        except FileNotFoundError:
            return False
        durable.sync_folder(self.base)
        return True

    def _note(self, path: Path, text: str, *, sync: bool = False, **marks: bool) -> None:
        if not path.exists():  # a note on a file that is gone would be a log of nothing
            raise FileNotFoundError(path)
        line = history.note(self.clock.now(), text, **marks)
        history.append(path.with_name(log_name(path.name)), [line], sync=sync)

    def _move_log_first(self, path: Path, target_folder: str, wanted: str) -> str:
        """Move a file's log and then the file; return the name that it got. Raises: OSError."""
        log, folder = path.with_name(log_name(path.name)), Path(target_folder)
        left = folder / log_name(wanted)
        if left.exists() and not (folder / wanted).exists():
            bring_log(left, log)  # CRASH: of an earlier command, which came to move the log and not the file
        while True:
            target = folder / wanted
            target_log = folder / log_name(wanted)
            with suppress(FileExistsError):
                if not target.exists():
                    durable.rename(str(log), str(target_log))
                    # CRASH: the log is where the file is meant to be.
                    self._follow_log(path, log, target, target_log)
                    return wanted
            wanted = free_name.after(wanted)

    def _follow_log(self, path: Path, log: Path, target: Path, target_log: Path) -> None:
        try:
            durable.rename(str(path), str(target))
        except OSError:
            bring_log(target_log, log)
            raise
        if log.exists():
            # RACE: the processor started between the two renames, and brought the log back to its file.
            with suppress(FileNotFoundError):
                bring_log(log, target_log)
