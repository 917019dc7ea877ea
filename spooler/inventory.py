"""The inventory: how many notifications are in each state, and since when, read off the folders.

Owns: how a folder of a million files is counted: in one pass, name by name, without a list of them.
Promises: nothing is locked, changed or made, and no service has to run. A file or a folder that vanishes
meanwhile is passed over.
Does not promise: one instant. A file that moves during the pass may be counted twice or not at all.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from spooler.folders import Place, WebhookFolders, is_one
from spooler.name import LOG_SUFFIX, SUFFIX, is_notification, stamp, stamp_of
from spooler.state import ACTIVE, State

_LATELY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Inventory:
    """A webhook's folders at a glance. Moments are aware, in UTC.

    states: how many notifications are in each.
    oldest_waiting: when the oldest that isn't settled was received; None if nothing waits.
    last_received: when the newest notification that is still there was received, by its name if that isn't
        yet to come; None if there is none.
    received_lately: how many of those that are still there were received within the last hour.
    failures_today: how many failed on this UTC day and are still in `failed/`.
    """

    states: dict[State, int]
    oldest_waiting: datetime | None
    last_received: datetime | None
    received_lately: int
    failures_today: int


def take(folders: WebhookFolders, unreadable: Callable[[Place, OSError], None] | None = None) -> Inventory:
    """Count everything, in one pass over every folder. Raises: OSError if a folder can't be read.

    unreadable: is told of a day of `done/` that can't be read; the rest is counted all the same.
    """
    now = folders.clock.now()
    tallies = {state: _Tally(now - _LATELY, until=now) for state in State}
    for state in ACTIVE:
        tallies[state].add(folders.notifications(state), partial(_age, folders, state))
    for day in folders.days():
        try:
            tallies[State.DONE].add(folders.notifications(State.DONE, day))
        except OSError as error:
            if unreadable is None:
                raise
            unreadable(Place(folders, State.DONE, "", day), error)
    failures = _Failures(folders)
    tallies[State.FAILED].add(failures)
    tallies[State.REJECTED].add(folders.notifications(State.REJECTED))
    received = [tally for state, tally in tallies.items() if state is not State.REJECTED]
    return Inventory(
        states={state: tally.count for state, tally in tallies.items()},
        oldest_waiting=_first(tallies[state].oldest for state in ACTIVE),
        last_received=_last(tally.newest for tally in received),
        received_lately=sum(tally.lately for tally in received),
        failures_today=failures.today,
    )


def oldest_waiting(folders: WebhookFolders) -> datetime | None:
    """Return when the oldest notification that isn't settled yet was received; None if nothing waits.

    Looks into `incoming/`, `processing/` and `retry/` alone. Raises: OSError if a folder can't be read.
    """
    tally = _Tally(folders.clock.now())
    for state in ACTIVE:
        tally.add(folders.notifications(state), partial(_age, folders, state))
    return tally.oldest


def last_received(folders: WebhookFolders) -> datetime | None:
    """Return when the newest notification that is still there was received; None if there is none.

    A stamp that is yet to come, of a name that somebody gave or a clock that was wrong, hides no other.
    Of `done/` only the latest days are looked at. Raises: OSError if a folder can't be read.
    """
    now = folders.clock.now()
    tally = _Tally(now, until=now)
    for state in (*ACTIVE, State.FAILED):
        tally.add(folders.notifications(state))
    for day in reversed(folders.days()):
        if tally.newest is not None and day < f"{tally.newest:%Y-%m-%d}":
            break  # what was finished on a day was received on it at the latest
        tally.add(folders.notifications(State.DONE, day))
    return tally.newest


def failures_today(folders: WebhookFolders) -> int:
    """Return how many failed on this UTC day and are still in `failed/`. Raises: OSError."""
    failures = _Failures(folders)
    for _entry in failures:
        pass
    return failures.today


class _Tally:
    """A count of notifications; when the first and the last of them were received, and how many lately.

    until: what was received later isn't taken for the last.
    """

    def __init__(self, lately_from: datetime, *, until: datetime | None = None) -> None:
        self.count = 0
        self.lately = 0
        self._lately_from = stamp(lately_from)
        self._until = stamp(until) if until else "9"  # which no stamp begins with
        self._first, self._last = "", ""  # stamps: parsing each would take longer than all the rest
        self._oldest_foreign: datetime | None = None

    @property
    def oldest(self) -> datetime | None:
        """When the first of them was received."""
        return _first([_moment(self._first), self._oldest_foreign])

    @property
    def newest(self) -> datetime | None:
        """When the last of them was received, by its name."""
        return _moment(self._last)

    def add(
        self, entries: Iterable["os.DirEntry[str]"], age: Callable[[str], datetime | None] | None = None
    ) -> None:
        """Count a folder's entries; `age` tells of a name that a person gave when it was received."""
        for entry in entries:
            self.count += 1
            received = stamp_of(entry.name)
            if received:
                self.lately += received >= self._lately_from
                if self._last < received <= self._until:
                    self._last = received
                if not self._first or received < self._first:
                    self._first = received
            elif age:
                self._oldest_foreign = _first([self._oldest_foreign, age(entry.name)])


class _Failures:
    """What is in `failed/`, counting on the way past which of it failed today.

    Its log tells: the last line was written when the notification was given up. The file's own times don't;
    what changes its owner, or restores a backup, changes them.
    """

    def __init__(self, folders: WebhookFolders) -> None:
        self.today = 0
        self._folders = folders
        midnight = folders.clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
        self._midnight_seconds = midnight.timestamp()

    def __iter__(self) -> Iterator["os.DirEntry[str]"]:
        for entry in self._folders.entries(State.FAILED):
            if is_one(entry):
                yield entry
            elif entry.name.endswith(LOG_SUFFIX):
                with suppress(FileNotFoundError):
                    self.today += self._was_written_today(entry) and self._has_file(entry.name)

    def _was_written_today(self, log: "os.DirEntry[str]") -> bool:
        status = log.stat(follow_symlinks=False)
        return stat.S_ISREG(status.st_mode) and status.st_mtime >= self._midnight_seconds

    def _has_file(self, log: str) -> bool:
        file_name = log.removesuffix(LOG_SUFFIX) + SUFFIX
        file = self._folders.path(State.FAILED, file_name)
        return is_notification(file_name) and stat.S_ISREG(file.lstat().st_mode)


def _moment(received: str) -> datetime | None:
    return datetime.fromisoformat(received) if received else None


def _age(folders: WebhookFolders, state: State, file_name: str) -> datetime | None:
    try:
        return folders.received(state, file_name)
    except FileNotFoundError:
        return None  # RACE: it moved on
    except OSError:  # an odd log, or somebody else's, hides no notification
        with suppress(FileNotFoundError):
            return folders.written(state, file_name)
        return None


def _first(moments: Iterable[datetime | None]) -> datetime | None:
    return min(filter(None, moments), default=None)


def _last(moments: Iterable[datetime | None]) -> datetime | None:
    return max(filter(None, moments), default=None)
