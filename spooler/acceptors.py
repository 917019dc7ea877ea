"""Acceptors: threads that take a connection and answer it at once, if its request has come in whole.

Owns: accepting, and the short way from the wire to the answer, by one thread from beginning to end: handing
a request from thread to thread costs more than all the rest.
Promises: what isn't a whole, valid request within a moment is handed to the loop with what has come of it,
so that nobody can hold up a thread by being slow. For want of descriptors connections wait to be accepted,
and are, a moment after there are some.
Does not promise: to judge anything; what is wrong in the least goes the long way (`spooler.server`). Or to
have a thread for everybody: when all wait for the disk, the loop accepts, a second later at most.
Logs: that none can be accepted, once a minute.
"""

import errno
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from spooler.http_requests import Parser, Task
from spooler.log import get_logger
from spooler.wake import Wake

_THREADS = 8  # they mostly wait for the disk
_READ_BYTES = 4 << 10
_LARGE_BYTES = 64 << 10
_MOMENT_SECONDS = 0.002
_MOST_HANDED_OVER = 100  # that the loop hasn't looked at yet
_PAUSE_SECONDS = 0.2
_NOTHING_LEFT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_TELL_AGAIN_SECONDS = 60.0


class HandedOver(NamedTuple):
    """A connection for the loop: to which of waitress's servers it came, from where, and what was read."""

    server: Any
    connection: socket.socket
    address: Any
    received: bytes


class Acceptors:
    """Accepts on the sockets of waitress's servers, from `start` to `stop`."""

    def __init__(self, servers: Sequence[Any], wake_loop: Callable[[], None]) -> None:
        """wake_loop: called when something was handed over."""
        self._servers = {server.socket.fileno(): server for server in servers}
        self._wake_loop = wake_loop
        self._stop = Wake()
        self._stopping = False
        self._room = threading.Semaphore(_MOST_HANDED_OVER)
        self._handed_over: deque[HandedOver] = deque()
        self._told_at = -_TELL_AGAIN_SECONDS
        self._threads = [
            threading.Thread(target=self._run, args=[self._poll()], name=f"acceptor-{number}", daemon=True)
            for number in range(1, _THREADS + 1)
        ]

    def start(self) -> None:
        """Begin to accept."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Accept nothing more. What is being answered is, by threads that are `busy` as long."""
        self._stopping = True
        self._stop.set()
        self._room.release(_THREADS)

    @property
    def busy(self) -> bool:
        """Whether some thread hasn't ended, or handed over what nobody has taken."""
        return bool(self._handed_over) or any(thread.is_alive() for thread in self._threads)

    def take(self, most: int) -> list[HandedOver]:
        """Return what was handed over since the last time, so many at most."""
        taken: list[HandedOver] = []
        while self._handed_over and len(taken) < most:
            taken.append(self._handed_over.popleft())
            self._room.release()
        return taken

    def _poll(self) -> select.epoll:
        poll = select.epoll()
        poll.register(self._stop.fileno(), select.EPOLLIN)
        for descriptor in self._servers:
            # One thread of all processes is woken by a connection, and not every one.
            poll.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        return poll

    def _run(self, poll: select.epoll) -> None:
        with poll:
            while not self._stopping:
                for descriptor, _event in poll.poll():
                    server = self._servers.get(descriptor)
                    if server and not self._stopping:
                        self._serve(server)  # one, for another socket has its turn too

    def _serve(self, server: Any) -> None:
        """Take the next connection, if there is one."""
        try:
            connection, address = server.socket.accept()
        except OSError as error:
            if error.errno in _NOTHING_LEFT:
                self._tell(error)
                self._stop.wait(_PAUSE_SECONDS)
            return  # another thread was quicker, or it is gone already
        try:
            self._answer(server, connection, server.fix_addr(address))
        except OSError:  # the other side is gone
            connection.close()
        except Exception:  # noqa: BLE001 - the outermost frame of a thread, which is to live on
            get_logger().exception("defect")
            connection.close()

    def _tell(self, error: OSError) -> None:
        if time.monotonic() - self._told_at >= _TELL_AGAIN_SECONDS:
            self._told_at = time.monotonic()
            get_logger().error("can't accept", reason=error.strerror)

    def _answer(self, server: Any, connection: socket.socket, address: Any) -> None:
        connection.setblocking(False)
        request, received = Parser(server.adj), b""
        while True:
            more = self._read(connection, request.begun)
            received += more
            rest = more
            while rest and not request.completed:
                rest = rest[request.received(rest) :]
            is_late = time.monotonic() - request.begun > _MOMENT_SECONDS
            # Of a large one no more is read than of all others: the loop sees to it that they take turns.
            is_large = len(received) + request.bytes_to_come > _LARGE_BYTES
            if request.completed or not more or is_late or is_large:
                break
        if not request.completed or request.error or request.empty or rest:
            self._hand_over(HandedOver(server, connection, address, received))
            return
        exchange = _Exchange(server, address)
        Task(exchange, request).service()
        connection.send(b"".join(exchange.written))
        connection.close()

    def _read(self, connection: socket.socket, begun: float) -> bytes:
        """Return what comes within a moment from then on; nothing, if nothing does."""
        with suppress(BlockingIOError):
            return connection.recv(_READ_BYTES)
        left_seconds = begun + _MOMENT_SECONDS - time.monotonic()
        if left_seconds > 0:
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            if poll.poll(left_seconds * 1000):
                return connection.recv(_READ_BYTES)
        return b""

    def _hand_over(self, what: HandedOver) -> None:
        self._room.acquire()
        self._handed_over.append(what)
        self._wake_loop()


class _Exchange:
    """What waitress's task wants of a channel: where the request came from, and somewhere to write."""

    def __init__(self, server: Any, address: Any) -> None:
        self.server, self.adj, self.addr = server, server.adj, address
        self.written: list[bytes] = []
        self.write_soon = self.written.append

    def check_client_disconnected(self) -> bool:
        return False
