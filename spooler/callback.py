"""One request to a callback URL: a signed POST, and what came of it.

Owns: the connection, the request's headers, and the deadline that all of it shares.
Promises: a receiver that hangs or drips costs no more than the time-out, whatever it sends meanwhile.
A reply that was cut short is no reply. Redirects and proxies are not followed.
Does not promise: a limit on the time that resolving a host's name takes.
"""

import functools
import http.client
import io
import socket
import ssl
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from spooler.delivery import REPLY_WAIT_SECONDS
from spooler.signature import HEADER

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request: a status, or `None` and the error's words; `seconds` is the whole time."""

    status: int | None
    error: str
    seconds: float


def check_url(url: str) -> SplitResult:
    """Return the URL's parts. Raises: ValueError, whose text says what is wrong with it."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError("write it in ASCII and without spaces (escape other characters as %XX)")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("it must start with http:// or https://")
    if not parts.hostname or parts.port == 0:
        raise ValueError("it names no host and port to connect to")
    if "@" in parts.netloc:
        raise ValueError("it holds a user name; only the signature says who is sending")
    return parts


def post(url: str, body: bytes, signature: str, timeout_seconds: float = REPLY_WAIT_SECONDS) -> Reply:
    """Make one signed POST; connecting, sending and the whole reply share `timeout_seconds`.

    Raises: ValueError for a URL that `check_url` refuses. What happens on the network is a Reply.
    """
    parts = check_url(url)
    started = time.monotonic()
    deadline = _Deadline(started + timeout_seconds)
    status, error = None, ""
    try:
        status = _exchange(parts, body, signature, deadline)
    except TimeoutError:
        error = f"no whole reply within {timeout_seconds:g} s"
    except (OSError, http.client.HTTPException) as problem:
        error = _words(problem)
    return Reply(status, error, time.monotonic() - started)


def _words(problem: Exception) -> str:
    # TRUST: some of these texts quote what the receiver sent.
    text = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return text.encode("unicode_escape").decode("ascii")[:200]


def _exchange(parts: SplitResult, body: bytes, signature: str, deadline: "_Deadline") -> int:
    host, is_https = parts.hostname or "", parts.scheme == "https"
    with closing(_connect(host, parts.port or (443 if is_https else 80), deadline)) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        deadline.limit(plain)
        wire = _tls().wrap_socket(plain, server_hostname=host) if is_https else plain
        with closing(wire):
            connection = http.client.HTTPConnection(host)
            connection.sock = _TimedSocket(wire, deadline)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = {"Host": parts.netloc, "Content-Type": "application/json", HEADER: signature}
            # A receiver may refuse (413, 503) and close before it read everything: its answer counts.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", target, body, {**headers, "Connection": "close"})
            with connection.getresponse() as response:
                while response.read(65536):
                    pass
                if response.length:  # a chunked reply that ends early raises by itself
                    raise http.client.HTTPException("the reply ended early")
                return response.status


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _connect(host: str, port: int, deadline: "_Deadline") -> socket.socket:
    problem: OSError | None = None
    # As bytes, so that an odd name is unknown to the resolver instead of an error of a codec.
    addresses = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in addresses:
        candidate = socket.socket(family, kind, protocol)
        try:
            deadline.limit(candidate)
            candidate.connect(address)
        except OSError as error:  # "localhost" is often ::1 first, where nothing listens
            candidate.close()
            problem = error
        else:
            return candidate
    raise problem or OSError(f"no address for {host}")


@dataclass(frozen=True, slots=True)
class _Deadline:
    at: float  # of the monotonic clock

    def limit(self, wire: socket.socket) -> None:
        """Let the next wait of `wire` end at the deadline. Raises: TimeoutError when that is past."""
        left_seconds = self.at - time.monotonic()
        if left_seconds <= 0:
            raise TimeoutError
        wire.settimeout(left_seconds)


class _TimedSocket:
    """As much of a socket as http.client uses, each wait cut at the one deadline.

    A socket's own time-out begins anew with each read: a receiver that drips would stretch it for ever.
    """

    def __init__(self, wire: socket.socket, deadline: _Deadline) -> None:
        self._wire = wire
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._deadline.limit(self._wire)
            left = left[self._wire.send(left) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._wire, self._deadline))

    def close(self) -> None:
        """Do nothing: http.client closes before the body is read; the socket belongs to the caller."""


class _TimedReader(io.RawIOBase):
    def __init__(self, wire: socket.socket, deadline: _Deadline) -> None:
        self._wire = wire
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        self._deadline.limit(self._wire)
        return self._wire.recv_into(buffer)
