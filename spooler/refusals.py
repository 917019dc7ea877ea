"""Refusals: what a webhook refused today, and how close the sender is to switching it off.

Owns: the hidden file `.refusals` in a webhook's `rejected/`, by which all receivers and the processor know
the same. The file's modification time says since when every answer was an error; the epoch: the last was a
200.
Promises: a 200 after a 200 costs one stat. Counting a refusal costs one small write in place, which needs no
room on a disk that is full. The file keeps its size. What can't be counted changes no answer, and is told
of once. Another user's file, left by a start as root, say, is replaced by one of ours.
Does not promise: durability (nothing is synced; after a power cut the count may be an older one), or to
know of requests that never got here, of which the sender counts errors too.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from threading import Lock
from time import sleep

import msgspec

from spooler import durable
from spooler.clock import Clock
from spooler.delivery import DEACTIVATION_ERRORS, DEACTIVATION_SECONDS
from spooler.log import get_logger
from spooler.name import HIDDEN

FILE_NAME = HIDDEN + "refusals"
_BYTES = 1024
_WHY_CHARACTERS = 200
_COUNTS = 10**12  # more is nonsense
_NOT_OURS = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL}  # or no file
_TRIES = 250  # for the lock, a millisecond apart: a process that was stopped while it held it delays nobody
_GIVEN_UP_SECONDS = 10.0  # then, for of many that come together each would wait so long


class Reason(StrEnum):
    """Why a request wasn't answered with 200, as a word for counting."""

    NO_SIGNATURE = "no_signature"
    MALFORMED_SIGNATURE = "malformed_signature"
    WRONG_SIGNATURE = "wrong_signature"
    CERTIFICATE = "certificate"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"  # it could not be stored
    DEFECT = "defect"


@dataclass(frozen=True, slots=True)
class Refused:
    """What the file says.

    day: the UTC day (`2026-11-24`) that `today` counts, by reason, such as `{"wrong_signature": 3}`.
    why: the reason of the latest, printable ASCII, at most 200 characters.
    errors: how many answers in a row were none of 200; `since` when, None while the last was a 200.
    """

    day: str = ""
    today: dict[str, int] = field(default_factory=dict)
    why: str = ""
    errors: int = 0
    since: datetime | None = None

    def count_on(self, day: str) -> int:
        """Return how many requests were refused on a day; only the latest one is known."""
        return sum(self.today.values()) if day == self.day else 0

    def to_deactivation(self, now: datetime) -> tuple[int, float]:
        """Return how many errors and how many seconds are left until the sender may switch off."""
        lasted_seconds = (now - self.since).total_seconds() if self.since else 0.0
        return max(0, DEACTIVATION_ERRORS - self.errors), max(0.0, DEACTIVATION_SECONDS - lasted_seconds)


def read(folder: Path) -> Refused:
    """Return what the file in `folder`, a webhook's `rejected/`, says; missing, torn or no file, nothing."""
    try:
        file = durable.opened(folder / FILE_NAME)  # a pipe isn't waited for
    except OSError:
        return Refused()
    try:
        return _parse(os.read(file, _BYTES), os.fstat(file).st_mtime)
    except OSError:
        return Refused()
    finally:
        os.close(file)


class Refusals:
    """A receiver's hand on the file. Called from several threads and processes at once."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = f"{folder}/{FILE_NAME}"
        self._clock = clock
        self._lock = Lock()
        self._is_told = False  # that it can't be counted
        self._given_up_until = 0.0  # on the monotonic clock

    def count(self, reason: Reason, why: str) -> None:
        """Count a request that was answered with anything but 200."""
        self._note(lambda: self._add(reason, why))

    def succeeded(self) -> None:
        """Note a 200: whatever run of errors there was has ended."""
        self._note(self._end_run)

    def _note(self, step: Callable[[], None]) -> None:
        """Make a note; what is in the file's place and can't be written makes way, for the folder is ours."""
        try:
            try:
                step()
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    raise
                os.unlink(self._path)  # noqa: PTH108 - RACE: perhaps another receiver's new one, with its count
                step()
        except BlockingIOError:
            return  # whoever holds the lock may let go of it yet
        except OSError as error:
            if not self._is_told:
                self._is_told = True
                get_logger().error("refusals aren't counted", path=self._path, reason=error.strerror)

    def _add(self, reason: Reason, why: str) -> None:
        with self._locked(os.O_RDWR | os.O_CREAT) as file:
            known = _parse(os.pread(file, _BYTES, 0), os.fstat(file).st_mtime)
            now = self._clock.now()
            day = f"{now:%Y-%m-%d}"
            today = dict(known.today) if known.day == day else {}
            today[reason] = today.get(reason, 0) + 1
            since = min(known.since or now, now)  # a clock that was set back begins anew
            refused = Refused(day, today, _harmless(why), known.errors + 1, since)
            # CRASH: torn, or with the time of the writing: then the run of errors is counted from there.
            os.pwrite(file, _encode(refused), 0)
            os.utime(file, (since.timestamp(), since.timestamp()))
        self._is_told = False

    def _end_run(self) -> None:
        with suppress(FileNotFoundError):  # nothing was refused yet
            if os.stat(self._path).st_mtime == 0:  # noqa: PTH116 - for each notification
                return
            with self._locked(os.O_RDWR) as file:
                os.utime(file, (0, 0))

    @contextmanager
    def _locked(self, flags: int) -> Iterator[int]:
        with self._lock:
            if self._clock.monotonic() < self._given_up_until:
                raise BlockingIOError
            file = os.open(self._path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, durable.MODE)
            try:
                if not stat.S_ISREG(os.fstat(file).st_mode):
                    raise OSError(errno.EINVAL, "is no regular file")
                self._take(file)
                yield file
            finally:
                os.close(file)

    def _take(self, file: int) -> None:
        for _ in range(_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            sleep(0.001)
        self._given_up_until = self._clock.monotonic() + _GIVEN_UP_SECONDS
        raise BlockingIOError


def _harmless(text: str) -> str:
    """TRUST: parts of a reason may come from the network, and end up in a mail."""
    return text.encode("unicode_escape").decode("ascii")[:_WHY_CHARACTERS]


class _Members(msgspec.Struct):
    day: str = ""
    today: dict[Reason, int] = {}
    errors: int = 0
    why: str = ""


def _encode(refused: Refused) -> bytes:
    today = {Reason(reason): count for reason, count in refused.today.items()}
    members = _Members(refused.day, today, refused.errors, refused.why)
    return msgspec.json.encode(members).ljust(_BYTES - 1) + b"\n"


def _parse(content: bytes, seconds: float) -> Refused:
    try:
        members = msgspec.json.decode(content, type=_Members)
    except (ValueError, RecursionError):  # torn, or from another version
        return Refused()
    if not all(0 <= count < _COUNTS for count in (members.errors, *members.today.values())):
        return Refused()
    since = datetime.fromtimestamp(seconds, UTC) if members.errors and 0 < seconds < 1e11 else None
    today = {str(reason): count for reason, count in members.today.items()}
    why = members.why if members.why.isascii() and members.why.isprintable() else ""
    return Refused(members.day, today, why[:_WHY_CHARACTERS], members.errors if since else 0, since)
