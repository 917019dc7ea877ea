"""Requests on the wire: waitress's parser and channel, made as strict as a receiver of webhooks can be.

Owns: what counts as valid HTTP beyond waitress's own checks, how long a request may take to come in, and
that every connection serves one request.
Promises: a request that two parsers could read differently is refused; a number of any length is an answer
and no traceback. Errors of HTTP are answered with the texts of `spooler.answers`, and the answer arrives:
what the sender still sends is read for a moment, and thrown away.
Does not promise: to work with another waitress than 3.0: it relies on that version's inner parts.
"""

import socket
import time
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import BadRequest, Error

from spooler.answers import Answer
from spooler.log import get_logger
from spooler.receiver import BEGUN

_VERSIONS = ("1.0", "1.1")
_LINGER_SECONDS = 2.0
# While others wait for the room, a request that takes longer than this for its next step is slow.
_STEP_BYTES = 64 << 10
_STEP_SECONDS = 0.25
# Sizes, extensions and trailers of chunks; more of them than of the body is no sender's.
_CHUNKING_BYTES = 64 << 10


class _NoRoomError(Error):  # type: ignore[misc] # waitress ships no types
    """Too much comes in at once."""

    code = Answer.UNAVAILABLE.status
    reason = "Service Unavailable"


class Parser(HTTPRequestParser):  # type: ignore[misc] # waitress ships no types
    """A request as it comes in; `begun` is when its first byte came (monotonic seconds)."""

    body_rcv: Any = None
    path = ""  # until it is known: waitress names it in the log when the other side has gone

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self.begun = time.monotonic()
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

    def drop(self) -> None:
        """Give back what its body takes."""
        self.close()
        self.body_rcv = None

    @property
    def body_bytes_received(self) -> int:
        """What is held against the limit: what is kept in memory, and not how the sender cut it up."""
        body = self.body_rcv
        return len(body) + (len(body.control_line) + len(body.trailer) if self.chunked else 0)

    @body_bytes_received.setter
    def body_bytes_received(self, count: int) -> None:
        """Let waitress count the bytes on the wire, which nobody asks for."""

    def parse_header(self, header_plus: bytes) -> None:
        lines = header_plus.lower().split(b"\r\n")
        encodings = [line for line in lines if line.startswith(b"transfer-encoding:")]
        lengths = [line for line in lines if line.startswith(b"content-length:")]
        # TRUST: a proxy in front may pick another of two answers to "where does the body end".
        if len(encodings) + len(lengths) > 1:
            raise ParsingError("the end of the body is told twice")
        if any(line.startswith((b" ", b"\t")) for line in lines):  # no sender needs it, and proxies differ
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
        if any(b"," in line for line in encodings):  # more than `chunked`, or that twice
            raise ParsingError("more than one Transfer-Encoding")


