"""Known ids: which notifications were finished lately, so that a repeat runs no script.

Owns: an index over the names in `done/`; the folders are the only record, this can be rebuilt from them.
Promises: 16 bytes for each name in the window, half a MiB for each day, nothing for what has left it. What is
found is looked at again in the folder before it counts, so that one that was pruned, taken back or replaced
doesn't.
What a person dropped is finished: nothing is to be run for it, nor for a repeat of it.
Does not promise: to know what isn't in `done/`. What failed has no part in this.
"""

import os
from array import array
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from threading import Lock

from spooler import history
from spooler.folders import WebhookFolders, is_there
from spooler.name import SUFFIX, Name, log_name, stamp
from spooler.notification import Notification
from spooler.state import State

_BUCKETS = 4096
_NEVER = -1  # no folder changed then
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
REPEATS = "repeats"  # member of a log line: the file that this one repeats


class _Day:
    """The ids in one day's folder: in each bucket their digests, and in step with them when they came."""

    __slots__ = ("_digests", "_received")

    def __init__(self) -> None:
        self._digests: list[array[int] | None] = [None] * _BUCKETS
        self._received: list[array[int] | None] = [None] * _BUCKETS

    def insert(self, digest: int, received: int) -> None:
        bucket = digest % _BUCKETS
        digests, moments = self._digests[bucket], self._received[bucket]
        if digests is None or moments is None:
            digests = self._digests[bucket] = array("q")
            moments = self._received[bucket] = array("q")
        digests.append(digest)
        moments.append(received)

    def find(self, digest: int) -> Iterator[int]:
        bucket = digest % _BUCKETS
        digests, moments = self._digests[bucket], self._received[bucket]
        if digests is None or moments is None:
            return
        # A million in a day are 250 in a bucket: to search it takes microseconds, and to sort it as well for
        # each name would have a start take seconds.
        at = -1
        for _ in range(digests.count(digest)):
            at = digests.index(digest, at + 1)
            yield moments[at]


