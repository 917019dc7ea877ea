"""Listening sockets: handed over by systemd, or opened as the configuration says.

Owns: the forms of `listen`, and the hand-over protocol (`LISTEN_FDS`, sd_listen_fds(3)).
Promises: a socket from systemd wins. A Unix socket that nobody listens on any more is replaced; one that
somebody does is left alone.
Does not promise: TLS; a proxy in front does that.
"""

import ipaddress
import os
import re
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spooler.errors import ConfigurationError

BACKLOG = 1024
_FIRST_FD = 3
_UNIX = "unix:"
_UNIX_MODE = 0o660
_TCP = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. `handed_over`: systemd keeps it, and what waits in it, over a restart."""

    socket: socket.socket
    handed_over: bool

    @property
    def address(self) -> str:
        """The address for people: a URL's beginning, or `unix:` and a path."""
        if self.socket.family == socket.AF_UNIX:
            return _UNIX + str(self.socket.getsockname())
        host, port = self.socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def listen(address: str) -> list[Listener]:
    """Return the sockets from systemd, or one bound to `address`. Raises: ConfigurationError."""
    handed_over = _from_systemd()
    if handed_over:
        return [Listener(one, handed_over=True) for one in handed_over]
    try:
        bound = _unix(Path(address[len(_UNIX) :])) if address.startswith(_UNIX) else _tcp(address)
    except OSError as error:
        raise ConfigurationError(f"receiver.listen: can't listen on {address}: {error.strerror}") from None
    bound.listen(BACKLOG)
    return [Listener(bound, handed_over=False)]


def _from_systemd() -> list[socket.socket]:
    meant_for_us = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    count = os.environ.pop("LISTEN_FDS", "0")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not meant_for_us or not count.isdigit():
        return []
    found = []
    for descriptor in range(_FIRST_FD, _FIRST_FD + int(count)):
        os.set_inheritable(descriptor, False)
        found.append(socket.socket(fileno=descriptor))
    return found


def parse_tcp(address: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:8080` or `[::1]:8080`. Raises: ConfigurationError."""
    found = _TCP.fullmatch(address)
    if found is None or int(found["port"]) > 65535:
        raise ConfigurationError(
            f'receiver.listen: {address!r} is no address; write for example "127.0.0.1:8080", "[::1]:8080" '
            f'or "unix:/run/spooler/receiver.sock"'
        )
    host = found["six"] or found["host"]
    with suppress(ValueError):
        return str(ipaddress.ip_address(host)), int(found["port"])
    return host, int(found["port"])


def _tcp(address: str) -> socket.socket:
    host, port = parse_tcp(address)
    family, kind, protocol, _name, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(where)
    except OSError:
        bound.close()
        raise
    return bound


def _unix(path: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode) and not _somebody_listens(path):
            path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(_UNIX_MODE)
    except OSError:
        bound.close()
        raise
    return bound


def _somebody_listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
        return True
