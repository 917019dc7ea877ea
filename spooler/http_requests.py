"""Requests on the wire: waitress's parser and tasks, made as strict as a receiver of webhooks can be.

Owns: what counts as valid HTTP beyond waitress's own checks, and that every connection serves one request.
Promises: a request that two parsers could read differently is refused; a number of any length is an answer
and no traceback. Errors of HTTP are answered with the texts of `spooler.answers`.
Does not promise: how long a request may take, or that the answer arrives; that is `spooler.connection`'s. To
work with another waitress than 3.0: it relies on that version's inner parts.
"""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from waitress import task
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.utilities import BadRequest, Error, build_http_date

from spooler.answers import Answer, Reply
from spooler.endpoint import BEGUN
from spooler.log import get_logger

_VERSIONS = ("1.0", "1.1")
# Sizes, extensions and trailers of chunks; more of them than of the body is no sender's.
_CHUNKING_BYTES = 64 << 10


class NoRoomError(Error):  # type: ignore[misc] # waitress ships no types
    """Too much comes in at once."""

    code = Answer.UNAVAILABLE.status
    reason = "Service Unavailable"


class Parser(HTTPRequestParser):  # type: ignore[misc] # waitress ships no types
    """A request as it comes in; `begun` is when its first byte came (monotonic seconds)."""

    body_rcv: Any = None
    path = ""  # until it is known: waitress names it in the log when the other side has gone

    def __init__(self, adj: Any, begun: float | None = None) -> None:
        super().__init__(adj)
        self.begun = time.monotonic() if begun is None else begun
        self._chunked_bytes = 0  # on the wire

    def received(self, data: bytes) -> int:
        in_chunks = self.chunked
        consumed: int = super().received(data)
        if in_chunks:
            self._check_chunking(consumed)
        if self.completed:
            self.expect_continue = False  # there is nothing more to ask for: the answer is final
        if self.error is not None:  # nobody reads it, and it would take the room of those who are read
            self.drop()
        return consumed

    def _check_chunking(self, more_bytes: int) -> None:
        """Refuse a body in crumbs: taking it apart would keep the process from everybody else."""
        self._chunked_bytes += more_bytes
        if self.error is None and self._chunked_bytes > 2 * len(self.body_rcv) + _CHUNKING_BYTES:
            self.error: Error | None = BadRequest("chunks that are too small")
            self.completed: bool = True

    @property
    def bytes_held(self) -> int:
        """What it takes of memory, of its header and of its body."""
        header: int = self.header_bytes_received
        return header + (0 if self.body_rcv is None else self.body_bytes_received)

    @property
    def bytes_to_come(self) -> int:
        """How much more of its body there may be; of chunks nobody knows. 0 before the header is whole."""
        if self.completed or not self.headers_finished:
            return 0
        whole: int = self.adj.max_request_body_size if self.chunked else self.content_length
        return max(0, whole - self.body_bytes_received)

    @property
    def bytes_certain(self) -> int:
        """How much more of its body there is before something else may come; of chunks, of the one begun."""
        if self.chunked and self.bytes_to_come:
            remainder: int = self.body_rcv.chunk_remainder
            return remainder
        return self.bytes_to_come

    def drop(self) -> None:
        """Give back what it takes."""
        self.close()
        self.body_rcv = None
        self.header_plus = b""
        self.header_bytes_received = 0

    @property
    def body_bytes_received(self) -> int:
        """What is held against the limit: what is kept in memory, and not how the sender cut it up."""
        body = self.body_rcv
        return len(body) + (len(body.control_line) + len(body.trailer) if self.chunked else 0)

    @body_bytes_received.setter
    def body_bytes_received(self, count: int) -> None:
        """Let waitress count the bytes on the wire, which nobody asks for."""

    def parse_header(self, header_plus: bytes) -> None:
        lowered = header_plus.lower()
        encodings = lowered.count(b"\r\ntransfer-encoding:")
        # TRUST: a proxy in front may pick another of two answers to "where does the body end".
        if encodings + lowered.count(b"\r\ncontent-length:") > 1:
            raise ParsingError("the end of the body is told twice")
        if b"\r\n " in header_plus or b"\r\n\t" in header_plus:  # no sender needs it, and proxies differ
            raise ParsingError("a header that goes on in the next line")
        try:
            super().parse_header(header_plus)
        except TransferEncodingNotImplemented as error:
            raise ParsingError(*error.args) from None
        except ValueError as error:  # a length of thousands of digits, a broken URL
            raise ParsingError(str(error)) from None
        if self.version not in _VERSIONS:
            raise ParsingError(f"HTTP of version {self.version or '0.9'}")
        if encodings and not self.chunked:
            raise ParsingError("Transfer-Encoding before HTTP/1.1")
        if encodings and b"," in lowered.partition(b"\r\ntransfer-encoding:")[2].partition(b"\r\n")[0]:
            # more than `chunked`, or that twice
            raise ParsingError("more than one Transfer-Encoding")


