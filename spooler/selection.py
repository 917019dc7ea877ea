"""Selection: which notifications a person means, by what they are or by an ID.

Owns: the filters, the order in which a folder of a million is gone through, and what an ID may be short for.
Promises: oldest first, in memory for a slice of the names only, and for those that people gave. What is gone
meanwhile isn't selected.
Does not promise: that a file is still there when its turn comes.
"""

import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from heapq import merge
from pathlib import Path

from spooler.folders import Place, WebhookFolders
from spooler.foremost import Foremost
from spooler.name import LOG_SUFFIX, SUFFIX, has_pattern, stamp
from spooler.notification import UNKNOWN_TYPE, Notification
from spooler.state import State

_SLICE = 100_000  # a million names would take 140 MB, and each slice costs a pass over the folder
_NAME_BYTES = 255
_SHOWN = 3  # of ambiguous ids, in the message

# Is told of what can't be read, and so is passed over: a notification, or a folder, whose place has no name.
Unreadable = Callable[[Place, OSError], None]


@dataclass(frozen=True, slots=True)
class Filter:
    """What a notification has to be; whatever is None doesn't matter. `since`: received then or later."""

    type: str | None = None
    since: datetime | None = None
    contact: str | None = None

    def admits(self, place: Place) -> bool:
        """Say whether a notification is meant; its body is read only where it has to be.

        Raises: OSError, FileNotFoundError if it moved on.
        """
        name = place.name
        if self.since is not None and (name.received if name else place.received()) < self.since:
            return False
        if self.type is not None and name and name.type != self.type:
            return False
        if self.contact is None and (self.type is None or name):
            return True
        if place.state is State.REJECTED:  # TRUST: its body isn't read
            return self.contact is None and self.type == UNKNOWN_TYPE
        said = Notification.read(place.read())
        if self.type is not None and not name and said.type != self.type:
            return False
        return self.contact is None or said.order_key == self.contact


def select(
    folders: WebhookFolders, state: State, wanted: Filter, unreadable: Unreadable | None = None
) -> Iterator[Place]:
    """Yield the notifications of a state that are wanted, oldest first.

    unreadable: without it, what can't be read ends the pass. Raises: OSError.
    """
    for folder in _folders(folders, state, unreadable):
        with _passing_over(folder, unreadable):
            for name in _in_order(folders, state, folder.day):
                place = Place(folders, state, name, folder.day)
                try:
                    if wanted.admits(place):
                        yield place
                except FileNotFoundError:
                    continue  # RACE: it moved on
                except OSError as error:
                    if unreadable is None:
                        raise
                    unreadable(place, error)


@contextmanager
def _passing_over(place: Place, unreadable: Unreadable | None) -> Iterator[None]:
    """Go on after what can't be read, if somebody is to be told of it. Raises: OSError, if nobody is."""
    try:
        yield
    except OSError as error:
        if unreadable is None:
            raise
        unreadable(place, error)


def _folders(folders: WebhookFolders, state: State, unreadable: Unreadable | None) -> list[Place]:
    """Return the places of a state's folders, which have no name; of `done/` each day's. Raises: OSError."""
    days: list[str] = []
    with _passing_over(Place(folders, state, ""), unreadable):
        days = folders.days_of(state)
    return [Place(folders, state, "", day) for day in days]


def by_receipt(place: Place) -> str:
    """Return the text by which a notification sorts: its name, or when it came, where a person gave that."""
    if not has_pattern(place.file_name):
        with suppress(OSError):  # it is gone, or nobody may tell
            return f"{stamp(place.received())}_{place.file_name}"
    return place.file_name


def _in_order(folders: WebhookFolders, state: State, day: str) -> Iterator[str]:
    given = {
        entry.name: by_receipt(Place(folders, state, entry.name, day))
        for entry in folders.notifications(state, day)
        if not has_pattern(entry.name)
    }  # by persons, who don't give a million names
    receivers = _slices(folders, state, day, given)
    return merge(receivers, sorted(given, key=given.__getitem__), key=lambda name: given.get(name, name))


def _slices(folders: WebhookFolders, state: State, day: str, given: Container[str]) -> Iterator[str]:
    after = ""
    while names := _next_slice(folders, state, day, after, given):
        yield from names
        if len(names) < _SLICE:
            return
        after = names[-1]


def _next_slice(
    folders: WebhookFolders, state: State, day: str, after: str, given: Container[str]
) -> list[str]:
    """Return the first names that sort after one, sorted, without those that persons gave."""
    foremost = Foremost(_SLICE)
    for entry in folders.notifications(state, day):
        if entry.name > after and entry.name not in given:
            foremost.add(entry.name)
    return foremost.names()


