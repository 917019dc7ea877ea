"""What the receiver answers: every status with its text, in one table.

Owns: the statuses of the HTTP side.
Promises: short plain text that tells an attacker nothing; refusals of one status look all alike.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from functools import cached_property
from http import HTTPStatus
from typing import Any, NamedTuple

CONTENT_TYPE = "text/plain; charset=utf-8"
RETRY_AFTER_SECONDS = 60  # the sender comes back by its own schedule; a proxy may look at this


class Reply(NamedTuple):
    """An answer as WSGI has it: the status line, the headers, the body."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def of(cls, application: Callable[..., Iterable[bytes]], environ: dict[str, Any]) -> "Reply":
        """Ask a WSGI application."""
        answered: list[tuple[str, list[tuple[str, str]]]] = []
        body = application(environ, lambda line, headers, _error=None: answered.append((line, headers)))
        ((line, headers),) = answered
        return cls(line, tuple(headers), b"".join(body))


class Answer(Enum):
    """A status and its body."""

    STORED = (200, "stored")
    BAD_REQUEST = (400, "bad request")
    UNAUTHORIZED = (401, "unauthorized")
    FORBIDDEN = (403, "forbidden")
    NOT_FOUND = (404, "not found")
    METHOD_NOT_ALLOWED = (405, "method not allowed")
    TOO_LARGE = (413, "request too large")
    HEADERS_TOO_LARGE = (431, "request headers too large")
    UNAVAILABLE = (503, "try again later")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[0]

    @property
    def text(self) -> str:
        """The body, with its line end."""
        return f"{self.value[1]}\n"

    @property
    def line(self) -> str:
        """The status as the first line of a response has it."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What is told beside the text."""
        later = (("Retry-After", str(RETRY_AFTER_SECONDS)),) if self is Answer.UNAVAILABLE else ()
        return (("Content-Type", CONTENT_TYPE), *later)

    @cached_property
    def reply(self) -> Reply:
        """The whole answer."""
        return Reply(self.line, self.headers, self.text.encode())

    @classmethod
    def of_status(cls, status: int) -> "Answer":
        """Return the answer of a status; for one that isn't in the table, that nothing could be done."""
        return next((answer for answer in cls if answer.status == status), cls.UNAVAILABLE)