class Task(task.WSGITask):  # type: ignore[misc]
    """The answer to a valid request: one piece, the last on its connection."""

    def execute(self) -> None:
        self.close_on_finish = True
        self.wrote_header = True
        (written,) = answer_all(self.channel.server.application, [self.get_environment()])
        self.channel.write_soon(written)

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[BEGUN] = self.request.begun
        return environ


def answer_all(application: Callable[..., Any], environs: Sequence[dict[str, Any]]) -> list[bytes]:
    """Return what the application answers to requests that came together, to be sent.

    Any WSGI application; one with a method of this name (`spooler.receiver`) gets them together.
    """
    if hasattr(application, "answer_all"):
        replies: list[Reply] = application.answer_all(environs)
    else:
        replies = [Reply.of(application, environ) for environ in environs]
    now = int(time.time())
    return [
        _head(environ["SERVER_PROTOCOL"], reply.line, reply.headers, len(reply.body), now) + reply.body
        for environ, reply in zip(environs, replies, strict=True)
    ]


@lru_cache(maxsize=8)  # of each second many are alike
def _head(
    protocol: str, line: str, headers: tuple[tuple[str, str], ...], length: int, now_seconds: int
) -> bytes:
    """Return what stands before an answer's body.

    One request for each connection: none can arrive on one that is just being closed.
    """
    told = {"Connection": "close", "Content-Length": str(length)}
    told |= dict(headers)  # of an answer to HEAD, how long its body would be
    told["Date"] = build_http_date(now_seconds)
    lines = [f"{name}: {value}\r\n" for name, value in told.items()]
    return f"{protocol} {line}\r\n{''.join(lines)}\r\n".encode("latin-1")


class ErrorTask(task.ErrorTask):  # type: ignore[misc]
    """The answer to what is no valid request."""

    def execute(self) -> None:
        answer = Answer.of_status(self.request.error.code)
        reason = _without_quotation(str(self.request.error.body))
        if answer is Answer.TOO_LARGE:  # waitress names its own limit, which must not even be reached
            reason = f"exceeds max_body of {self.channel.adj.max_request_body_size - 1}"
        get_logger().warning("refused", status=answer.status, reason=reason, peer=self.channel.addr[0])
        if getattr(self.request, "command", "") == "POST":
            count_refused(self.channel, self.request, answer, reason)
        body = answer.text.encode()
        self.status = answer.line
        self.response_headers.extend(answer.headers)
        self.channel.lingers = True
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


def _without_quotation(reason: str) -> str:
    """Leave out the line that waitress quotes; it may be a header, and its value a secret."""
    return reason.partition(' "')[0]


def count_refused(channel: HTTPChannel, request: HTTPRequestParser, answer: Answer, reason: str) -> None:
    count: Callable[..., None] | None = getattr(channel.server.application, "count_refused", None)
    if count is not None:
        count(getattr(request, "path", ""), answer, reason)
