"""An accepted connection: what has come of its request, as long as one moment may be waited for it.

Owns: when a request is whole, and when it goes the long way instead.
Promises: nothing here waits. Of a large request no more is read than of any other.
Does not promise: to judge anything; what is wrong in the least is for `spooler.server`.
"""

import socket
import time
from dataclasses import dataclass, field
from typing import Any

from spooler.http_requests import Parser, Task
from spooler.plain_request import PlainRequests

MOMENT_SECONDS = 0.002
_READ_BYTES = 4 << 10
_LARGE_BYTES = 64 << 10


@dataclass(slots=True)
class Accepted:
    """A connection: to which of waitress's servers it came, from where, when, and what was read from it.

    begun: on the monotonic clock. environ: of WSGI, once the request is whole and valid.
    ended: the other side has said that nothing more will come. goes_on: the request may become whole soon.
    """

    server: Any
    socket: socket.socket
    address: Any
    begun: float
    received: bytes = b""
    environ: dict[str, Any] | None = None
    ended: bool = False
    goes_on: bool = True
    _parser: Parser | None = field(default=None, repr=False)

    @property
    def moment_left(self) -> float:
        """How many seconds it may still be waited for."""
        return self.begun + MOMENT_SECONDS - time.monotonic()

    def receive(self, plain: PlainRequests) -> bool:
        """Take what has come. Returns whether anything has. Raises: OSError (the other side is gone)."""
        before = len(self.received)
        while self.goes_on and (more := self._read()):
            self.received += more
            if self._parser is None:
                self.environ = plain.read(self.received, self.address, self.begun)
            if self.environ is None:
                self._parse(more)
            self.goes_on = self.goes_on and self.environ is None
        return self.ended or len(self.received) > before

    def _read(self) -> bytes:
        try:
            more = self.socket.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""
        if not more:
            self.ended, self.goes_on = True, False
        return more

    def _parse(self, more: bytes) -> None:
        """Go on reading a request that isn't plain, or didn't come in a piece."""
        request = self._parser = self._parser or Parser(self.server.adj, self.begun)
        rest = more
        while rest and not request.completed:
            rest = rest[request.received(rest) :]
        if request.completed and not (request.error or request.empty or rest):
            self.environ = Task(self, request).get_environment()
        # Of a large one no more is read than of all others: the loop sees to it that they take turns.
        elif request.completed or len(self.received) + request.bytes_to_come > _LARGE_BYTES:
            self.goes_on = False

    def answer(self, written: bytes) -> None:
        """Write the answer, and close. Raises: OSError."""
        self.environ = None  # it refers to us: the body would take its memory for long after
        self.socket.send(written, socket.MSG_DONTWAIT)
        self.socket.close()

    # What waitress's task asks a channel for.

    @property
    def addr(self) -> Any:
        return self.address

    @property
    def adj(self) -> Any:
        return self.server.adj

    def check_client_disconnected(self) -> bool:
        return self.ended
