"""Where to listen: `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/spooler/receiver.sock`.

Owns: the notation.
Promises: pure; nothing is looked up or opened.
"""

import ipaddress
import re
from contextlib import suppress

_UNIX = "unix:"
_TCP = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:\[\]\s]+)):(?P<port>\d{1,5})")


class Address:
    """A Unix socket's path, or a host and a TCP port; what isn't meant is empty."""

    def __init__(self, unix_path: str = "", host: str = "", port: int = 0) -> None:
        self.unix_path = unix_path
        self.host = host
        self.port = port

    @classmethod
    def parse(cls, text: object) -> "Address":
        """Read an address. Raises: ValueError."""
        if not isinstance(text, str):
            text = repr(text)
        if text.startswith(_UNIX) and len(text) > len(_UNIX):
            return cls(unix_path=text.removeprefix(_UNIX))
        found = _TCP.fullmatch(text)
        if found is None or not 0 <= int(found["port"]) <= 65535:
            raise ValueError(
                f'{text!r} is no address; write for example "127.0.0.1:8080", "[::1]:8080" '
                f'or "unix:/run/spooler/receiver.sock"'
            )
        host = found["six"] or found["host"]
        with suppress(ValueError):
            host = str(ipaddress.ip_address(host))
        return cls(host=host, port=int(found["port"]))

    def __str__(self) -> str:
        if self.unix_path:
            return _UNIX + self.unix_path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