class Task(WSGITask):  # type: ignore[misc]
    """The answer to a valid request."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[BEGUN] = self.request.begun
        return environ

    def build_response_header(self) -> bytes:
        # One request for each connection: none can arrive on one that is just being closed.
        self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header


class _ErrorTask(ErrorTask):  # type: ignore[misc]
    """The answer to what is no valid request."""

    def execute(self) -> None:
        answer = Answer.of_status(self.request.error.code)
        reason = _without_quotation(str(self.request.error.body))
        get_logger().warning("refused", status=answer.status, reason=reason, peer=self.channel.addr[0])
        if getattr(self.request, "command", "") == "POST":
            _count_refused(self.channel, self.request, answer, reason)
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


def _count_refused(channel: HTTPChannel, request: HTTPRequestParser, answer: Answer, reason: str) -> None:
    count: Callable[..., None] | None = getattr(channel.server.application, "count_refused", None)
    if count is not None:
        count(getattr(request, "path", ""), answer, reason)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection; `may_read` says whether there is room for more of any request."""

    parser_class = Parser
    task_class = Task
    error_task_class = _ErrorTask
    request: Any = None  # on its way in
    lingers = False  # what the sender is still sending is to be read before the connection is closed
    is_held_back = False  # until there is room for the rest of its request
    _had_to_wait = False  # for room
    _step_at = 0.0  # when the last one was seen, or it was let read on (monotonic seconds)
    _step_bytes = 0  # that had come in by then
    _lingers_until: float | None = None

    def __init__(self, may_read: Callable[[], bool], *given: Any, **named: Any) -> None:
        self._may_read = may_read
        super().__init__(*given, **named)

    def readable(self) -> bool:
        return self._may_read() and not self.is_held_back and bool(super().readable())

    def recv(self, buffer_size: int) -> bytes:
        """Read; more at once where room was made for it: among many, each turn of the loop takes long."""
        wanted = min(self.bytes_to_come, _STEP_BYTES) if self._had_to_wait else 0
        received: bytes = super().recv(max(buffer_size, wanted))
        return received

    def let_read(self) -> None:
        """Go on reading; from now on it's the other side that takes its time."""
        self.is_held_back = False
        self._had_to_wait = True
        self._step_at = time.monotonic()
        self._step_bytes = self.bytes_coming

    def stands_still_since(self, now: float) -> float:
        """Since when the request on its way in has made no step, as far as was looked (monotonic seconds)."""
        if self.bytes_coming - self._step_bytes >= _STEP_BYTES:
            self._step_at, self._step_bytes = now, self.bytes_coming
        begun: float = self.request.begun
        return max(self._step_at, begun)

    def is_slow(self, now: float) -> bool:
        """Say whether a request on its way in takes its time, at that moment (monotonic seconds)."""
        return now - self.stands_still_since(now) > _STEP_SECONDS

    @property
    def bytes_to_come(self) -> int:
        """What more the request may take that is on its way in."""
        parser: Parser | None = self.request
        return 0 if parser is None else parser.bytes_to_come

    @property
    def bytes_coming(self) -> int:
        """What a request takes that is on its way in."""
        return self.request.bytes_held if self.request is not None else 0

    @property
    def bytes_waiting(self) -> int:
        """What requests take that have come in whole and aren't answered yet."""
        return sum(request.bytes_held for request in list(self.requests))

    @property
    def is_dispensable(self) -> bool:
        """Whether nobody waits for an answer: nothing has come in whole, and all answers have gone out."""
        return not (self.requests or self.total_outbufs_len)

    @property
    def waits_for_answer(self) -> bool:
        """Whether a request is on its way in, being answered, or its answer on its way out; to its close."""
        on_its_way_out = self.total_outbufs_len or self.close_when_flushed
        return bool(self.requests or self.request is not None or on_its_way_out)

    def handle_read(self) -> None:
        if self.request is not None and self._is_cut_short():
            self._refuse_cut_short()
        else:
            super().handle_read()

    def _is_cut_short(self) -> bool:
        """Whether the other side has said that nothing more will come."""
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return False

    def _refuse_cut_short(self) -> None:
        """Answer all the same: the other side may still be reading."""
        self._refuse(BadRequest("it ended before it was whole"))

    def refuse_for_want_of_room(self) -> None:
        """Give up a request that is on its way in, and what it takes of memory."""
        self._refuse(_NoRoomError("too much comes in at once"))

    def _refuse(self, error: Error) -> None:
        self.is_held_back = False
        with self.requests_lock:
            self.request.drop()
            if self.will_close or self.close_when_flushed:  # it was behind a request that is the last
                self.request = None
                return
            self.request.error = error
            self.request.completed = True
            self.requests.append(self.request)
            self.request = None
            self.server.add_task(self)

    def close_now(self) -> None:
        """Close at once; whoever it is, nobody waits for an answer."""
        super().handle_close()

    def received(self, data: bytes) -> bool:
        return self._lingers_until is None and bool(super().received(data))

    def handle_close(self) -> None:
        """Close; after a refusal that came early only once the other side has seen it.

        What is unread when a socket closes makes the kernel reset the connection, and the answer is lost.
        """
        if self.lingers and self._lingers_until is None:
            self._lingers_until = time.monotonic() + _LINGER_SECONDS
            self.will_close = False
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:  # it is gone already
                super().handle_close()
            return
        super().handle_close()

    def end_if_slow(self, limit_seconds: float) -> None:
        """End a request that has been coming in for too long, byte by byte or not at all.

        The connection is closed; where there was no room to read on, with an answer. One on which nothing
        begins, or whose other side doesn't take its answer, is closed too, and that is nothing to tell of.

        Whoever was refused, and goes on sending, has less time.
        """
        if self._lingers_until is not None and time.monotonic() > self._lingers_until:
            self.will_close = True
        if self.requests:
            return
        request = self.request
        if request is None:
            self.will_close |= time.time() - self.last_activity > limit_seconds
        elif time.monotonic() - request.begun > limit_seconds:
            self._end_slow_request(limit_seconds)

    def _end_slow_request(self, limit_seconds: float) -> None:
        if self.is_held_back or not self._may_read():  # it is we who are slow
            self.refuse_for_want_of_room()
            return
        get_logger().warning("too slow", peer=self.addr[0], seconds=limit_seconds)
        if self.request.headers_finished and self.request.command == "POST" and not self.will_close:
            _count_refused(self, self.request, Answer.BAD_REQUEST, "too slow")
        self.will_close = True
