"""Readmission: which refused requests are authentic after all, by today's keys and certificates.

Owns: reading the request back out of `rejected/`, and the name that it gets.
Promises: the rule is the receiver's own; without a signature to check nothing is authentic. Nothing is
moved here.
Does not promise: to find repeats; the processor does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from spooler import admission
from spooler.config import Webhook
from spooler.errors import CertificateRefusedError, SignatureRefusedError
from spooler.folders import Place, WebhookFolders
from spooler.keys import Key
from spooler.name import Name
from spooler.notification import Notification
from spooler.selection import Filter, select
from spooler.state import State

_NO_ADDRESS = "unknown"  # equals no trusted proxy, nor what stands for a Unix socket


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about a refused request: its proper name, or why it stays."""

    place: Place
    name: Name | None
    reason: str = ""


def examine(
    folders: WebhookFolders, webhook: Webhook, keys: Sequence[Key], trusted_proxy: str
) -> Iterator[Verdict]:
    """Check every refused request of a webhook, oldest first. Raises: OSError."""
    for place in select(folders, State.REJECTED, Filter()):
        try:
            yield _judge(place, webhook, keys, trusted_proxy)
        except FileNotFoundError:
            continue  # RACE: the receiver made room
        except OSError as error:
            yield Verdict(place, None, f"can't be read: {error.strerror}")


def _judge(place: Place, webhook: Webhook, keys: Sequence[Key], trusted_proxy: str) -> Verdict:
    if not webhook.signed:
        return Verdict(place, None, 'signature = "none": nothing tells whether it is authentic')
    environ = _request(place)
    if environ is None:
        return Verdict(place, None, "there is no log that holds its headers")
    body = place.read()
    try:
        admission.check(webhook, keys, environ, body, trusted_proxy)
    except (CertificateRefusedError, SignatureRefusedError) as error:
        return Verdict(place, None, str(error))
    said = Notification.read(body)
    return Verdict(place, Name(place.received(), said.id, said.type))


def _request(place: Place) -> dict[str, Any] | None:
    """Return the request as WSGI had it, from the line that the receiver wrote; None if there is none."""
    for line in place.log_lines():
        headers = line.get("headers")
        if isinstance(headers, dict):
            environ = {
                f"HTTP_{name.upper().replace('-', '_')}": str(value) for name, value in headers.items()
            }
            return {**environ, "REMOTE_ADDR": line.get("connection", _NO_ADDRESS)}
    return None
