"""A receiver for the sender's tests: real HTTP on the loopback, answering by a script.

Owns: one listening server in a thread, and what it was sent.
Promises: each request's signature is checked by the cryptography library itself, none of spooler's code.
"""

import base64
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm


@dataclass(frozen=True)
class Received:
    """One request as it came in; `at` in seconds of the monotonic clock."""

    path: str
    headers: Message
    body: bytes
    at: float

    def is_signed_by(
        self,
        key: RSAPublicKey,
        hash_: HashAlgorithm | None = None,
        padding: AsymmetricPadding | None = None,
    ) -> bool:
        signature = base64.b64decode(self.headers["X-DI-Signature"], validate=True)
        try:
            key.verify(signature, self.body, padding or PKCS1v15(), hash_ or SHA256())
        except InvalidSignature:
            return False
        return True


@dataclass
class ScriptedReceiver:
    """Answer with each of `statuses` in turn, and with the last one for ever."""

    statuses: Sequence[int] = (200,)
    received: list[Received] = field(default_factory=list)

    def __enter__(self) -> "ScriptedReceiver":
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                number = len(receiver.received)
                receiver.received.append(Received(self.path, self.headers, body, time.monotonic()))
                self.send_response(receiver.statuses[min(number, len(receiver.statuses) - 1)])
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/webhook/crm"
        # The default of half a second would be waited for at the end of each test.
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
