"""Listening sockets: handed over by systemd, or opened as the configuration says.

Owns: opening sockets, and the hand-over protocol (`LISTEN_FDS`, sd_listen_fds(3)).
Promises: a socket from systemd wins. A Unix socket that nobody listens on any more is replaced; one that
somebody does is left alone.
Does not promise: TLS; a proxy in front does that.
"""

import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spooler.address import Address
from spooler.errors import ConfigurationError

BACKLOG = 1024
_FIRST_FD = 3
_UNIX_MODE = 0o660


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. `handed_over`: systemd keeps it, and what waits in it, over a restart."""

    socket: socket.socket
    handed_over: bool

    @property
    def address(self) -> str:
        """The address for people: a URL's beginning, or `unix:` and a path."""
        if self.socket.family == socket.AF_UNIX:
            return str(Address(unix_path=str(self.socket.getsockname())))
        host, port = self.socket.getsockname()[:2]
        return f"http://{Address(host=host, port=port)}"


def listen(address: Address) -> list[Listener]:
    """Return the sockets from systemd, or one bound to `address`. Raises: ConfigurationError."""
    handed_over = _from_systemd()
    if len({one.family == socket.AF_UNIX for one in handed_over}) > 1:
        raise ConfigurationError("LISTEN_FDS: both TCP and Unix sockets; hand over those of one kind")
    if handed_over:
        return [Listener(one, handed_over=True) for one in handed_over]
    return [bind(address, "receiver.listen")]


def bind(address: Address, key: str) -> Listener:
    """Return a socket on the address that `key` of the configuration names. Raises: ConfigurationError."""
    try:
        bound = _unix(Path(address.unix_path)) if address.unix_path else _tcp(address)
    except (OSError, UnicodeError) as error:  # UnicodeError: of a name that can't be one
        reason = getattr(error, "strerror", None) or error  # a path that is too long has no number
        raise ConfigurationError(f"{key}: can't listen on {address}: {reason}") from None
    bound.listen(BACKLOG)
    return Listener(bound, handed_over=False)


def _from_systemd() -> list[socket.socket]:
    meant_for_us = os.environ.pop("LISTEN_PID", "") == str(os.getpid())
    count = os.environ.pop("LISTEN_FDS", "0")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not meant_for_us or not count.isdigit():
        return []
    return [_handed_over(descriptor) for descriptor in range(_FIRST_FD, _FIRST_FD + int(count))]


def _handed_over(descriptor: int) -> socket.socket:
    where = f"LISTEN_FDS: descriptor {descriptor}"
    try:
        os.set_inheritable(descriptor, False)
        found = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigurationError(f"{where} is no socket: {error.strerror}") from None
    if found.type != socket.SOCK_STREAM:
        raise ConfigurationError(f"{where} is no stream socket; the .socket unit needs ListenStream=")
    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ConfigurationError(f"{where} doesn't listen; the .socket unit needs Accept=no")
    return found


def _tcp(address: Address) -> socket.socket:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    family, kind, protocol, _name, where = found[0]
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
