"""Mail: one message to the fixed recipients, over SMTP.

Owns: the connection, its deadline, STARTTLS and log-in; the message's headers.
Promises: `send` returns or raises within about a minute, however slowly the server answers. With `starttls`
nothing is sent but over a connection whose certificate was checked. The password is read anew each time, and
is never part of an error.
Does not promise: that a mail arrives; the server only takes it on.
"""

import os
import smtplib
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from spooler.address import Address
from spooler.config import CREDENTIALS, Alerts
from spooler.errors import SpoolerError

_STEP_SECONDS = 20.0
_ALL_SECONDS = 60.0
_READY = 220
_FOR_GOOD = 500  # answers from here on say that another try will fare no better


class MailError(SpoolerError):
    """A mail was not taken; the line says why."""


def send(settings: Alerts, subject: str, body: str, id_: str) -> None:
    """Hand a mail over to the server.

    Raises: MailError if it didn't take it, for all recipients; RefusedError if it would take others.

    id_: the same for every try, so that a mail that is sent twice can be known as one.
    """
    secret = password(settings)
    try:
        with _connected(settings) as server:
            if settings.starttls:
                server.starttls(context=ssl.create_default_context())
            if settings.user and secret is not None:
                server.login(settings.user, secret)
            refused = server.send_message(_message(settings, subject, body, id_))
            with suppress(OSError, smtplib.SMTPException):  # it has the mail, whatever it says now
                server.quit()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        kind = RefusedError if _is_of_this_mail(error) else MailError
        raise kind(_words(error, _as_sent(settings.user, secret))) from None
    if refused:
        # RACE: the others have it. Another try would give it to them twice.
        raise PartlyRefusedError(f"refused for {', '.join(sorted(refused))}; the others got it")


class PartlyRefusedError(MailError):
    """Some recipients were refused; the mail went to the others."""


class RefusedError(MailError):
    """The server is there, and refused this mail for good, or all its recipients."""


def _is_of_this_mail(error: Exception) -> bool:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(code >= _FOR_GOOD for code, _words in error.recipients.values())
    return isinstance(error, smtplib.SMTPDataError) and error.smtp_code >= _FOR_GOOD


def password(settings: Alerts) -> str | None:
    """Return the password, None if none is configured. Raises: MailError."""
    if settings.password_file is None:
        return None
    path = settings.password_file
    if path.startswith(CREDENTIALS):
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise MailError(
                f"alerts.password_file: {path}: only a service that systemd starts has such a folder"
            )
        path = str(Path(folder) / path.removeprefix(CREDENTIALS))
    try:
        secret = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no text"
        raise MailError(f"alerts.password_file: {path}: {reason}") from None
    if not secret or not secret.isascii():  # smtplib sends no other
        reason = "holds a character that isn't ASCII: choose another password" if secret else "is empty"
        raise MailError(f"alerts.password_file: {path}: {reason}")
    return secret


@contextmanager
def _connected(settings: Alerts) -> Iterator[smtplib.SMTP]:
    address = Address.parse(settings.smtp)
    host = _host()
    server = smtplib.SMTP(local_hostname=host, timeout=_STEP_SECONDS)
    # What the certificate is checked for; else only the constructor sets it, which connects at once.
    server._host = address.host  # type: ignore[attr-defined]
    # Each wait has its time-out; a server that drips would stretch them for ever.
    cut = threading.Timer(_ALL_SECONDS, _cut, [server])
    cut.daemon = True
    cut.start()
    try:
        code, words = server.connect(address.host, address.port)
        if code != _READY:  # 554 or 421: why it takes nothing from here, which it may not say again
            raise smtplib.SMTPConnectError(code, words)
        yield server
    finally:
        cut.cancel()
        server.close()


def _cut(server: smtplib.SMTP) -> None:
    wire = server.sock
    if wire is not None:
        with suppress(OSError):  # it is closed already
            wire.shutdown(socket.SHUT_RDWR)


def _host() -> str:
    # Not the resolver's full name: that may take as long as it likes.
    return "".join(char for char in socket.gethostname() if char.isalnum() or char in ".-") or "localhost"


def _message(settings: Alerts, subject: str, body: str, id_: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = settings.sender
    message["To"] = ", ".join(settings.to)
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = f"<{id_.replace('@', '-')}.spooler@{_host()}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body)
    return message


def _as_sent(user: str | None, secret: str | None) -> list[str]:
    """Return what a server that repeats a log-in would show: the password in each form it has there."""
    if not secret:
        return []
    return [*(b64encode(text.encode()).decode() for text in (f"\0{user}\0{secret}", secret)), secret]


def _words(error: Exception, secrets: Sequence[str]) -> str:
    """TRUST: a server's answers are its own words, and may repeat ours."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        text = "; ".join(f"{who}: {_reply(*answer)}" for who, answer in error.recipients.items())
    elif isinstance(error, smtplib.SMTPResponseException):
        text = _reply(error.smtp_code, error.smtp_error)
    else:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    for secret in secrets:
        text = text.replace(secret, "***")
    return text.encode("unicode_escape").decode("ascii")[:300]


def _reply(code: int, words: bytes | str) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words
    return f"the server answered {code} {text}"
