"""The spool: the only hand on the folders.

Owns: storing, and every move that the receiver and the processor make (see `spooler.state`); how a log
follows its file. What a person moves is in `spooler.person`.
Promises: `store` returns only when the notification survives a power cut. A move is one rename, never
replaces a file, and is one of the table's. The log travels with its file.
Does not promise: to know what a body says, or when a notification is due.
Logs: nothing; what went wrong is raised.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from spooler import durable, free_name, history, latest
from spooler.errors import SpoolUnusableError, StorageUnavailableError
from spooler.folders import WebhookFolders, is_there
from spooler.name import HIDDEN, Name, log_name
from spooler.notification import Notification
from spooler.room import Room
from spooler.state import MOVES, State

ARRIVING = HIDDEN + "new-"  # prefix of what isn't under its name yet
_LITTER_AGE_SECONDS = 3600
_TOO_LATE = "storing took longer than the sender waits"


def _hidden() -> str:
    return f"{ARRIVING}{secrets.token_hex(8)}"


@dataclass(slots=True, kw_only=True)
class Arrival(durable.NewFile):
    """A body that is to be stored, and what it says.

    deadline: on the clock's monotonic scale; past it nothing is stored any more.
    """

    hidden: str = field(default_factory=_hidden)
    notification: Notification
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class WebhookSpool(WebhookFolders):
    """One webhook's part of the spool, `<spool>/<webhook>/`, for the receiver and the processor."""

    _synced_days: set[Path] = field(default_factory=set, init=False, repr=False, compare=False)
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
                trial = _hidden()
                with durable.opened_folder(folder) as descriptor:
                    durable.write_hidden(descriptor, trial, b"", sync=False)
                    os.unlink(trial, dir_fd=descriptor)
            except OSError as error:
                remedy = "give that user the folder (chown, chmod u+rwx) or change `spool`"
                if error.errno == errno.EROFS:
                    remedy = "mount it writable; after a change of `spool`, run `spooler install` again"
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

    # What the receiver does.

    def store(self, body: bytes, notification: Notification, *, deadline: float | None = None) -> str:
        """Store a body in `incoming/` and return its file's name, once it would survive a power cut.

        deadline: on the clock's monotonic scale; past it nothing is stored any more.

        Raises: StorageUnavailableError; then it isn't stored, or at least wasn't confirmed.
        """
        arrival = Arrival(content=body, notification=notification, deadline=deadline)
        self.store_all([arrival])
        if arrival.error is not None:
            raise arrival.error
        return arrival.name

    def store_all(self, arrivals: Sequence[Arrival]) -> None:
        """Store bodies that came together, in their order.

        Each has its `name` then, or its `error`, a StorageUnavailableError: it isn't stored, or at least
        wasn't confirmed.
        """
        incoming = self.folder(State.INCOMING)
        try:
            with durable.opened_folder(incoming) as folder:
                self.check_room()
                durable.create(folder, arrivals, lambda: self._publish(folder, arrivals))
        except (OSError, StorageUnavailableError) as error:
            for arrival in arrivals:
                arrival.error = arrival.error or error
        for arrival in arrivals:
            if isinstance(arrival.error, OSError):
                cause = arrival.error
                arrival.error = StorageUnavailableError(f"can't store in {incoming}: {cause.strerror}")
                arrival.error.__cause__ = cause

    def _publish(self, folder: int, arrivals: Sequence[Arrival]) -> None:
        # RACE: stamp and rename are one step for all receivers, so that names appear in the order of their
        # stamps. Opened for this call alone, the descriptor's lock keeps threads apart too.
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            now = self.clock.monotonic()
            for arrival in arrivals:
                if arrival.deadline is not None and now > arrival.deadline:
                    arrival.error = arrival.error or StorageUnavailableError(_TOO_LATE)
            waiting = [arrival for arrival in arrivals if arrival.error is None]
            if not waiting:
                return
            for arrival, stamp in zip(waiting, self._next_stamps(len(waiting)), strict=True):
                name = Name(stamp, arrival.notification.id, arrival.notification.type)
                try:
                    arrival.name = free_name.rename(arrival.hidden, str(name), folder, folder)
                except OSError as error:
                    arrival.error = error
        finally:
            fcntl.flock(folder, fcntl.LOCK_UN)

    def _next_stamps(self, count: int) -> list[datetime]:
        rejected, now = self.folder(State.REJECTED), self.clock.now()
        known = latest.read(rejected)
        first = latest.next_stamp(known, now)
        ahead = latest.MICROSECOND * (count - 1)
        # CRASH: the stamps are noted and not given; the next one is later still.
        if known is None or not latest.write(rejected, first + ahead):  # the first ever, or it can't be noted
            first = latest.next_stamp(self.newest_waiting(), now)
            latest.write(rejected, first + ahead)
        return [first + latest.MICROSECOND * number for number in range(count)]

    def refuse(self, body: bytes, notification: Notification, line: history.Line) -> str:
        """Keep a refused request in `rejected/`, with its log line; unsynced. Raises: OSError."""
        hidden = _hidden()
        with durable.opened_folder(self.folder(State.REJECTED)) as folder:
            durable.write_hidden(folder, hidden, body, sync=False)
            name = Name(self.clock.now(), notification.id, notification.type)
            file_name = free_name.rename(hidden, str(name), folder, folder)
        history.append(self.folder(State.REJECTED) / log_name(file_name), [line])
        return file_name

    def forget(self, state: State, file_name: str) -> None:
        """Remove a settled notification, or a refused request, and its log. Raises: OSError."""
        self._source("prune", state, file_name).unlink(missing_ok=True)
        # CRASH: a log without a file tells nothing any more; the next prune removes it.
        self.path(state, log_name(file_name)).unlink(missing_ok=True)

    def check_room(self) -> None:
        """Raises: StorageUnavailableError if the disk has less room than `min_free_bytes`; OSError."""
        if shortage := Room.of(self.folder(State.INCOMING)).shortage(self.min_free_bytes):
            raise StorageUnavailableError(shortage)

    def check_writable(self) -> None:
        """Find out by writing whether a notification could be stored. Raises: StorageUnavailableError."""
        try:
            self.check_room()
            with durable.opened_folder(self.folder(State.INCOMING)) as folder:
                hidden = _hidden()
                durable.write_hidden(folder, hidden, b"\n", sync=False)
                os.unlink(hidden, dir_fd=folder)
        except OSError as error:
            raise StorageUnavailableError(
                f"can't write in {self.folder(State.INCOMING)}: {error.strerror}"
            ) from error

    def keep_order(self) -> None:
        """Let no name be given that sorts before one that waits already. Raises: OSError.

        For the start: the clock may have been set back, and the note of the latest stamp lost, meanwhile.
        """
        with self._locked():
            newest, known = self.newest_waiting(), latest.read(self.folder(State.REJECTED))
            if newest is not None and (known is None or newest > known):
                latest.write(self.folder(State.REJECTED), newest)

    def follow_clock(self) -> bool:
        """Give stamps by the clock again, after it was set back, if no later one waits in the folders.

        Returns whether that was so. The caller knows of those that are just being moved. Raises: OSError.
        """
        with self._locked():
            now, known, newest = (
                self.clock.now(),
                latest.read(self.folder(State.REJECTED)),
                self.newest_waiting(),
            )
            if known is None or known <= now or (newest is not None and newest > now):
                return False
            return latest.write(self.folder(State.REJECTED), now)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep the receivers from giving names meanwhile."""
        with durable.opened_folder(self.folder(State.INCOMING)) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)  # ends with the descriptor
            yield

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

    # What the processor does.

    def record(self, state: State, file_name: str, *lines: history.Line, sync: bool = False) -> None:
        """Append lines to a notification's log. Raises: OSError."""
        log = self.where(state, log_name(file_name))
        self._synced_logs.discard(log)
        history.append(log, lines, sync=sync)
        if sync:
            self._synced_logs.add(log)

    def claim(self, state: State, file_name: str) -> str:
        """Take a waiting notification into `processing/`. Raises: FileNotFoundError (gone), OSError."""
        return self._move("claim", state, file_name)

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
        """Put a copy of our own in the place of a file that somebody else's user has copied here."""
        body = self.read(State.PROCESSING, file_name)
        hidden = _hidden()
        # CRASH: the hidden copy is left in incoming/, where the receiver's start sweeps it.
        with durable.opened_folder(self.folder(State.INCOMING)) as folder:
            durable.write_hidden(folder, hidden, body, sync=True)
        self.path(State.INCOMING, hidden).replace(self.path(State.PROCESSING, file_name))

    def finish(self, file_name: str) -> str:
        """Settle a notification as done, today. Raises: OSError."""
        return self._move("finish", State.PROCESSING, file_name, day=self.today)

    def give_up(self, file_name: str) -> str:
        """Settle a notification as failed. Raises: OSError."""
        return self._move("give_up", State.PROCESSING, file_name)

    def _move(self, verb: str, source: State, file_name: str, day: str = "") -> str:
        """Make one of the table's moves; return the name that the file has now."""
        self._check(verb, source)
        target_folder = self._target(verb, day)
        log = self.where(source, log_name(file_name))
        has_log = is_there(log)
        if MOVES[verb].synced and has_log and log not in self._synced_logs:
            durable.sync_file(log)
        self._synced_logs.discard(log)
        name = free_name.rename(self.where(source, file_name), file_name, target_parent=str(target_folder))
        # CRASH: the log is left in the folder that the file came from; `spooler.recovery` brings it after.
        if has_log:
            log = f"{target_folder}/{log_name(name)}"
            bring_log(self.where(source, log_name(file_name)), log)
            self._synced_logs.discard(log)
        if MOVES[verb].synced:
            durable.sync_folder(target_folder)
        return name

    def _source(self, verb: str, state: State, file_name: str, day: str = "") -> Path:
        """Return the path of a file that one of the table's moves starts from."""
        self._check(verb, state)
        return self.path(state, file_name, day)

    @staticmethod
    def _check(verb: str, state: State) -> None:
        if state not in MOVES[verb].sources:
            raise ValueError(f"{verb} doesn't start from {state}")

    def _target(self, verb: str, day: str = "") -> Path:
        """Return the folder that one of the table's moves leads to; a new day's is made. Raises: OSError."""
        state = MOVES[verb].target
        assert state is not None  # noqa: S101 - what is removed goes nowhere
        folder = self.folder(state) / day
        if day and not folder.is_dir():
            folder.mkdir(durable.FOLDER_MODE, exist_ok=True)
            self._synced_days.discard(folder)
        # RACE: another worker, or a process that then crashed, may have made it and not synced its name.
        if day and folder not in self._synced_days:
            durable.sync_folder(folder.parent)
            self._synced_days.add(folder)
        return folder


def bring_log(log: Path | str, target: Path | str) -> None:
    """Move a log after its file. Where there is one already, its lines stay in front. Raises: OSError."""
    try:
        durable.rename(str(log), str(target))
    except FileExistsError:
        history.append(target, history.read(log), sync=True)
        # CRASH: lines stand twice; attempts are counted by their numbers, not by lines.
        Path(log).unlink()
