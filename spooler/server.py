"""One worker process's HTTP server: waitress, its limits, and its orderly end.

Owns: the loop around waitress, its settings, and the deadlines of connections. What comes in whole doesn't
get here; see `spooler.acceptors`.
Promises: on the way out every request that has begun is answered, and what waits to be accepted on a socket
of our own is accepted first. A request that drips in is cut. All of them together are bounded.
Does not promise: processes or signals; those are `spooler.supervisor`'s.
"""

import ctypes
import resource
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from waitress import wasyncore
from waitress.server import BaseWSGIServer, create_server

from spooler.accepted import Accepted
from spooler.acceptors import Acceptors
from spooler.connection import Channel
from spooler.crowd import Crowd
from spooler.listening import BACKLOG, Listener

REQUEST_WITHIN_SECONDS = 10.0  # for all of a request to come in
_DRAIN_SECONDS = 12.0
_FIRST_BYTE_SECONDS = 1.0  # on the way out, for an accepted connection to begin its request
_THREADS = 8
_CONNECTIONS = 1000
_SPARE_CONNECTIONS = 100  # until the crowd has made places
_MAX_HEADER_BYTES = 16 << 10
_OVER_LIMIT_BYTES = 1 << 20  # more than is read at once
_LOOK_SECONDS = 1.0
_NEVER_SECONDS = 1 << 31
_FULL_SECONDS = 0.02  # nothing is read meanwhile, so nothing wakes the loop but answers
_SCARCE_SECONDS = 0.1  # some wait for room, and others may have to make it
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


class Server:
    """Serves an application on listening sockets, until told to stop."""

    def __init__(
        self,
        application: Callable[..., Any],
        listeners: Sequence[Listener],
        max_body_bytes: int,
        *,
        request_within_seconds: float = REQUEST_WITHIN_SECONDS,
    ) -> None:
        _raise_file_limit()
        _give_memory_back()
        self._listeners = listeners
        self._request_within_seconds = request_within_seconds
        self._stopping = False
        self._connections = _connection_limit()
        self._crowd = Crowd(self._connections, max_body_bytes)
        self._waitress = create_server(
            application,
            sockets=[listener.socket for listener in listeners],
            threads=_THREADS,
            backlog=BACKLOG,
            connection_limit=self._connections + _SPARE_CONNECTIONS,
            # The deadlines are ours (`Channel.end_if_slow`): waitress would close what came in halfway, too,
            # and a request that was given up would be in no log and no count.
            channel_timeout=_NEVER_SECONDS,
            channel_request_lookahead=0,
            max_request_header_size=_MAX_HEADER_BYTES,
            # waitress refuses what reaches its limit; ours is what may be reached.
            max_request_body_size=max_body_bytes + 1,
            # Bodies stay in memory: there may be no folder for temporary files. waitress looks at its limit
            # only after it has taken what came over it.
            inbuf_overflow=max_body_bytes + _OVER_LIMIT_BYTES,
            asyncore_use_poll=True,
            ident=None,
            expose_tracebacks=False,
            log_socket_errors=False,
            # spooler.proxy decides whom to believe; waitress would take X-Forwarded-For away from it.
            clear_untrusted_proxy_headers=False,
        )
        one_socket = isinstance(self._waitress, BaseWSGIServer)
        self._map = self._waitress._map if one_socket else self._waitress.map
        self._servers = [entry for entry in self._map.values() if isinstance(entry, BaseWSGIServer)]
        for server in self._servers:
            server.channel_class = partial(Channel, self._crowd.may_read)
            server.accepting = False
        self._acceptors = Acceptors(self._servers, self._servers[0].pull_trigger)

    def stop(self) -> None:
        """Ask for the orderly end; may be called from a signal handler."""
        self._stopping = True
        self._servers[0].pull_trigger()

    def run(self, each_second: Callable[[], None]) -> None:
        """Serve until `stop`, then answer what has begun."""
        look_at = 0.0
        self._acceptors.start()
        while not self._stopping:
            self._turn(_LOOK_SECONDS)
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + _LOOK_SECONDS
                each_second()
                self._end_slow()
                self._accept_here()
        self._drain()

    def _turn(self, timeout_seconds: float) -> None:
        if self._crowd.is_full:
            timeout_seconds = min(timeout_seconds, _FULL_SECONDS)
        if self._crowd.is_scarce:
            timeout_seconds = min(timeout_seconds, _SCARCE_SECONDS)
        wasyncore.loop(timeout=timeout_seconds, map=self._map, use_poll=True, count=1)
        for handed in self._acceptors.take(self._places):
            self._take(handed)
        self._crowd.thin(self._channels())

    def _accept_here(self) -> None:
        """Take what waits: all acceptors may be waiting for a disk that hangs.

        Time runs from a request's first byte, and what has waited for too long isn't stored any more.
        RACE: a process that is killed, or stopped, takes the wake-up of a connection with it.
        """
        for server in self._servers:
            _accept(server, self._places)

    @property
    def _places(self) -> int:
        """How many more connections may be held."""
        return max(0, self._connections + _SPARE_CONNECTIONS - len(self._channels()))

    def _take(self, handed: Accepted) -> None:
        """Go on with a connection that an acceptor couldn't answer at once."""
        server = handed.server
        channel = server.channel_class(server, handed.socket, handed.address, server.adj, map=self._map)
        if handed.received:
            try:
                channel.received(handed.received)
            except Exception:  # noqa: BLE001 - as where waitress reads: it costs a connection, not the process
                channel.handle_error()

    def _channels(self) -> list[Channel]:
        return [channel for server in self._servers for channel in list(server.active_channels.values())]

    def _end_slow(self) -> None:
        for channel in self._channels():
            channel.end_if_slow(self._request_within_seconds)

    def _drain(self) -> None:
        self._acceptors.stop()
        for server, listener in zip(self._servers, self._in_order(), strict=True):
            if not listener.handed_over:
                _accept(server, BACKLOG)
            server.del_channel()
            server.socket.close()
        begun = time.monotonic()
        while time.monotonic() - begun < _DRAIN_SECONDS:
            waiting = time.monotonic() - begun < _FIRST_BYTE_SECONDS
            open_channels = self._channels()
            waited_for = [one for one in open_channels if one.waits_for_answer or waiting]
            if not (waited_for or self._acceptors.busy):
                break
            self._turn(0.05)
            self._end_slow()
        self._waitress.task_dispatcher.shutdown(timeout=1)

    def _in_order(self) -> list[Listener]:
        by_descriptor = {listener.socket.fileno(): listener for listener in self._listeners}
        return [by_descriptor[server.socket.fileno()] for server in self._servers]


def _accept(server: Any, most: int) -> None:
    """Take what the kernel has accepted for us: when the socket closes, it would be cut."""
    poll = select.poll()
    poll.register(server.socket, select.POLLIN)
    for _ in range(most):
        if not poll.poll(0):
            return
        server.handle_accept()


def _raise_file_limit() -> None:
    """Take as many descriptors as we may: waitress spins when it can't accept for want of one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * _CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 4 * _CONNECTIONS)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _give_memory_back() -> None:
    """Let what large bodies took go back to the system at once, and not stay with each thread for the next.

    Source: mallopt(3). Another C library than GNU's has no such call, and no such habit.
    """
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 128 << 10)
        mallopt(_M_ARENA_MAX, 2)


def _connection_limit() -> int:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(_CONNECTIONS, soft // 3))
