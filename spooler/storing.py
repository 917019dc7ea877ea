"""What the receiver does in the spool: store what is confirmed, keep what is refused.

Owns: those moves of the table in `spooler.state`, and the stamps in the names.
Promises: as `spooler.spool`; `store` returns only when the notification survives a power cut; names appear
in the order of their stamps.
Does not promise: to know what a body says.
"""

import fcntl
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from spooler import durable, free_name, history, latest
from spooler.errors import StorageUnavailableError
from spooler.folder_lock import FolderLock
from spooler.folders import is_there
from spooler.name import Name, log_name
from spooler.notification import Notification
from spooler.room import Room
from spooler.spool import WebhookSpool, hidden_name
from spooler.state import State

_TOO_LATE = "storing took longer than the sender waits"
_START_SECONDS = 5.0  # for the lock: a receiver that is just ending may be listing a million names
_HEALTH_SECONDS = 1.0  # for the lock: whoever holds it for longer than a moment holds up every store


@dataclass(slots=True, kw_only=True)
class Arrival(durable.NewFile):
    """A body that is to be stored, and what it says.

    deadline: on the clock's monotonic scale; past it nothing is stored any more.
    """

    hidden: str = field(default_factory=hidden_name)
    notification: Notification
    deadline: float | None = None


@dataclass(frozen=True)  # without slots: a class may be this and the processor's in one
class ReceiversSpool(WebhookSpool):
    """One webhook's part of the spool, for the receiver."""

    _naming: FolderLock = field(default_factory=FolderLock, init=False, repr=False, compare=False)

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
        self._naming.take(folder, self.clock, _first_deadline(arrivals, self.clock.monotonic()))
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
        """Keep a refused request in `rejected/`, with its log line; unsynced. Its lock is held.

        Raises: OSError; then nothing is left of it.
        """
        rejected, hidden = self.folder(State.REJECTED), hidden_name()
        name = str(Name(self.clock.now(), notification.id, notification.type))
        while is_there(f"{rejected}/{name}") or is_there(f"{rejected}/{log_name(name)}"):
            name = free_name.after(name)
        with durable.opened_folder(rejected) as folder:
            durable.write_hidden(folder, hidden, body, sync=False)
            try:
                history.append(rejected / log_name(name), [line])
                # CRASH: a log without a file tells nothing; the next prune removes it.
                durable.rename(hidden, name, source_folder=folder, target_folder=folder)
            except OSError:
                # A body without its line could never be judged again.
                for left in (hidden, log_name(name)):
                    with suppress(OSError):
                        os.unlink(left, dir_fd=folder)
                raise
        return name

    def keep_order(self) -> None:
        """Let no name be given that sorts before one that waits already.

        For the start: the clock may have been set back, and the note of the latest stamp lost, meanwhile.

        Raises: StorageUnavailableError if others hold the lock that names are given under; OSError.
        """
        try:
            with self.locked(State.INCOMING, _START_SECONDS):
                newest, known = self.newest_waiting(), latest.read(self.folder(State.REJECTED))
                if newest is not None and (known is None or newest > known):
                    latest.write(self.folder(State.REJECTED), newest)
        except BlockingIOError as error:
            raise StorageUnavailableError(
                f"can't store in {self.folder(State.INCOMING)}: {error.strerror}"
            ) from error

    def check_room(self) -> None:
        """Raises: StorageUnavailableError if the disk has less room than `min_free_bytes`; OSError."""
        if shortage := Room.of(self.folder(State.INCOMING)).shortage(self.min_free_bytes):
            raise StorageUnavailableError(shortage)

    def check_writable(self) -> None:
        """Find out by writing whether a notification could be stored. Raises: StorageUnavailableError."""
        try:
            self.check_room()
            with durable.opened_folder(self.folder(State.INCOMING)) as folder:
                hidden = hidden_name()
                durable.write_hidden(folder, hidden, b"\n", sync=False)
                os.unlink(hidden, dir_fd=folder)
                FolderLock().take(folder, self.clock, self.clock.monotonic() + _HEALTH_SECONDS)
        except OSError as error:
            raise StorageUnavailableError(
                f"can't write in {self.folder(State.INCOMING)}: {error.strerror}"
            ) from error


def _first_deadline(arrivals: Sequence[Arrival], now: float) -> float:
    """Return the first deadline that isn't past."""
    deadlines = [math.inf if one.deadline is None else one.deadline for one in arrivals]
    return min((one for one in deadlines if one >= now), default=now)
