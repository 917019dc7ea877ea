"""Is everything right? What an administrator would look at, one finding each.

Owns: the list of what is looked at, and the words for it.
Promises: nothing is changed or made by looking. Every finding that is not right says what to do.
Does not promise: to find what only shows under load, or for another user than the one who looks.
"""

import http.client
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from spooler import dropins
from spooler.address import Address
from spooler.config import Configuration, Webhook
from spooler.errors import KeyFileError
from spooler.keys import load_key
from spooler.room import Room
from spooler.spool import WebhookSpool
from spooler.state import State
from spooler.units import format_size

_ANSWER_SECONDS = 3.0


class Verdict(StrEnum):
    """How a finding is to be taken; only `wrong` makes the whole answer no."""

    RIGHT = "right"
    NOTICE = "notice"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer: about what, how it is, and what is to be done."""

    verdict: Verdict
    subject: str
    text: str


def examine(configuration: Configuration) -> Iterator[Finding]:
    """Look at everything that the configuration names."""
    yield Finding(Verdict.RIGHT, "configuration", f"{configuration.path}")
    yield from _disk(configuration)
    for webhook in configuration.webhooks.values():
        yield from _keys(webhook)
        yield from _certificates(webhook, configuration)
        yield from _folders(WebhookSpool(configuration.spool, webhook.name))
        yield from _scripts(webhook)
    yield from _port(configuration)
    yield from _alerts(configuration)


def _keys(webhook: Webhook) -> Iterator[Finding]:
    subject = f"webhook {webhook.name}"
    if not webhook.signed:
        yield Finding(Verdict.NOTICE, subject, 'accepts unsigned requests from anybody (signature = "none")')
    for path in webhook.public_keys:
        try:
            key = load_key(path)
        except KeyFileError as error:
            yield Finding(Verdict.WRONG, subject, str(error))
            continue
        yield Finding(Verdict.RIGHT, subject, f"{path}: {key.kind}, {key.bits} bits, {key.fingerprint}")
        for warning in key.warnings:
            yield Finding(Verdict.NOTICE, subject, f"{path}: {warning}")


def _certificates(webhook: Webhook, configuration: Configuration) -> Iterator[Finding]:
    if webhook.client_certificates:
        text = f"{len(webhook.client_certificates)} client certificate(s) may call, as told by the proxy at "
        yield Finding(Verdict.RIGHT, f"webhook {webhook.name}", text + configuration.receiver.trusted_proxy)


def _disk(configuration: Configuration) -> Iterator[Finding]:
    room, limit = Room.of_existing(configuration.spool), configuration.receiver.min_free
    inodes = "" if room.free_inodes is None else f", {room.free_inodes} inodes"
    verdict = Verdict.WRONG if room.shortage(limit) else Verdict.RIGHT
    text = f"{format_size(room.free_bytes)}{inodes} free; min_free is {format_size(limit)}"
    yield Finding(verdict, "disk", text)


def _folders(spool: WebhookSpool) -> Iterator[Finding]:
    subject = f"webhook {spool.webhook}"
    folders = [spool.folder(state) for state in State]
    missing = [folder for folder in folders if not folder.exists()]
    closed = [folder for folder in folders if folder.exists() and not _is_writable(folder)]
    for folder in closed:
        yield Finding(Verdict.WRONG, subject, f"{folder}: can't be written by user id {os.geteuid()}")
    if len({folder.stat().st_dev for folder in folders if folder.exists()}) > 1:
        yield Finding(Verdict.WRONG, subject, f"{spool.base}: its folders are on more than one file system")
    if missing:
        names = ", ".join(folder.name for folder in missing)
        yield Finding(Verdict.NOTICE, subject, f"{spool.base}: {names} will be made at the start")
    elif not closed:
        yield Finding(Verdict.RIGHT, subject, f"{spool.base}: all folders can be written")
    if spool.paused:
        yield Finding(Verdict.NOTICE, subject, f"paused: remove {spool.base / 'paused'} to let it go on")


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _scripts(webhook: Webhook) -> Iterator[Finding]:
    subject = f"webhook {webhook.name}"
    try:
        found = dropins.examine(webhook.processors)
    except OSError as error:
        text = f"{webhook.processors}: can't be read ({error.strerror}): nothing is processed until it can"
        yield Finding(Verdict.WRONG, subject, text)
        return
    for path, ignored in found:
        yield Finding(
            Verdict.NOTICE if ignored else Verdict.RIGHT,
            subject,
            f"{path}: {'ignored, because ' + ignored if ignored else 'runs'}",
        )
    if all(ignored for _path, ignored in found):
        text = f"{webhook.processors}: no script runs: every notification goes straight to done/"
        yield Finding(Verdict.NOTICE, subject, text)


def _port(configuration: Configuration) -> Iterator[Finding]:
    address = configuration.receiver.listen
    try:
        status, text = _ask_health(address)
    except (OSError, http.client.HTTPException) as error:
        yield Finding(Verdict.NOTICE, "receiver", f"nothing answers at {address}: {error}; is it running?")
    else:
        verdict = Verdict.RIGHT if status == 200 else Verdict.WRONG
        yield Finding(verdict, "receiver", f"answers at {address}: {status} {text}")


def _ask_health(address: Address) -> tuple[int, str]:
    """Return status and text of `GET /healthz`. Raises: OSError, HTTPException."""
    if address.unix_path:
        connection = http.client.HTTPConnection("localhost", timeout=_ANSWER_SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(_ANSWER_SECONDS)
        connection.sock.connect(address.unix_path)
    else:
        connection = http.client.HTTPConnection(address.host, address.port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status, answer.read(200).decode("utf-8", "replace").strip()
    finally:
        connection.close()


def _alerts(configuration: Configuration) -> Iterator[Finding]:
    if configuration.alerts is None:
        yield Finding(Verdict.NOTICE, "alerts", "none are configured; nobody is told when something fails")
    else:
        yield Finding(Verdict.NOTICE, "alerts", "are configured, but this version doesn't send mail yet")
