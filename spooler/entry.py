"""A notification as `list` and `show` tell of it.

Owns: the members, their names and order in JSON.
Promises: every text in it is of harmless characters, but for the names that people gave to files.
TRUST: the body of a refused request isn't read.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spooler import history
from spooler.folders import Place
from spooler.name import Name
from spooler.notification import Notification
from spooler.state import State


@dataclass(frozen=True, slots=True)
class Entry:
    """One notification.

    contact: empty where the body names none, or wasn't looked at.
    received: for a name that a person gave, how old the file is.
    attempts: how many were made, since a person last wanted them counted anew.
    due: when the next one is; of `retry/` only.
    last_word: what the log says last.
    """

    webhook: str
    state: State
    file: Path
    id: str
    type: str
    contact: str
    received: datetime
    attempts: int
    due: datetime | None
    last_word: str

    @classmethod
    def of(cls, place: Place, *, with_contact: bool = True) -> "Entry":
        """Look at a notification; its body is read only for the contact, or where the name tells nothing.

        Raises: OSError, FileNotFoundError if it moved on.
        """
        name = place.name
        body = place.read() if _must_read(place, name, with_contact) else b""
        said = Notification.read(body) if body else Notification.unread(body)
        lines = place.log_lines()
        return cls(
            webhook=place.folders.webhook,
            state=place.state,
            file=place.path.absolute(),
            id=name.id if name else said.id,
            type=name.type if name else said.type,
            contact=said.contact if with_contact else "",
            received=place.received(),
            attempts=history.attempts(lines),
            due=_due(place),
            last_word=history.last_word(lines),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the members as the contract names them; `due` of `retry/` only."""
        members: dict[str, Any] = {
            "webhook": self.webhook,
            "state": self.state.value,
            "file": str(self.file),
            "id": self.id,
            "type": self.type,
            "contact": self.contact or None,
            "received": history.iso(self.received),
            "attempts": self.attempts,
        }
        if self.due is not None:
            members["due"] = history.iso(self.due)
        return members


def _must_read(place: Place, name: Name | None, with_contact: bool) -> bool:
    return place.state is not State.REJECTED and (with_contact or name is None)


def _due(place: Place) -> datetime | None:
    if place.state is not State.RETRY:
        return None
    try:
        return datetime.fromtimestamp(place.folders.due(place.file_name), UTC)
    except (ValueError, OverflowError):  # no date; some file systems know the year 300,000
        return None
