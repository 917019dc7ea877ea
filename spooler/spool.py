"""The spool: the only hand on the folders.

Owns: the folders, and how a move is made, whoever makes it (see `spooler.state`): `spooler.storing` has the
receiver's, `spooler.claiming` the processor's, `spooler.person` a person's. How a log follows its file.
Promises: a move is one rename, never replaces a file, and is one of the table's. The log travels with its
file.
Does not promise: to know what a body says, or when a notification is due.
Logs: nothing; what went wrong is raised.
"""

import errno
import os
import secrets
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from spooler import durable, free_name, history
from spooler.errors import SpoolUnusableError
from spooler.folders import WebhookFolders, is_there
from spooler.name import HIDDEN, log_name
from spooler.state import MOVES, State

ARRIVING = HIDDEN + "new-"  # prefix of what isn't under its name yet
_LITTER_AGE_SECONDS = 3600


def hidden_name() -> str:
    """Return a name for what isn't under its own yet."""
    return f"{ARRIVING}{secrets.token_hex(8)}"


@dataclass(slots=True, eq=False)
class Moved:
    """A file that was moved, to the name `name`, and is yet to be synced by `sync_moved`.

    log: a descriptor of its log, where that is to be synced too. error: why nobody knows whether a power cut
    would undo the move, or take of the log; or why the log was left behind.
    """

    name: str
    folder: str
    log: int | None = None
    error: OSError | None = None

    def take_log(self, path: str) -> None:
        """Have its log synced too, wherever a person moves that meanwhile."""
        try:
            self.log = durable.opened(path)
        except OSError as error:
            self.error = error


def sync_moved(moved: Collection[Moved]) -> None:
    """Bring what was moved onto the disk, with its logs; all of it together. What fails has an `error`."""
    # After the renames: then most file systems bring all of it onto the disk in one go.
    # CRASH: a file has moved, and its log's last lines are lost: see `spooler.recovery`.
    if len(moved) > 1:
        _begin_to_write_out(moved)
    for one in moved:
        if one.log is not None:
            try:
                durable.sync_and_close(one.log)
            except OSError as error:
                one.error = error
    # A log that is lost is no reason to lose the move.
    for folder in {one.folder for one in moved}:
        try:
            durable.sync_folder(folder)
        except OSError as error:
            for one in moved:
                if one.folder == folder:
                    one.error = one.error or error


def _begin_to_write_out(moved: Collection[Moved]) -> None:
    # Else each log is a transaction of its own, and the disk is waited for once more for each.
    for one in moved:
        if one.log is not None:
            try:
                durable.begin_to_write_out(one.log)
            except OSError as error:
                one.error = error  # it stays, though the sync might report success now for lost data


class NotSyncedError(OSError):
    """A file was moved, to the name `name`, and nobody knows whether a power cut would undo that.

    Or its log was left behind; the next start of the processor brings it after.
    """

    def __init__(self, name: str, cause: OSError) -> None:
        super().__init__(cause.errno, cause.strerror, name)
        self.name = name


