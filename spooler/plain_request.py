"""A plain request: one that came in a piece and can be read in one way only, read in one pass.

Owns: what counts as plain. That is less than HTTP allows: what senders and proxies write every day.
Promises: the environment is what waitress makes of the same bytes, to the letter (a test compares them). What
differs from plain in the least is nobody's loss: `spooler.http_requests` reads it, and judges it.
Does not promise: to refuse anything.
Source of the environment: PEP 3333.
"""

import io
import re
import sys
from functools import lru_cache
from typing import Any

from spooler.endpoint import BEGUN

# Quantifiers that give nothing back: that a request isn't plain is found out in one pass, too.
_REQUEST = re.compile(
    rb"POST ((?:/[A-Za-z0-9_-]++)++) HTTP/(1\.[01])\r\n"
    rb"((?:[A-Za-z0-9-]++: [!-~]++(?: ++[!-~]++)*+\r\n)++)\r\n"
)
_NOT_PLAIN = ("HTTP_TRANSFER_ENCODING", "HTTP_EXPECT")
_MOST_DIGITS = 9  # of a length


class PlainRequests:
    """Reads those that come to one of waitress's servers."""

    def __init__(self, server: Any) -> None:
        self._most_bytes: int = server.adj.max_request_body_size - 1
        self._server = {
            "SERVER_NAME": server.server_name,
            "SERVER_PORT": str(server.effective_port),
            "SERVER_SOFTWARE": server.adj.ident,
            "SCRIPT_NAME": "",
            "QUERY_STRING": "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": server.adj.url_scheme,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "wsgi.input_terminated": True,
        }

    def read(self, received: bytes, address: tuple[str, object], begun: float) -> dict[str, Any] | None:
        """Return the WSGI environment; None unless the request is plain, and all that has come.

        received: what came on the connection. begun: when (monotonic seconds).
        """
        found = _REQUEST.match(received)
        if found is None:
            return None
        fields = found[3].decode("ascii").split("\r\n")
        fields.pop()  # behind the last line's end
        headers = {_variable(name): value for name, _, value in [field.partition(": ") for field in fields]}
        length = headers.get("CONTENT_LENGTH", "")
        is_plain = (
            len(headers) == len(fields)  # none came twice
            and length.isdecimal()
            and len(length) <= _MOST_DIGITS
            and int(length) == len(received) - found.end()
            and 0 < int(length) <= self._most_bytes
            and not any(variable in headers for variable in _NOT_PLAIN)
        )
        if not is_plain:
            return None
        path, host = found[1].decode("ascii"), address[0]
        return {
            **self._server,
            **headers,
            "REMOTE_ADDR": host,
            "REMOTE_HOST": host,
            "REMOTE_PORT": str(address[1]),
            "REQUEST_METHOD": "POST",
            "SERVER_PROTOCOL": f"HTTP/{found[2].decode('ascii')}",
            "PATH_INFO": path,
            "REQUEST_URI": path,
            "wsgi.input": io.BytesIO(received[found.end() :]),
            BEGUN: begun,
        }


@lru_cache(maxsize=256)
def _variable(name: str) -> str:
    """Return the variable of a header."""
    variable = name.upper().replace("-", "_")
    return variable if variable in {"CONTENT_LENGTH", "CONTENT_TYPE"} else f"HTTP_{variable}"
