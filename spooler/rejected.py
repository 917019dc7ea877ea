"""Refused requests that are worth keeping: with a wrong key in the configuration they are authentic.

Owns: which refused requests are kept, what their log line tells, and the bounds of `rejected/`.
Promises: at most 1,000 of them and 64 MiB, whoever sends how many; the oldest go first.
Does not promise: durability; the sender was told that nothing was stored.
TRUST: nothing of the body is read; its name is made from a digest.
"""

import os
from collections.abc import Sequence
from threading import Lock
from typing import Any

from spooler import history, signature
from spooler.errors import SignatureRefusedError
from spooler.keys import Key
from spooler.log import get_logger
from spooler.name import is_notification, log_name
from spooler.notification import Notification
from spooler.spool import WebhookSpool
from spooler.state import State

MAX_FILES = 1000
MAX_BYTES = 64 << 20
# Listing the folder costs milliseconds. So each process lists it only once per share that it has added,
# and then makes that much more room than needed, for itself and for the other processes.
_SLACK_SHARE = 10


class Rejected:
    """The receiver's hand on one webhook's `rejected/`."""

    def __init__(self, spool: WebhookSpool, processes: int) -> None:
        self._spool = spool
        self._files_at_once = max(1, MAX_FILES // _SLACK_SHARE // processes)
        self._bytes_at_once = MAX_BYTES // _SLACK_SHARE // processes
        self._added_files, self._added_bytes = self._files_at_once, 0  # the first one lists
        self._lock = Lock()

    def keep(self, body: bytes, header: str | None, keys: Sequence[Key], line: dict[str, Any]) -> None:
        """Keep a request whose signature has the length of one of the keys'; log what goes wrong."""
        try:
            length = len(signature.decode(header))
        except SignatureRefusedError:
            return
        if length not in {key.signature_bytes for key in keys}:
            return
        try:
            with self._lock:
                self._make_room(len(body))
                stamped = {"at": history.iso(self._spool.clock.now()), **line}
                self._spool.refuse(body, Notification.unread(body), stamped)
        except OSError as error:
            get_logger().warning("not kept", webhook=self._spool.webhook, reason=error.strerror)

    def _make_room(self, size: int) -> None:
        self._added_files += 1
        self._added_bytes += size
        if self._added_files < self._files_at_once and self._added_bytes < self._bytes_at_once:
            return
        self._added_files, self._added_bytes = 0, size
        held = _by_age(self._spool)
        total = sum(used for _name, used in held)
        files_left = MAX_FILES - MAX_FILES // _SLACK_SHARE - 1
        bytes_left = MAX_BYTES - MAX_BYTES // _SLACK_SHARE - size
        for name, used in held[:-1] if len(held) > 1 else held:
            if len(held) <= files_left and total <= bytes_left:
                return
            self._spool.forget_rejected(name)
            held = held[1:]
            total -= used


def _by_age(spool: WebhookSpool) -> list[tuple[str, int]]:
    """Return the names in `rejected/`, oldest first, with the bytes that file and log hold."""
    sizes: dict[str, int] = {}
    with os.scandir(spool.folder(State.REJECTED)) as entries:
        for entry in entries:
            try:
                sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue  # RACE: another process makes room too
    return sorted(
        (name, size + sizes.get(log_name(name), 0)) for name, size in sizes.items() if is_notification(name)
    )
