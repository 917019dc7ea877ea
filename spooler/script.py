"""For scripts in Python: `for notification in notifications(): …`, and exceptions that say what came of it.

Owns: the script's side of the contract: reading standard input and the `SPOOLER_` variables, and exit
statuses.
Promises: light to import, and usable at the shell: what isn't in the environment is taken from the body.
Does not promise: anything about the body beyond its being a JSON object.

    from spooler.script import GiveUp, RetryLater, notifications

    for notification in notifications():
        if notification.is_test:
            continue
        if not notification.contact:
            raise GiveUp("the body names no contact")
        if not crm.update(notification.contact, notification.data):
            raise RetryLater("the CRM doesn't answer")

Leaving the loop at its end is success. Any other exception prints its traceback, which goes to the
notification's log, and means: try again later.
"""

import codecs
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from spooler import notification as _body

__all__ = ["GiveUp", "Notification", "RetryLater", "notifications"]


class _Ending(SystemExit):
    """Ends the script with a status. Not an `Exception`, so that no `except Exception` swallows it."""

    status: ClassVar[int]

    def __init__(self, reason: str = "") -> None:
        super().__init__(self.status)
        if reason:
            # The interpreter says nothing when it ends with a number, and the log should tell why.
            print(reason, file=sys.stderr)


class RetryLater(_Ending):
    """Not now: try this notification again later, and don't run the scripts after this one yet."""

    status = 75


class GiveUp(_Ending):
    """It will never work: straight to `failed/`, where a person decides."""

    status = 65


@dataclass(frozen=True)
class Notification:
    """What a script is given.

    id, type, contact: texts of harmless characters; `contact` is empty where the body names none.
    is_test: sent from the platform's configuration page; no real contact may be changed.
    attempt, max_attempts: which attempt this is, from 1, and how many there will be at most.
    received: when spooler stored it, aware, in UTC.
    body: the bytes that were sent. TRUST: what is in them was typed in by strangers.
    """

    id: str
    type: str
    contact: str
    is_test: bool
    attempt: int
    max_attempts: int
    received: datetime
    webhook: str
    file: Path | None
    body: bytes

    @cached_property
    def data(self) -> dict[str, Any]:
        """The body's members."""
        document = json.loads(self.body.removeprefix(codecs.BOM_UTF8))
        if not isinstance(document, dict):
            raise GiveUp("the body is no JSON object")
        return document

    @property
    def is_last_attempt(self) -> bool:
        """Whether failing now means `failed/`."""
        return self.attempt >= self.max_attempts


def notifications() -> Iterator[Notification]:
    """Give the notification that this script was started for."""
    yield _read(sys.stdin.buffer.read(), os.environ)


def _read(body: bytes, environment: "os._Environ[str]") -> Notification:
    seen = _body.Notification.read(body)
    file = environment.get("SPOOLER_FILE")
    received = environment.get("SPOOLER_RECEIVED")
    return Notification(
        id=environment.get("SPOOLER_ID", seen.id),
        type=environment.get("SPOOLER_TYPE", seen.type),
        contact=environment.get("SPOOLER_CONTACT", seen.contact),
        is_test=environment.get("SPOOLER_TEST", "1" if seen.is_test else "0") != "0",
        attempt=int(environment.get("SPOOLER_ATTEMPT", "1")),
        max_attempts=int(environment.get("SPOOLER_MAX_ATTEMPTS", "1")),
        received=datetime.fromisoformat(received) if received else datetime.now(UTC),
        webhook=environment.get("SPOOLER_WEBHOOK", ""),
        file=Path(file) if file else None,
        body=body,
    )
