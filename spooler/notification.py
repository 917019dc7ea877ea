"""What was sent: the few members of a body that decide where a notification goes.

Owns: reading a body (the JSON object that the platform signed), and the texts that stand for it in file
names and in scripts' environment.
Promises: any bytes whatever give a Notification; what is wrong with them stands in `problem`. The texts
`id`, `type` and `contact` consist of harmless characters only.
Does not promise: that anything else of the body is there or sensible. Every project has its own fields.
Source of the members: the vendor's "Guide on the Webhook Events".
"""

import codecs
import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_NOT_IN_TYPE = re.compile(r"[^A-Za-z0-9_-]")
_TYPE_LENGTH = 64
UNKNOWN_TYPE = "unknown"
_SMALL_BYTES = 64 << 10  # larger ones aren't worth the memory


class _NumberText(str):
    """A JSON number as it was written: 550012 must not become 5.50012e5, nor 1e999 infinite."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Notification:
    """What spooler needs to know of a body.

    id: for the file's name: the EventUniqueID, or a digest marked `h-` (of an unusual EventUniqueID) or
        `x-` (of the body, where there is no id).
    type: for the file's name and the scripts' subfolder.
    contact: idContact for a script's environment; empty where it is missing or of unusual characters.
    order_key: what makes two notifications the same contact's; None where no contact is named.
    is_test: sent from the platform's configuration page; no real contact may be changed.
    problem: why no script can be given this body; empty where one can.
    """

    id: str
    type: str
    contact: str
    order_key: str | None
    is_test: bool
    problem: str

    @classmethod
    def unread(cls, body: bytes, problem: str = "") -> "Notification":
        """Return what can be said of a body without looking into it."""
        return cls(_id(None, body), UNKNOWN_TYPE, "", None, is_test=False, problem=problem)

    @classmethod
    def read(cls, body: bytes) -> "Notification":
        """Read a body of any content.

        TRUST: a signature proves who sent the body, not that it looks as expected.
        """
        return _read_again(body) if len(body) <= _SMALL_BYTES else _read(body)


def _read(body: bytes) -> Notification:
    try:
        document = _parse(body)
    except (ValueError, RecursionError) as error:
        return Notification.unread(body, f"the body is no JSON: {_reason(error)}")
    if not isinstance(document, dict):
        return Notification.unread(body, "the body is JSON, but no object")
    contact_id = document.get("ContactID")
    contact = _text(contact_id.get("idContact")) if isinstance(contact_id, dict) else None
    return Notification(
        id=_id(_text(document.get("EventUniqueID")), body),
        type=_type(_text(document.get("Type"))),
        contact=contact if contact and _ID.fullmatch(contact) else _number_or_empty(contact),
        order_key=contact,
        is_test=_is_true(document.get("isTest")),
        problem="",
    )


# Who asks for a body's place in the order, and who then gives it its turn, read the same one.
_read_again = lru_cache(maxsize=8)(_read)


def _parse(body: bytes) -> object:
    # Python's parser and not a stricter one: half a surrogate pair in some contact's field is no reason
    # to keep an opt-out from the scripts.
    text = body.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a further byte order mark")
    return _READ(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_READ = json.JSONDecoder(
    parse_int=_NumberText, parse_float=_NumberText, parse_constant=_refuse_constant
).decode  # made once: making it takes as long as reading a small body


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _text(value: object) -> str | None:
    """Return a string's or a number's text; nothing for the rest, and for an empty string."""
    return value or None if isinstance(value, str) else None


def _id(unique_id: str | None, body: bytes) -> str:
    if unique_id is None:
        return "x-" + _digest(body)
    if _ID.fullmatch(unique_id):
        return unique_id
    return "h-" + _digest(unique_id.encode("utf-8", "surrogatepass"))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _type(written: str | None) -> str:
    return _NOT_IN_TYPE.sub("-", written)[:_TYPE_LENGTH] if written else UNKNOWN_TYPE


def _number_or_empty(contact: str | None) -> str:
    return contact if isinstance(contact, _NumberText) and len(contact) <= 64 else ""


def _is_true(value: object) -> bool:
    # The vendor shows `true`; a text is taken too, for a test must never reach a real contact.
    return value is True or (type(value) is str and value.lower() == "true")