class FinishedIds:
    """The ids of one webhook's `done/`."""

    def __init__(self, spool: WebhookFolders, window_seconds: float) -> None:
        self._spool = spool
        self._window_seconds = window_seconds
        self._days: dict[str, _Day] = {}
        # The ends of names that were seen: a repeat may have another type than what it repeats.
        self._kinds: set[str] = set()
        self._all_days: list[str] = []  # that there were then, whether the window reaches into them or not
        self._seen_ns: int | None = None  # when `done/` itself changed last, before its days were indexed
        self._lock = Lock()  # RACE: several workers settle at once

    def load(self) -> int:
        """Index the days that the window reaches into; return how many names there were. Raises: OSError."""
        count = 0
        with self._lock:
            self._seen_ns = self._changed_ns()  # RACE: before listing, so that nothing is missed for good
            # RACE: what another worker moves here meanwhile, it adds when the lock is free.
            before, self._days = self._days, {}
            try:
                self._all_days = self._spool.days()
                for day in self._days_in_window():
                    for entry in self._spool.notifications(State.DONE, day):
                        self._insert(entry.name, day)
                        count += 1
            except OSError:
                # What was read isn't all: the next who asks has it read again.
                self._days, self._seen_ns = before, _NEVER
                raise
        return count

    def add(self, file_name: str) -> None:
        """Note that a file of that name has come into today's folder."""
        with self._lock:
            self._insert(file_name, self._spool.today)

    def _insert(self, file_name: str, day: str) -> None:
        if self._window_seconds <= 0:
            return
        # A name that is only nearly of the pattern gets in too. It is that of no file which is asked for.
        try:
            moment, identifier, kind = file_name.split("_", 2)
            received = _minute(moment[:13]) + int(moment[13:15] + moment[16:22])
        except ValueError:
            return
        self._kinds.add(kind)
        if day not in self._days:
            self._days[day] = _Day()
            if day not in self._all_days:  # it began just now; two changes may have one and the same time
                self._all_days.append(day)
        self._days[day].insert(hash(identifier), received)

    def _changed_ns(self) -> int:
        return os.stat(self._spool.folder(State.DONE)).st_mtime_ns  # noqa: PTH116 - for each notification

    def original(self, file_name: str, *, of_any_age: bool = False) -> Path | None:
        """Return the finished file that one of this name would repeat; None if it is no repeat.

        of_any_age: also one that was received later, for this one was refused when it came.

        Raises: OSError.
        """
        name = Name.parse(file_name)
        if name is None:
            return None  # put there by hand
        if self._seen_ns is not None and self._seen_ns != self._changed_ns():
            self.load()  # a day began or was pruned, or a person dropped something, who touches the folder
        known, own = self._known(name), _microseconds(name.received)
        # Those of one id take their turns in order. So what was finished itself already, or is older than
        # what was, can only have been brought back by a person.
        if any(received == own for received, _day in known) or self._was_brought_back(file_name):
            return None
        for received, day in known:
            path = self._find(name, received, day)
            if path and (of_any_age or received < own or self._clock_was_ahead(path, received)):
                return path
        return None

    def _known(self, name: Name) -> list[tuple[int, str]]:
        """Return when the files of this id were received, in microseconds of the epoch, and in which day's
        folder they are, oldest first.
        """
        digest = hash(name.id)
        with self._lock:
            return sorted({(found, day) for day, index in self._days.items() for found in index.find(digest)})

    def _was_brought_back(self, file_name: str) -> bool:
        """Say whether a person put it into done/ by hand, or took it out: something of it is still there."""
        traces = (file_name, log_name(file_name))
        return any(
            is_there(self._spool.where(State.DONE, trace, day))
            for day in self._days_in_window()
            for trace in traces
        )

    def _find(self, name: Name, received: int, day: str) -> Path | None:
        """Return the file of this id that came then, if it is there and counts."""
        moment = _EPOCH + timedelta(microseconds=received)
        own = f"{name.type}{SUFFIX}"
        for kind in (own, *(self._kinds - {own})):
            path = self._spool.path(State.DONE, f"{stamp(moment)}_{name.id}_{kind}", day)
            if path.exists():
                return path if self._counts(path) else None
        return None

    def _counts(self, path: Path) -> bool:
        """Say whether a file was finished within the window, and is neither a test nor a repeat.

        What can't be read has been finished all the same: a script that runs twice would be worse.
        """
        last: history.Line = {}
        is_test = False
        # The rename into done/ set st_ctime; a spool that was brought back from a backup has another.
        finished = datetime.fromtimestamp(path.lstat().st_ctime, UTC)
        with suppress(OSError):
            last = _last_line(path)
            finished = history.moment(last) or finished
        with suppress(OSError):
            is_test = Notification.read(path.read_bytes()).is_test
        in_window = (self._spool.clock.now() - finished).total_seconds() <= self._window_seconds
        return in_window and REPEATS not in last and not is_test

    def _clock_was_ahead(self, path: Path, received: int) -> bool:
        """Say whether a file was finished at a time to come, or before it was received (microseconds of the
        epoch): by a clock that was set back since, so that its name tells nothing of who came first.
        """
        with suppress(OSError):
            said = history.moment(_last_line(path))
            return said is not None and (said > self._spool.clock.now() or _microseconds(said) < received)
        return False

    def _days_in_window(self) -> list[str]:
        oldest = self._spool.clock.now() - timedelta(seconds=self._window_seconds)
        first = oldest.date().isoformat()
        days = self._spool.days() if self._seen_ns is None else self._all_days
        return [day for day in days if day >= first]


def _last_line(path: Path) -> history.Line:
    """Return what the log beside a file says last. Raises: OSError."""
    return next(reversed(history.read(path.with_name(log_name(path.name)))), {})


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=4096)  # more than two days have
def _minute(text: str) -> int:
    """Return when a minute began, written as in a name, in microseconds of the epoch. Raises: ValueError."""
    return _microseconds(datetime.fromisoformat(f"{text}00Z"))
