"""Known ids: which notifications were finished lately, so that a repeat runs no script.

Owns: an index over the names in `done/`; the folders are the only record, this can be rebuilt from them.
Promises: about 20 bytes for each name in the window. What is found is looked at again in the folder before
it counts, so that a file that was pruned, taken back or replaced doesn't.
What a person dropped is finished: nothing is to be run for it, nor for a repeat of it.
Does not promise: to know what isn't in `done/`. What failed has no part in this.
"""

import hashlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock

from spooler import history
from spooler.name import Name, is_notification, log_name
from spooler.notification import Notification
from spooler.spool import WebhookSpool
from spooler.state import State

_BUCKETS = 4096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REPEATS = "repeats"  # member of a log line: the file that this one repeats


class FinishedIds:
    """The ids of one webhook's `done/`."""

    def __init__(self, spool: WebhookSpool, window_seconds: float) -> None:
        self._spool = spool
        self._window_seconds = window_seconds
        # In each bucket: digests of ids, sorted, and in step with them the microseconds of receipt.
        self._digests = [array("Q") for _ in range(_BUCKETS)]
        self._received = [array("q") for _ in range(_BUCKETS)]
        self._seen_ns: int | None = None  # when `done/` itself changed last, before its days were indexed
        self._lock = Lock()  # RACE: several workers settle at once

    def load(self) -> int:
        """Index the days that the window reaches into; return how many names there were. Raises: OSError."""
        count = 0
        with self._lock:
            self._seen_ns = self._changed_ns()  # RACE: before listing, so that nothing is missed for good
            for folder in self._days():
                for entry in folder.iterdir():
                    if is_notification(entry.name):
                        self._insert(entry.name)
                        count += 1
        return count

    def add(self, file_name: str) -> None:
        """Note that a file of that name is in `done/`."""
        with self._lock:
            self._insert(file_name)

    def _insert(self, file_name: str) -> None:
        name = Name.parse(file_name)
        if name is None or self._window_seconds <= 0:
            return
        (digest, bucket), received = _digest(name.id), _microseconds(name)
        digests, moments = self._digests[bucket], self._received[bucket]
        at = bisect_left(digests, digest)
        if received not in moments[at : bisect_right(digests, digest, at)]:
            digests.insert(at, digest)
            moments.insert(at, received)

    def _changed_ns(self) -> int:
        return self._spool.folder(State.DONE).stat().st_mtime_ns

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
        known, own = self._known(name), _microseconds(name)
        # Those of one id take their turns in order. So what was finished itself already, or is older than
        # what was, can only have been brought back by a person.
        candidates = [] if own in known else [received for received in known if of_any_age or received < own]
        if not candidates:
            return None
        days = list(self._days())
        if any((day / file_name).exists() for day in days):
            return None  # a person put it into done/ by hand and brought it back: nothing here knows of that
        for received in candidates:
            original = Name(_EPOCH + timedelta(microseconds=received), name.id, name.type)
            for day in days:
                if self._counts(day / str(original)):
                    return day / str(original)
        return None

    def _known(self, name: Name) -> list[int]:
        """Return when the files of this id were received, oldest first, in microseconds of the epoch."""
        digest, bucket = _digest(name.id)
        with self._lock:
            digests = self._digests[bucket]
            return sorted(
                self._received[bucket][bisect_left(digests, digest) : bisect_right(digests, digest)]
            )

    def _counts(self, path: Path) -> bool:
        """Say whether a file is there, was finished within the window, and is neither a test nor a repeat."""
        try:
            body = path.read_bytes()
            status = path.stat()
        except FileNotFoundError:
            return False
        lines = history.read(path.with_name(log_name(path.name)))
        last = lines[-1] if lines else {}
        # The rename into done/ set st_ctime; a spool that was brought back from a backup has another.
        finished = history.moment(last) or datetime.fromtimestamp(status.st_ctime, UTC)
        in_window = (self._spool.clock.now() - finished).total_seconds() <= self._window_seconds
        return in_window and REPEATS not in last and not Notification.read(body).is_test

    def _days(self) -> Iterator[Path]:
        oldest = self._spool.clock.now() - timedelta(seconds=self._window_seconds)
        for folder in sorted(self._spool.folder(State.DONE).iterdir()):
            if folder.is_dir() and folder.name >= f"{oldest:%Y-%m-%d}":
                yield folder


def _microseconds(name: Name) -> int:
    return (name.received - _EPOCH) // timedelta(microseconds=1)


def _digest(identifier: str) -> tuple[int, int]:
    digest = int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest())
    return digest, digest % _BUCKETS
