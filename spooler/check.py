"""Is everything right? What an administrator would look at, one finding each.

Owns: the list of what is looked at, and the words for it.
Promises: nothing is changed or made by looking. Every finding that is not right says what to do.
What root asks is answered for the user who owns the spool, for the services run as that user.
Does not promise: to find what only shows under load.
"""

import http.client
import os
import secrets
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from spooler import alert_texts, alerter, dropins, lock, mail, refusals, start_failure
from spooler.address import Address
from spooler.config import CREDENTIALS, Configuration, Webhook
from spooler.errors import KeyFileError
from spooler.file_system import FileSystem
from spooler.folders import WebhookFolders
from spooler.keys import load_key
from spooler.owner import EXECUTE, READ, WRITE, User, service_user
from spooler.room import Room
from spooler.state import State
from spooler.units import format_duration, format_size

RECEIVER = "receiver"  # the subject of what answers at the port
_ANSWER_SECONDS = 3.0
_TLS_FROM_THE_START = 465
_LOOPBACK = ("127.", "::1", "localhost")


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
    user = service_user(configuration.spool)
    yield Finding(Verdict.RIGHT, "configuration", f"{configuration.path}")
    yield from _told("configuration", _unreadable("configuration", configuration.path, user))
    yield from _told("disk", _disk(configuration))
    for webhook in configuration.webhooks.values():
        subject = f"webhook {webhook.name}"
        yield from _told(subject, _keys(webhook, user))
        yield from _certificates(webhook, configuration)
        yield from _told(subject, _folders(WebhookFolders(configuration.spool, webhook.name), user))
        yield from _told(subject, _scripts(webhook, user))
        yield from _retention(webhook, configuration)
    yield from _port(configuration)
    yield from _processor(configuration.spool)
    yield from _told("alerts", _alerts(configuration, user))