@dataclass(frozen=True, slots=True)
class WebhookSpool(WebhookFolders):
    """One webhook's part of the spool, `<spool>/<webhook>/`, and what all who move something there need."""

    _synced_days: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    _synced_logs: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def prepare(self, states: Sequence[State] = tuple(State)) -> None:
        """Make the folders that are missing, and try to write into each. Raises: SpoolUnusableError."""
        for state in states:
            folder = self.folder(state)
            try:
                missing = [place for place in (folder, *folder.parents) if not place.exists()]
                folder.mkdir(durable.FOLDER_MODE, parents=True, exist_ok=True)
                for place in missing:
                    durable.sync_folder(place.parent)
                trial = hidden_name()
                with durable.opened_folder(folder) as descriptor:
                    durable.write_hidden(descriptor, trial, b"", sync=False)
                    os.unlink(trial, dir_fd=descriptor)
            except OSError as error:
                remedy = "give that user the folder (chown, chmod u+rwx) or change `spool`"
                if error.errno == errno.EROFS:
                    remedy = "mount it writable; after a change of `spool`, run `spooler install` again"
                elif error.errno == errno.ENAMETOOLONG:
                    remedy = "give `spool` a shorter path"
                raise SpoolUnusableError(
                    f"{folder}: can't be written by user id {os.geteuid()}: {error.strerror}; {remedy}"
                ) from None
        try:
            # CRASH: whoever made the folders that are there may not have come to sync their names.
            for place in (self.base, self.root):
                durable.sync_folder(place)
        except OSError as error:
            raise SpoolUnusableError(f"{place}: can't be synced: {error.strerror}") from None
        if len({self.folder(state).stat().st_dev for state in states}) > 1:
            raise SpoolUnusableError(
                f"{self.base}: its folders must be on one file system, for files are renamed between them"
            )

    def sweep_litter(self, states: Sequence[State] = (State.INCOMING, State.REJECTED)) -> int:
        """Remove what crashes left half written, older than an hour; return how many. Raises: OSError.

        What can't be removed (a folder of that name, or another user's) is no reason to hold up anything.
        """
        swept = 0
        oldest = self.clock.now().timestamp() - _LITTER_AGE_SECONDS
        for state in states:
            for entry in os.scandir(self.folder(state)):
                with suppress(OSError):
                    if (
                        entry.name.startswith(ARRIVING)
                        and entry.stat(follow_symlinks=False).st_mtime < oldest
                    ):
                        Path(entry).unlink()
                        swept += 1
        return swept

    def forget(self, state: State, file_name: str) -> None:
        """Remove a settled notification, or a refused request, and its log. Raises: OSError."""
        self._source("prune", state, file_name).unlink(missing_ok=True)
        # CRASH: a log without a file tells nothing any more; the next prune removes it.
        self.path(state, log_name(file_name)).unlink(missing_ok=True)

    def _move(self, verb: str, source: State, file_name: str, day: str = "") -> str:
        """Make one of the table's moves; return the name that the file has now.

        Raises: NotSyncedError (it has moved), OSError.
        """
        moved = self._moved(verb, source, file_name, day)
        if MOVES[verb].synced:
            sync_moved([moved])
            if moved.error is not None:
                raise NotSyncedError(moved.name, moved.error) from moved.error
        return moved.name

    def _moved(
        self, verb: str, source: State, file_name: str, day: str = "", *, is_marked: bool = False
    ) -> Moved:
        """Make one of the table's moves, that is yet to be synced where the table says so.

        is_marked: the mark of a run stands till then, so that the log may get onto the disk after the file
            has moved. Nothing else would tell after a power cut in between that a line was lost.

        Raises: OSError.
        """
        self._check(verb, source)
        target_folder = self._target(verb, day)
        left_log = self.where(source, log_name(file_name))
        has_log = is_there(left_log)
        is_log_due = MOVES[verb].synced and has_log and left_log not in self._synced_logs
        if is_log_due and not is_marked:
            durable.sync_file(left_log)
        self._synced_logs.discard(left_log)
        name = free_name.rename(self.where(source, file_name), file_name, target_parent=target_folder)
        # CRASH: the log is left in the folder that the file came from; `spooler.recovery` brings it after.
        moved = Moved(name, target_folder)
        if has_log:
            log = f"{target_folder}/{log_name(name)}"
            try:
                bring_log(left_log, log)
            except OSError as error:
                if not MOVES[verb].synced:
                    raise
                # The file has moved all the same, and nobody may take it for gone.
                moved.error = OSError(error.errno, f"its log was left behind, {left_log}: {error}")
                return moved
            self._synced_logs.discard(log)
            if is_log_due and is_marked:
                moved.take_log(log)
        return moved

    def _source(self, verb: str, state: State, file_name: str, day: str = "") -> Path:
        """Return the path of a file that one of the table's moves starts from."""
        self._check(verb, state)
        return self.path(state, file_name, day)

    @staticmethod
    def _check(verb: str, state: State) -> None:
        if state not in MOVES[verb].sources:
            raise ValueError(f"{verb} doesn't start from {state}")

    def _target(self, verb: str, day: str = "") -> str:
        """Return the folder that one of the table's moves leads to; a new day's is made. Raises: OSError."""
        state = MOVES[verb].target
        assert state is not None  # noqa: S101 - what is removed goes nowhere
        folder = str(self.folder(state))
        if day:
            parent, folder = folder, f"{folder}/{day}"
            if not os.path.isdir(folder):  # noqa: PTH112 - a text, for each notification
                Path(folder).mkdir(durable.FOLDER_MODE, exist_ok=True)
                self._synced_days.discard(day)
            # RACE: another worker, or a process that then crashed, may have made it and not synced its name.
            if day not in self._synced_days:
                durable.sync_folder(parent)
                self._synced_days.add(day)
        return folder


def bring_log(log: Path | str, target: Path | str) -> None:
    """Move a log after its file. Where there is one already, its lines stay in front. Raises: OSError."""
    try:
        durable.rename(str(log), str(target))
    except FileExistsError:
        history.append(target, history.read(log), sync=True)
        # CRASH: lines stand twice; attempts are counted by their numbers, not by lines.
        Path(log).unlink()
