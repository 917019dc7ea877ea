"""What the sender sends: a notification with a body such as the platform writes.

Owns: the members of a body and their order, and notifications by the thousand.
Promises: each type carries what the vendor's "Guide on the Webhook Events" names for it.
Does not promise: a project's own fields; each project has others, and the values here are made up.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

# Only after a thousand does a contact come again: a burst is mostly about different people.
_CONTACTS = range(550_001, 551_001)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A notification to be sent; `id` and `type` only tell people which one it is."""

    id: str
    type: str
    body: bytes


class Batch(Protocol):
    """Notifications of a known number, each made when it is asked for. A list is one."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Outgoing]: ...


@dataclass(frozen=True, slots=True)
class NewNotifications:
    """So many made-up notifications, the types in turn, each with an id of its own."""

    types: Sequence[str]
    count: int
    is_test: bool = False

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Outgoing]:
        for number in range(self.count):
            type_, id_ = self.types[number % len(self.types)], str(uuid.uuid4())
            contact = _CONTACTS[number % len(_CONTACTS)]
            yield Outgoing(id_, type_, make_body(type_, id_, contact, self.is_test))


def make_body(
    type: str,  # noqa: A002 - the members' own names
    id: str,  # noqa: A002
    contact: int,
    is_test: bool = False,
    now: datetime | None = None,
) -> bytes:
    """Make a body as the vendor's "Guide on the Webhook Events" describes it; the values are made up."""
    sent = (now or datetime.now(UTC)).replace(tzinfo=None).isoformat(timespec="milliseconds")
    members: dict[str, object] = {"Type": type, "EventUniqueID": id, "dtExecution": sent}
    members |= {"idCompany": 4012, "idProject": 918}
    if is_test:
        members["isTest"] = True
    members["ContactID"] = {"idContact": contact, "f_EMail": f"contact-{contact}@example.com"}
    members |= _members_of_type(type, contact, sent)
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()


def _members_of_type(notification_type: str, contact: int, sent: str) -> dict[str, object]:
    if notification_type in ("contact_modified", "contact_created"):
        return {"Data": {"f_FirstName": "Zoë", "f_City": "Québec", "f_CustomerNumber": f"C{contact:06}"}}
    if notification_type in ("contact_optin", "contact_optout"):
        return {"OptinField": "optin_newsletter", "OptinDate": sent}
    of_sending = ("contact_complaint", "contact_quarantine")
    if notification_type in of_sending or notification_type.startswith("sending_"):
        return {"idSendLog": 99817, "idMessage": 3321, "dtProcessed": sent}
    return {}