def _told(subject: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """Yield findings; what the caller may not even look at is one, and hides no other."""
    try:
        yield from findings
    except OSError as error:
        yield Finding(Verdict.WRONG, subject, f"{error.filename}: can't be looked at: {error.strerror}")


def _keys(webhook: Webhook, user: User) -> Iterator[Finding]:
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
        yield from _unreadable(subject, path, user)
        for warning in key.warnings:
            yield Finding(Verdict.NOTICE, subject, f"{path}: {warning}")


def _certificates(webhook: Webhook, configuration: Configuration) -> Iterator[Finding]:
    if webhook.client_certificates and bool(configuration.receiver.listen.unix_path) != (
        configuration.receiver.trusted_proxy == "unix"
    ):
        text = (
            'client certificates are never believed: with a Unix socket write trusted_proxy = "unix", '
            "with a port the proxy's IP address"
        )
        yield Finding(Verdict.WRONG, f"webhook {webhook.name}", text)
    elif webhook.client_certificates:
        text = f"{len(webhook.client_certificates)} client certificate(s) may call, as told by the proxy at "
        yield Finding(Verdict.RIGHT, f"webhook {webhook.name}", text + configuration.receiver.trusted_proxy)


def _disk(configuration: Configuration) -> Iterator[Finding]:
    room, limit = Room.of_existing(configuration.spool), configuration.receiver.min_free
    inodes = "" if room.free_inodes is None else f", {room.free_inodes} inodes"
    verdict = Verdict.WRONG if room.shortage(limit) else Verdict.RIGHT
    text = f"{format_size(room.free_bytes)}{inodes} free; min_free is {format_size(limit)}"
    yield Finding(verdict, "disk", text)
    if doubt := FileSystem.of(configuration.spool).doubt:
        yield Finding(Verdict.NOTICE, "disk", doubt)


def _folders(spool: WebhookFolders, user: User) -> Iterator[Finding]:
    subject = f"webhook {spool.webhook}"
    folders = [spool.folder(state) for state in State]
    missing = [folder for folder in folders if not folder.exists()]
    closed = _closed(folders, user)
    if spool.folder(State.DONE) not in dict(closed):
        closed += _closed([spool.folder(State.DONE) / day for day in spool.days()], user)
    for folder, barrier in closed:
        where = "" if barrier == folder.resolve() else f", because of {barrier}"
        text = f"{folder}: can't be read and written by {user.name}{where} (chown, chmod u+rwx)"
        yield Finding(Verdict.WRONG, subject, text)
    counted = spool.folder(State.REJECTED) / refusals.FILE_NAME
    if not closed and counted.exists() and user.barrier(counted, READ | WRITE):
        text = (
            f"{counted}: can't be read and written by {user.name}: nobody is told of refusals (chown, or rm)"
        )
        yield Finding(Verdict.WRONG, subject, text)
    if len({folder.stat().st_dev for folder in folders if folder.exists()}) > 1:
        yield Finding(Verdict.WRONG, subject, f"{spool.base}: its folders are on more than one file system")
    if missing:
        names = ", ".join(folder.name for folder in missing)
        yield Finding(Verdict.NOTICE, subject, f"{spool.base}: {names} will be made at the start")
        yield from _unmakeable(spool, user)
    elif not closed:
        text = f"{spool.base}: all folders can be written by {user.name}, and are on one file system"
        yield Finding(Verdict.RIGHT, subject, text)
    if spool.paused:
        yield Finding(Verdict.NOTICE, subject, f"paused: spooler resume {spool.webhook} lets it go on")


def _closed(folders: Iterable[Path], user: User) -> list[tuple[Path, Path]]:
    """Return those that the user can't read and write, each with what keeps the user from it."""
    return [
        (folder, barrier) for folder in folders if folder.exists() and (barrier := _barrier(folder, user))
    ]


def _unmakeable(spool: WebhookFolders, user: User) -> Iterator[Finding]:
    """Say so where the user can't make the missing folders either."""
    place = spool.base
    while not place.exists():
        place = place.parent
    if barrier := _barrier(place, user):
        text = f"{spool.base}: can't be made by {user.name}, because of {barrier}"
        yield Finding(Verdict.WRONG, f"webhook {spool.webhook}", text)


def _barrier(folder: Path, user: User) -> Path | None:
    if user.is_caller and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return folder  # the kernel knows more than owner, group and mode
    return user.barrier(folder, READ | WRITE | EXECUTE)


def _unreadable(subject: str, path: Path, user: User) -> Iterator[Finding]:
    if barrier := user.barrier(path, READ):
        where = "" if barrier == path.resolve() else f", because of {barrier}"
        text = f"{path}: can't be read by {user.name}{where} (chgrp, chmod g+r)"
        yield Finding(Verdict.WRONG, subject, text)


def _scripts(webhook: Webhook, user: User) -> Iterator[Finding]:
    subject = f"webhook {webhook.name}"
    try:
        found = dropins.examine(webhook.processors)
    except OSError as error:
        text = f"{error.filename}: can't be read ({error.strerror}): nothing is processed until it can"
        yield Finding(Verdict.WRONG, subject, text)
        return
    if barrier := user.barrier(webhook.processors, READ | EXECUTE):
        text = f"{webhook.processors}: can't be read by {user.name}, because of {barrier}"
        yield Finding(Verdict.WRONG, subject, text)
    for path, ignored in found:
        yield _script(subject, path, ignored, user)
    if all(ignored and not dropins.holds_up(ignored) for _path, ignored in found):
        text = f"{webhook.processors}: no script runs: every notification goes straight to done/"
        yield Finding(Verdict.NOTICE, subject, text)


def _script(subject: str, path: Path, ignored: str, user: User) -> Finding:
    if dropins.holds_up(ignored):
        text = f"{path}: notifications wait for it, because {ignored} (mend it, or remove it)"
        return Finding(Verdict.WRONG, subject, text)
    if ignored:
        verdict = Verdict.WRONG if ignored == dropins.forbidden() else Verdict.NOTICE
        return Finding(verdict, subject, f"{path}: ignored, because {ignored}")
    if barrier := user.barrier(path, EXECUTE):
        if barrier == path.resolve():
            what = f"ignored, because {user.name} may not run it"
        else:
            what = f"notifications wait for it, because {user.name} may not look into {barrier}"
        text = f"{path}: {what} (chmod o+x, or chgrp and chmod g+x)"
        return Finding(Verdict.WRONG, subject, text)
    if failure := start_failure.foresee(path):
        return Finding(Verdict.WRONG, subject, failure)
    if doubt := start_failure.doubt(path):
        return Finding(Verdict.NOTICE, subject, doubt)
    return Finding(Verdict.RIGHT, subject, f"{path}: runs")


def _retention(webhook: Webhook, configuration: Configuration) -> Iterator[Finding]:
    keep, window = configuration.retention.done, webhook.processing.deduplicate_for
    if keep < window:
        text = (
            f"what is done is kept for {format_duration(keep)} and repeats are looked for over "
            f"{format_duration(window)} (deduplicate_for): one that comes after `spooler prune` would be run"
        )
        yield Finding(Verdict.NOTICE, f"webhook {webhook.name}", text)


def _port(configuration: Configuration) -> Iterator[Finding]:
    address = configuration.receiver.listen
    try:
        status, text = _ask_health(address)
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        yield Finding(Verdict.NOTICE, RECEIVER, f"nothing answers at {address}: {reason}; is it running?")
    else:
        verdict = Verdict.RIGHT if status == 200 else Verdict.WRONG
        yield Finding(verdict, RECEIVER, f"answers at {address}: {status} {text}")


def _ask_health(address: Address) -> tuple[int, str]:
    """Return status and text of `GET /healthz`.

    Raises: OSError, HTTPException, UnicodeError for what can be no host's name.
    """
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


def _processor(spool: Path) -> Iterator[Finding]:
    try:
        works = lock.is_held(spool)
    except OSError:
        works = False
    if works:
        yield Finding(Verdict.RIGHT, "processor", f"works on {spool}")
    else:
        yield Finding(Verdict.NOTICE, "processor", f"no processor works on {spool}; is it running?")


def _alerts(configuration: Configuration, user: User) -> Iterator[Finding]:
    settings = configuration.alerts
    if settings is None:
        yield Finding(Verdict.NOTICE, "alerts", "none are configured; nobody is told when something fails")
        return
    text = f"go to {', '.join(settings.to)} by {settings.smtp} (to try it: spooler check --alert)"
    yield Finding(Verdict.RIGHT, "alerts", text)
    if settings.password_file and not settings.password_file.startswith(CREDENTIALS):
        try:
            mail.password(settings)
        except mail.MailError as error:
            yield Finding(Verdict.WRONG, "alerts", str(error))
        else:
            yield from _unreadable("alerts", Path(settings.password_file), user)
    server = Address.parse(settings.smtp)
    if server.port == _TLS_FROM_THE_START:
        text = (
            f"port {server.port} expects TLS from the first byte, which isn't spoken here; take port 587 and "
        )
        yield Finding(Verdict.WRONG, "alerts", text + "starttls = true")
    nearby = server.host.startswith(_LOOPBACK)
    if settings.user and not settings.starttls and not nearby:
        text = "the password goes over the network in the clear; set starttls = true"
        yield Finding(Verdict.NOTICE, "alerts", text)
    if settings.silence is None:
        yield Finding(Verdict.NOTICE, "alerts", 'nobody is told when nothing comes in (silence = "24h")')
    if waiting := alerter.waiting_mails(configuration.spool):
        text = f"{waiting} mail(s) not sent yet; the processor's log says why, and it goes on trying"
        yield Finding(Verdict.NOTICE, "alerts", text)


def send_test_mail(configuration: Configuration) -> Finding:
    """Send a mail to the recipients now; return what came of it."""
    settings = configuration.alerts
    if settings is None:
        text = "no mail can be sent: there is no [alerts] in the configuration"
        return Finding(Verdict.WRONG, "test mail", text)
    words = alert_texts.test()
    subject = f"spooler {socket.gethostname()}: {words.subject}"
    try:
        mail.send(settings, subject, words.body, f"test-{secrets.token_hex(8)}")
    except mail.MailError as error:
        text = f"not taken by {settings.smtp}: {error}"
        return Finding(Verdict.WRONG, "test mail", text)
    return Finding(Verdict.RIGHT, "test mail", f"{settings.smtp} took it, for {', '.join(settings.to)}")
