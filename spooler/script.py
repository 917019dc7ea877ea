"""For scripts in Python: `for notification in notifications(): …`, and exceptions that say what came of it.

Owns: the script's side of the contract: standard input and the `SPOOLER_` variables, exit statuses, and the
channel by which a script that stays alive answers and gets the next notification.
Promises: light to import, and usable at the shell: what isn't in the environment is taken from the body.
A notification counts as done only when the next one is asked for, and something of it was looked at.
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

from __future__ import annotations

import os
import sys

# Every start of a script pays for what is imported here; the rest is imported where it is needed.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path
    from typing import Any

    from spooler.notification import Notification as Body

__all__ = ["GiveUp", "Notification", "RetryLater", "notifications"]

_PREFIX = "SPOOLER_"
_CHANNEL = "SPOOLER_FD"
_READ_BYTES = 1 << 16

_begun = False


class _Ending(SystemExit):
    """Ends the script with a status. Not an `Exception`, so that no `except Exception` swallows it."""

    status: int

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


class Notification:
    """What a script is given; each of its attributes is found out when it is first asked for.

    id, type, contact: texts of harmless characters; `contact` is empty where the body names none.
    is_test: sent from the platform's configuration page; no real contact may be changed.
    attempt, max_attempts: which attempt this is, from 1, and how many there will be at most.
    is_last_attempt: whether failing now means `failed/`.
    received: when spooler stored it, aware, in UTC.
    file: where it is now. environment: the `SPOOLER_` variables as they are for it.
    body: the bytes that were sent. TRUST: what is in them was typed in by strangers.
    data: the body's members.
    """

    id: str
    type: str
    contact: str
    is_test: bool
    attempt: int
    max_attempts: int
    is_last_attempt: bool
    received: datetime
    webhook: str
    file: Path | None
    environment: Mapping[str, str]
    body: bytes
    data: dict[str, Any]

    def __init__(self, environment: Mapping[str, str], path: str | None = None) -> None:
        """path: of the file that holds the body; without one it comes on standard input."""
        self._environment = environment
        self._path = path

    def __getattr__(self, name: str) -> object:
        # Only called for what wasn't asked for before.
        if name.startswith("_") or (find := getattr(self, f"_find_{name}", None)) is None:
            raise AttributeError(f"a notification has no {name!r}")
        value = self.__dict__[name] = find()
        return value

    @property
    def _was_looked_at(self) -> bool:
        return len(self.__dict__) > 2

    def _find_id(self) -> str:
        return self._environment.get("SPOOLER_ID") or self._seen().id

    def _find_type(self) -> str:
        return self._environment.get("SPOOLER_TYPE") or self._seen().type

    def _find_contact(self) -> str:
        known = self._environment.get("SPOOLER_CONTACT")
        return self._seen().contact if known is None else known

    def _find_is_test(self) -> bool:
        known = self._environment.get("SPOOLER_TEST")
        return self._seen().is_test if known is None else known != "0"

    def _find_attempt(self) -> int:
        return int(self._environment.get("SPOOLER_ATTEMPT", "1"))

    def _find_max_attempts(self) -> int:
        return int(self._environment.get("SPOOLER_MAX_ATTEMPTS", "1"))

    def _find_is_last_attempt(self) -> bool:
        return self.attempt >= self.max_attempts

    def _find_received(self) -> datetime:
        from datetime import UTC, datetime  # noqa: PLC0415 - see above

        known = self._environment.get("SPOOLER_RECEIVED")
        return datetime.fromisoformat(known) if known else datetime.now(UTC)

    def _find_webhook(self) -> str:
        return self._environment.get("SPOOLER_WEBHOOK", "")

    def _find_file(self) -> Path | None:
        from pathlib import Path  # noqa: PLC0415 - see above

        known = self._environment.get("SPOOLER_FILE")
        return Path(known) if known else None

    def _find_environment(self) -> Mapping[str, str]:
        return self._environment

    def _find_body(self) -> bytes:
        if self._path is None:
            return sys.stdin.buffer.read()
        with open(self._path, "rb") as file:  # noqa: PTH123 - see above
            return file.read()

    def _find_data(self) -> dict[str, Any]:
        import json  # noqa: PLC0415 - see above

        document = json.loads(self.body.removeprefix(b"\xef\xbb\xbf"))
        if not isinstance(document, dict):
            raise GiveUp("the body is no JSON object")
        return document

    def _seen(self) -> Body:
        """Return what the body says of itself: at the shell there may be nothing else."""
        from spooler.notification import Notification as Body  # noqa: PLC0415 - see above

        return Body.read(self.body)


def notifications() -> Iterator[Notification]:
    """Give the notification that this script was started for, and in spooler's hands the ones after it.

    Asking for the next one says that the last one is done. If nothing of that was looked at, it is the last:
    `(one,) = notifications()` gives one, and the script's exit status answers for it.

    Raises: RuntimeError the second time: asking for the next one again would say that the last one is done.
    """
    global _begun  # noqa: PLW0603 - there is one standard input
    if _begun:
        raise RuntimeError("notifications() was called before, and gives each one once: use a single loop")
    _begun = True
    channel = _take_channel()
    process = os.getpid()
    notification = Notification(_variables(os.environ))
    while True:
        yield notification
        if channel is None or not notification._was_looked_at or os.getpid() != process:
            return
        line = _answer(channel)
        if not line.endswith(b"\n"):
            return  # there is none: spooler stops, or wants this script to be started anew
        import json  # noqa: PLC0415 - see above

        given = json.loads(line)
        os.environ.update(given["environment"])
        notification = Notification(_variables(given["environment"]), given["file"])


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_PREFIX)}


def _take_channel() -> int | None:
    """Return the channel's descriptor; None where there is none, or it is another's.

    A script's own children may have inherited the variable, and their answer isn't the script's: only the
    process that spooler started leads a session.
    """
    number = os.environ.get(_CHANNEL, "")
    if not number.isdecimal() or os.getsid(0) != os.getpid():
        return None
    try:
        os.set_inheritable(int(number), False)
    except (OSError, OverflowError):  # it isn't open
        return None
    return int(number)


def _answer(channel: int) -> bytes:
    """Say that the notification in hand is done; return the line that tells the next one."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()  # what was printed belongs to that one
    line = b""
    try:
        os.write(channel, b"0\n")
        while not line.endswith(b"\n") and (chunk := os.read(channel, _READ_BYTES)):
            line += chunk
    except OSError:  # spooler is gone
        return b""
    return line
