"""The folders of one webhook, looked at: where what is, and what it holds.

Owns: the paths, listing a folder, reading a body and a log. And their locks; nothing here changes
anything else.
Promises: what is no regular file is never followed or waited for. A pass over a folder keeps no list of it,
unless it is a `listing`. A folder in `done/` whose name is no day's is somebody's own: nobody looks into it.
Does not promise: that a file is still there when its name is used.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from spooler import durable, history, latest
from spooler.clock import Clock, SystemClock
from spooler.config import MOST_BODY_BYTES
from spooler.folder_lock import FolderLock
from spooler.foremost import Foremost
from spooler.name import Name, has_pattern, identify, is_notification, log_name, stamp, stamp_of
from spooler.notification import Notification
from spooler.state import ACTIVE, State
from spooler.units import format_size

PAUSED = "paused"
_LISTING_SECONDS = 1.0  # for the lock: other webhooks' scripts wait meanwhile

_SYSTEM_CLOCK = SystemClock()


class Listing(NamedTuple):
    """What a folder held.

    names: the notifications' files, sorted, which is by time of receipt.
    odd: names that look like notifications but are no regular files.
    complete_to: every name that sorts before this stamp and was stored before the listing is in it. A
        later one may be there while an older one, stored meanwhile, was missed.
    limit: where only the first were asked for, the last of these; empty where that is all there was.
    beyond: how many names that sort behind it were passed over.
    """

    names: list[str]
    odd: list[str]
    complete_to: str
    limit: str = ""
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class WebhookFolders:
    """One webhook's part of the spool, `<spool>/<webhook>/`, to look at."""

    root: Path
    webhook: str
    clock: Clock = _SYSTEM_CLOCK
    min_free_bytes: int = 0
    _folders: dict[State, Path] = field(default_factory=dict, init=False, repr=False, compare=False)
    _beginnings: dict[State, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._folders.update({state: self.base / state.value for state in State})
        self._beginnings.update({state: f"{folder}/" for state, folder in self._folders.items()})

    @property
    def base(self) -> Path:
        """The folder that holds the states' folders."""
        return self.root / self.webhook

    def folder(self, state: State) -> Path:
        """Return a state's folder."""
        return self._folders[state]

    def path(self, state: State, file_name: str, day: str = "") -> Path:
        """Return where a file of that name is in that state; `done/` is by day."""
        folder = self._folders[state]
        return folder / day / file_name if day else folder / file_name

    def where(self, state: State, file_name: str, day: str = "") -> str:
        """Return the same as text, for what is done many times for each notification."""
        return f"{self._beginnings[state]}{day}/{file_name}" if day else self._beginnings[state] + file_name

    @property
    def today(self) -> str:
        """The name of the folder in `done/` for what is finished now, in UTC."""
        return self.clock.now().date().isoformat()

    def days(self) -> list[str]:
        """Return the names of the days' folders in `done/`, oldest first. Raises: OSError."""
        try:
            with os.scandir(self.folder(State.DONE)) as entries:
                found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        return sorted(filter(_is_day, found))

    def days_of(self, state: State) -> list[str]:
        """Return what `day` may be in a state; empty in all but `done/`. Raises: OSError."""
        return self.days() if state is State.DONE else [""]

    def entries(self, state: State, day: str = "") -> Iterator["os.DirEntry[str]"]:
        """Yield what is in a folder, as it comes; nothing where it isn't there. Raises: OSError."""
        try:
            with os.scandir(self.folder(state) / day) as entries:
                yield from entries
        except FileNotFoundError:
            return  # not made yet, or a day that was pruned meanwhile

    def notifications(self, state: State, day: str = "") -> Iterator["os.DirEntry[str]"]:
        """Yield a folder's notifications as they come: regular files of such a name. Raises: OSError."""
        return filter(is_one, self.entries(state, day))

    @property
    def paused(self) -> bool:
        """Whether an administrator holds the processor back."""
        return is_there(f"{self.root}/{self.webhook}/{PAUSED}")

    @contextmanager
    def locked(self, state: State | None, patience_seconds: float) -> Iterator[None]:
        """Hold a folder's lock, that of `incoming/` to keep receivers from giving names; None: the webhook's.

        Raises: BlockingIOError if others hold it for longer, OSError.
        """
        path = self.folder(state) if state else self.base
        with durable.opened_folder(path) as folder:
            try:
                FolderLock().take(folder, self.clock, self.clock.monotonic() + patience_seconds)
            except BlockingIOError as error:
                error.filename = str(path)
                raise
            yield

    def listing(
        self, state: State, *, most: int = sys.maxsize, is_known: Callable[[str], bool] = lambda _name: False
    ) -> Listing:
        """List a state's folder (not `done/`, which is by day). Raises: OSError.

        most: of the names that a receiver gave, only so many, the first. is_known: those that are listed all
            the same, and don't count, like those that a person gave.
        """
        names: list[str] = []
        odd: list[str] = []
        foremost = Foremost(most)
        # RACE: whoever holds the lock has stamped a name that isn't visible yet; see `ReceiversSpool`.
        with self.locked(State.INCOMING, _LISTING_SECONDS) if state is State.INCOMING else nullcontext():
            complete_to = stamp(latest.next_stamp(latest.read(self.folder(State.REJECTED)), self.clock.now()))
        with os.scandir(self.folder(state)) as entries:
            for entry in entries:
                name = entry.name
                if not is_notification(name):
                    continue
                if not entry.is_file(follow_symlinks=False):
                    odd.append(name)
                elif is_known(name) or not has_pattern(name):
                    names.append(name)
                else:
                    foremost.add(name)
        first, beyond = foremost.names(), foremost.passed_over
        return Listing(sorted(names + first), sorted(odd), complete_to, first[-1] if beyond else "", beyond)

    def newest_waiting(self) -> datetime | None:
        """Return the latest stamp of all that isn't settled; None if there is none.

        One that a person gave, and no clock can have said, is none.
        """
        newest, end = "", stamp(latest.END)
        for state in ACTIVE:
            with suppress(OSError):  # what nobody here may look into holds up nothing
                for entry in self.entries(state):
                    if newest < entry.name < end and stamp_of(entry.name):
                        newest = entry.name
        parsed = Name.parse(newest)
        return parsed.received if parsed else None

    def read(self, state: State, file_name: str, day: str = "") -> bytes:
        """Return a body.

        Raises: OSError, also for what can be no body by its size. What is no regular file is never followed
        or waited for.
        """
        descriptor = os.open(
            self.where(state, file_name, day), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
        try:
            size = os.fstat(descriptor).st_size
            if size > MOST_BODY_BYTES:
                raise OSError(errno.EFBIG, f"larger than {format_size(MOST_BODY_BYTES)}", file_name)
            return durable.read_all(descriptor, size)
        finally:
            os.close(descriptor)

    def log_lines(self, state: State, file_name: str, day: str = "") -> list[history.Line]:
        """Return the lines of a notification's log. Raises: OSError."""
        return history.read(self.where(state, log_name(file_name), day))

    def identify(self, state: State, file_name: str) -> str:
        """Return the id for the log: the name's, else the body's, else the name itself."""
        if Name.parse(file_name) is None:
            with suppress(OSError):
                return Notification.read(self.read(state, file_name)).id
        return identify(file_name)

    def written(self, state: State, file_name: str, day: str = "") -> datetime:
        """Return when a file was written, by its own time; now, where that is no date. Raises: OSError."""
        seconds = self.path(state, file_name, day).lstat().st_mtime
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (ValueError, OverflowError):  # some file systems know the year 300,000
            return self.clock.now()

    def received(self, state: State, file_name: str, day: str = "") -> datetime:
        """Return when a notification was received: by its name, or how old its file is.

        Raises: OSError, only for a name that isn't of the pattern.
        """
        if parsed := Name.parse(file_name):
            return parsed.received
        # Once it was in retry/, the file's time is when it was due; the log tells when it came.
        lines = self.log_lines(state, file_name, day)
        first_turns = map(history.moment, lines[:1])
        return history.received(lines) or min(
            [self.written(state, file_name, day), *filter(None, first_turns)]
        )

    def due(self, file_name: str) -> float:
        """Return when a file in `retry/` is due, in seconds of the epoch. Raises: OSError."""
        return self.path(State.RETRY, file_name).lstat().st_mtime


def _is_day(name: str) -> bool:
    """Say whether a folder's name is a day's, as `WebhookFolders.today` writes it."""
    try:
        return date.fromisoformat(name).isoformat() == name  # there are other ways to write one
    except ValueError:  # the 31st of February
        return False


def is_there(path: str) -> bool:
    """Say whether there is something of that name. Raises: OSError if that can't be told."""
    try:
        os.stat(path)  # noqa: PTH116 - many times for each notification
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return False
        raise
    return True


class Place(NamedTuple):
    """Where a notification is, or was a moment ago; `day` is empty in all states but done."""

    folders: WebhookFolders
    state: State
    file_name: str
    day: str = ""

    @property
    def path(self) -> Path:
        """The file."""
        return self.folders.path(self.state, self.file_name, self.day)

    @property
    def name(self) -> Name | None:
        """What the file's name tells; None for one that a person gave."""
        return Name.parse(self.file_name)

    def read(self) -> bytes:
        """Return the body. Raises: OSError, FileNotFoundError if it moved on."""
        return self.folders.read(self.state, self.file_name, self.day)

    def log_lines(self) -> list[history.Line]:
        """Return the log's lines. Raises: OSError."""
        return self.folders.log_lines(self.state, self.file_name, self.day)

    def received(self) -> datetime:
        """Return when it was received. Raises: OSError."""
        return self.folders.received(self.state, self.file_name, self.day)


def is_one(entry: "os.DirEntry[str]") -> bool:
    """Say whether a folder's entry is a notification."""
    return is_notification(entry.name) and entry.is_file(follow_symlinks=False)
