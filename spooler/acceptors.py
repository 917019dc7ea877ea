"""Acceptors: threads that take connections and answer them at once, if their requests have come in whole.

Owns: accepting, and the short way from the wire to the answer, by one thread from beginning to end: handing
a request from thread to thread costs more than all the rest. What waits to be accepted at the same time is
answered together: most of the time goes into waiting for the disk, and for many it's hardly longer.
Promises: what isn't a whole, valid request within a moment is handed to the loop with what has come of it,
so that nobody can hold up a thread by being slow. For want of descriptors connections wait to be accepted,
and are, a moment after there are some.
Does not promise: to judge anything; what is wrong in the least goes the long way (`spooler.server`). Or to
have a thread for everybody: when all wait for the disk, the loop accepts, a second later at most.
Logs: that none can be accepted, once a minute.
"""

import errno
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from spooler.accepted import Accepted
from spooler.http_requests import answer_all
from spooler.log import get_logger
from spooler.plain_request import PlainRequests
from spooler.wake import Wake

_THREADS = 2  # one works while the other waits for the disk; more would wait for Python's lock
_TOGETHER = 16  # connections; for many the disk takes little longer than for one
_MOST_HANDED_OVER = 100  # that the loop hasn't looked at yet
_PAUSE_SECONDS = 0.2
_NOTHING_LEFT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_TELL_AGAIN_SECONDS = 60.0


class Acceptors:
    """Accepts on the sockets of waitress's servers, from `start` to `stop`."""

    def __init__(self, servers: Sequence[Any], wake_loop: Callable[[], None]) -> None:
        """wake_loop: called when something was handed over."""
        self._servers = {server.socket.fileno(): server for server in servers}
        self._plain = {server: PlainRequests(server) for server in servers}
        self._wake_loop = wake_loop
        self._stop = Wake()
        self._stopping = False
        self._room = threading.Semaphore(_MOST_HANDED_OVER)
        self._handed_over: deque[Accepted] = deque()
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
        # RACE: a thread may hand over, and end, in between: so what it left is looked at last.
        return any(thread.is_alive() for thread in self._threads) or bool(self._handed_over)

    def take(self, most: int) -> list[Accepted]:
        """Return what was handed over since the last time, so many at most."""
        taken: list[Accepted] = []
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
                        try:
                            self._serve(server)  # some, for another socket has its turn too
                        except Exception:  # noqa: BLE001 - the outermost frame of a thread, which is to live on
                            get_logger().exception("defect")

    def _serve(self, server: Any) -> None:
        """Take the connections that wait, and answer those together whose requests are whole."""
        coming = self._accept(server)
        while coming:
            self._receive(server, coming)
            whole = [one for one in coming if one.environ is not None]
            # Before some are answered, which takes time: who is late by that is read once more.
            waited_for, left = _divided(one for one in coming if one.environ is None)
            left = [one for one in left if not self._leave(one, may_wait=False)]
            self._answer(server, whole)
            # Only now, for whoever is whole has nothing to wait for.
            for one in left:
                self._leave(one, may_wait=True)
            coming = waited_for

    def _accept(self, server: Any) -> list[Accepted]:
        taken: list[Accepted] = []
        while len(taken) < _TOGETHER:
            try:
                connection, address = server.socket.accept()
            except OSError as error:
                if error.errno in _NOTHING_LEFT and not taken:
                    self._tell(error)
                    self._stop.wait(_PAUSE_SECONDS)
                break  # another thread was quicker, or it is gone already
            taken.append(Accepted(server, connection, server.fix_addr(address), time.monotonic()))
        return taken

    def _tell(self, error: OSError) -> None:
        if time.monotonic() - self._told_at >= _TELL_AGAIN_SECONDS:
            self._told_at = time.monotonic()
            get_logger().error("can't accept", reason=error.strerror)

    def _receive(self, server: Any, coming: Sequence[Accepted]) -> None:
        """Take what has come; if nobody has sent anything more, what comes within a moment."""
        plain = self._plain[server]
        if sum(_received(one, plain) for one in coming) == 0:
            _wait(coming)
            for one in coming:
                _received(one, plain)

    def _answer(self, server: Any, whole: Sequence[Accepted]) -> None:
        environs = [one.environ for one in whole if one.environ is not None]
        try:
            answers = answer_all(server.application, environs) if whole else []
        except Exception:  # noqa: BLE001 - those who wait for their moment are still to be answered
            get_logger().exception("defect")
            answers = [b""] * len(whole)
        for one, written in zip(whole, answers, strict=True):
            try:
                one.answer(written)
            except OSError:  # the other side is gone
                one.socket.close()

    def _leave(self, one: Accepted, *, may_wait: bool) -> bool:
        """Let the loop wait for its request, or refuse it. Returns whether there was room for it."""
        if one.ended and not one.received:
            one.socket.close()
        elif self._room.acquire(blocking=may_wait):
            self._handed_over.append(one)
            self._wake_loop()
        else:
            return False
        return True


def _divided(coming: Iterable[Accepted]) -> tuple[list[Accepted], list[Accepted]]:
    """Return those whose request may be whole soon, and the others."""
    waited_for: list[Accepted] = []
    left: list[Accepted] = []
    for one in coming:
        (waited_for if one.goes_on and one.moment_left > 0 else left).append(one)
    return waited_for, left


def _received(one: Accepted, plain: PlainRequests) -> bool:
    """Take what has come on a connection; say whether anything has."""
    try:
        return one.receive(plain)
    except OSError:  # the other side is gone
        one.received, one.ended, one.goes_on = b"", True, False
    except Exception:  # noqa: BLE001 - a defect costs a connection, and no thread
        get_logger().exception("defect")
        one.received, one.ended, one.goes_on = b"", True, False
    return True


def _wait(coming: Sequence[Accepted]) -> None:
    """Wait until something comes on one of them, for the moment that the first of them has left."""
    left_seconds = coming[0].moment_left
    if left_seconds > 0:
        poll = select.poll()
        for one in coming:
            poll.register(one.socket, select.POLLIN)
        poll.poll(left_seconds * 1000)
