"""A connection: one request, from its first byte to the close.

Owns: how long a request may take to come in, who makes steps and who stands still, and what is done with a
connection when its time is over.
Promises: each request that has begun is answered, or told of in the log and counted. An answer arrives: what
the sender still sends is read for a moment, and thrown away.
Does not promise: which of many go first; that is `spooler.crowd`'s. To work with another waitress than 3.0:
it relies on that version's inner parts.
"""

import fcntl
import socket
import termios
import time
from array import array
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.utilities import BadRequest, Error

from spooler.answers import Answer
from spooler.http_requests import ErrorTask, NoRoomError, Parser, Task, count_refused
from spooler.log import get_logger

_LINGER_SECONDS = 2.0
_STEP_BYTES = 64 << 10  # of a large body; whether we have read it yet or the kernel holds it
_FIRST_STEP_BYTES = 8 << 10
_READ_BYTES = 128 << 10  # at once, of a body for which there is room


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection; `may_read` says whether there is room for more of any request."""

    parser_class = Parser
    task_class = Task
    error_task_class = ErrorTask
    request: Any = None  # on its way in
    lingers = False  # what the sender is still sending is to be read before the connection is closed
    is_held_back = False  # until there is room for the rest of its request
    _step_at = 0.0  # when the last one was seen, or it was let read on (monotonic seconds)
    _step_bytes = 0  # that had come in by then
    _lingers_until: float | None = None

    def __init__(self, may_read: Callable[[], bool], *given: Any, **named: Any) -> None:
        self._may_read = may_read
        super().__init__(*given, **named)

    def readable(self) -> bool:
        return self._may_read() and not self.is_held_back and bool(super().readable())

    def recv(self, buffer_size: int) -> bytes:
        """Read; more at once of a large body: among many, each turn of the loop takes long.

        No more than surely belongs to it: what lies behind it nobody reads, and it would be in no count.
        """
        certain = self.request.bytes_certain if self.request is not None else 0
        received: bytes = super().recv(max(buffer_size, min(certain, _READ_BYTES)))
        return received

    def hold_back(self) -> None:
        """Read nothing more until there is room; that is nobody's silence."""
        self.is_held_back = True
        self.last_activity = time.time()

    def let_read(self) -> None:
        """Go on reading what had to wait for room."""
        self.is_held_back = False
        self.begin_step()

    def begin_step(self) -> None:
        """From now on it's the other side that takes its time."""
        self._step_at = time.monotonic()
        self._step_bytes = self.bytes_coming

    def stands_still_since(self, now: float) -> float:
        """Since when the request on its way in has made no step, as far as was looked (monotonic seconds)."""
        unread = 0 if self.is_held_back else _unread_bytes(self.socket)
        come = self.bytes_coming + unread
        # A connection from far away sends little at first, and twice as much each time that it was heard of.
        step = min(_STEP_BYTES, max(_FIRST_STEP_BYTES, self._step_bytes))
        if come - self._step_bytes >= step or unread >= min(step, max(1, self.bytes_to_come)):
            self._step_at, self._step_bytes = now, come
        begun: float = self.request.begun
        return max(self._step_at, begun)

    def is_slow(self, now: float, step_seconds: float) -> bool:
        """Say whether a request on its way in takes longer for a step, at that moment (monotonic seconds)."""
        return now - self.stands_still_since(now) > step_seconds

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
    def bytes_taken(self) -> int:
        """What a request takes that is on its way in, with what is reserved for the rest of it."""
        return self.bytes_coming + (0 if self.is_held_back else self.bytes_to_come)

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
        self._refuse(NoRoomError("too much comes in at once"))

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
            count_refused(self, self.request, Answer.BAD_REQUEST, "too slow")
        self.will_close = True


def _unread_bytes(connection: socket.socket) -> int:
    """Return how much has come that nobody has read. Source: ioctl(2), FIONREAD."""
    count = array("i", [0])
    try:
        fcntl.ioctl(connection, termios.FIONREAD, count)
    except OSError:  # it is closed
        return 0
    return count[0]
