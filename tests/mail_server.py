"""A real SMTP server for the tests: up, down, slow, strict about its recipients, with TLS and a log-in.

Owns: one server on a loopback port, and the mails that it took.
Promises: it is ended when its `with` is left, and may be started again on the same port.
"""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from running_service import KEY

HOST = "127.0.0.1"
USER, PASSWORD = "spooler", "correct horse"


@dataclass
class MailServer:
    """What the server does, and what it got."""

    port: int
    refused: set[str] = field(default_factory=set)
    answer_after_seconds: float = 0.0
    answer: str = "250 OK"
    unwanted: str = ""  # a mail whose subject ends so is refused
    unwanted_answer: str = "554 policy"
    refusals: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    users: list[str | None] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def subjects(self) -> list[str]:
        """The subjects, without what comes before the colon."""
        return [mail["Subject"].partition(": ")[2] for mail in self.mails]

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if address in self.refused:
            return f"550 no {address} here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        await asyncio.sleep(self.answer_after_seconds)
        if self.answer.startswith("250"):
            mail = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(mail, EmailMessage)
            if self.unwanted and mail["Subject"].endswith(self.unwanted):
                self.refusals += 1
                return self.unwanted_answer
            self.mails.append(mail)
            login = session.auth_data
            self.users.append(login.login.decode() if isinstance(login, LoginPassword) else None)
            self.encrypted.append(session.ssl is not None)
        return self.answer


@contextmanager
def up(server: MailServer, certificate: Path | None = None) -> Iterator[MailServer]:
    """Let the server listen. With a certificate (see `make_certificate`) it wants STARTTLS and a log-in."""
    strict: dict[str, Any] = {}
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        strict = {"tls_context": context, "require_starttls": True, "auth_required": True}
        strict |= {"auth_require_tls": True, "authenticator": _log_in}
    controller = Controller(server, hostname=HOST, port=server.port, **strict)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()


def _log_in(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
    right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False, auth_data=data)


def make_certificate(path: Path) -> Path:
    """Write a certificate for the server's address and its key, in one PEM file."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1, now, now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    private = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM) + private)
    return path