@dataclass(slots=True)
class Sought:
    """An ID, or the beginning of one, and what was found for it: the places of each (webhook, id)."""

    text: str
    found: dict[tuple[str, str], list[Place]] = field(default_factory=dict)

    @property
    def places(self) -> list[Place]:
        """The notifications that are meant; none where there is none, or where it isn't clear which."""
        exact = {key: places for key, places in self.found.items() if key[1] == self.text}
        meant = exact or self.found
        return next(iter(meant.values())) if len(meant) == 1 else []

    @property
    def problem(self) -> str:
        """Why nothing is meant; empty where something is."""
        if self.places:
            return ""
        if not self.found:
            by_file = f"there is no notification {self.text!r}"
            return (
                by_file
                if _is_file(self.text)
                else f"no notification has an ID that begins with {self.text!r}"
            )
        exact = [key for key in self.found if key[1] == self.text]
        if exact:
            webhooks = ", ".join(sorted(webhook for webhook, _id in exact))
            return f"{self.text!r} is there in several webhooks ({webhooks}): add --webhook NAME"
        ids = sorted(identifier for _webhook, identifier in self.found)
        more = ", …" if len(ids) > _SHOWN else ""
        return f"{self.text!r} may be any of: {', '.join(ids[:_SHOWN])}{more}"


def seek(
    all_folders: Sequence[WebhookFolders],
    states: Sequence[State],
    texts: Iterable[str],
    unreadable: Unreadable | None = None,
) -> list[Sought]:
    """Look for IDs, or beginnings of them, or names or paths of files, in one pass over the states' folders.

    unreadable: without it, a folder that can't be read ends the pass. Raises: OSError.
    """
    sought = {text: Sought(text) for text in texts}
    beginnings = {text: one for text, one in sought.items() if not _is_file(text)}
    for text, one in sought.items():
        if _is_file(text):
            one.found = _find_file(all_folders, states, text, unreadable)
    lengths = sorted({len(text) for text in beginnings})
    for folders in all_folders if beginnings else ():
        for state in states:
            for folder in _folders(folders, state, unreadable):
                with _passing_over(folder, unreadable):
                    for entry in folders.notifications(state, folder.day):
                        place = Place(folders, state, entry.name, folder.day)
                        _note(place, identifier(place), lengths, beginnings)
    return list(sought.values())


def identifier(place: Place) -> str:
    """Return the ID that `list` shows; empty where there is none, or where it can't be read."""
    if name := place.name:
        return name.id
    if place.state is State.REJECTED:  # TRUST: its body isn't read
        return ""
    try:
        return Notification.read(place.read()).id
    except OSError:
        return ""


def _note(place: Place, identifier: str, lengths: Sequence[int], beginnings: dict[str, Sought]) -> None:
    for length in lengths:
        one = beginnings.get(identifier[:length])
        if one is None or length > len(identifier):
            continue
        key = (place.folders.webhook, identifier)
        # It is ambiguous already, and only the ID itself could change that.
        if key in one.found or len(one.found) <= _SHOWN or identifier == one.text:
            one.found.setdefault(key, []).append(place)
            one.found[key].sort(key=lambda found: found.file_name)


def _is_file(text: str) -> bool:
    return "/" in text or text.endswith((SUFFIX, LOG_SUFFIX))


def _find_file(
    all_folders: Sequence[WebhookFolders],
    states: Sequence[State],
    text: str,
    unreadable: Unreadable | None,
) -> dict[tuple[str, str], list[Place]]:
    file_name = Path(text).name.removesuffix(LOG_SUFFIX).removesuffix(SUFFIX) + SUFFIX
    found: dict[tuple[str, str], list[Place]] = {}
    if "\0" in text or len(os.fsencode(file_name)) > _NAME_BYTES:
        return found  # no file can have such a name
    for folders in all_folders:
        for state in states:
            for folder in _folders(folders, state, unreadable):
                place = folder._replace(file_name=file_name)
                with _passing_over(folder, unreadable):
                    if _is_meant(place.path, text):
                        found[(folders.webhook, str(place.path))] = [place]
    return found


def _is_meant(path: Path, text: str) -> bool:
    """Say whether there is such a file, and a text names it, by its folder too if it tells one."""
    if not path.is_file() or path.is_symlink():
        return False
    return "/" not in text or _is_one_folder(path.parent, Path(text).parent)


def _is_one_folder(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other.resolve()
    except (OSError, RuntimeError):  # a path that is too long, links that lead in a circle
        return False
