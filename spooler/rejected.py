"""Refused requests that are worth keeping: with a wrong key in the configuration they are authentic.

Owns: which refused requests are kept, what their log line tells, and the bounds of `rejected/`.
Promises: at most 1,000 files and 64 MiB, logs included, whoever sends how many; the oldest go first.
None is kept where the disk has less room than `min_free`.
Does not promise: durability; the sender was told that nothing was stored.
TRUST: nothing of the body is read; its name is made from a digest.
"""

import json
import os
from collections.abc import Sequence
from typing import Any

from spooler import durable, history, signature
from spooler.errors import SignatureRefusedError, StorageUnavailableError
from spooler.folder_lock import FolderLock
from spooler.keys import Key
from spooler.log import get_logger
from spooler.name import is_notification, log_name
from spooler.notification import Notification
from spooler.state import State
from spooler.storing import ReceiversSpool

MAX_FILES = 1000  # body and log are a file each
MAX_REQUESTS = MAX_FILES // 2
MAX_BYTES = 64 << 20
_LOCK_SECONDS = 1.0  # making room takes milliseconds; the answer doesn't depend on it
# Listing the folder costs milliseconds. So each process lists it only once per share that it has added,
# and then makes that much more room than needed, for itself and for the other processes.
_SLACK_SHARE = 10
_REQUESTS_LEFT = MAX_REQUESTS - MAX_REQUESTS // _SLACK_SHARE
_BYTES_LEFT = MAX_BYTES - MAX_BYTES // _SLACK_SHARE


class Rejected:
    """The receiver's hand on one webhook's `rejected/`."""

    def __init__(self, spool: ReceiversSpool, processes: int) -> None:
        self._spool = spool
        self._requests_at_once = max(1, MAX_REQUESTS // _SLACK_SHARE // processes)
        self._bytes_at_once = MAX_BYTES // _SLACK_SHARE // processes
        self._added_requests, self._added_bytes = self._requests_at_once, 0  # the first one lists
        self._lock = FolderLock()

    def keep(self, body: bytes, header: str | None, keys: Sequence[Key], line: dict[str, Any]) -> str:
        """Keep a request whose signature has the length of one of the keys'; log what goes wrong.

        Returns its file's name; empty where it isn't kept.
        """
        try:
            length = len(signature.decode(header))
        except SignatureRefusedError:
            return ""
        if length not in {key.signature_bytes for key in keys}:
            return ""
        stamped = {"at": history.iso(self._spool.clock.now()), **line}
        size = len(body) + len(json.dumps(stamped)) + 1
        if size > _BYTES_LEFT:
            return ""
        try:
            self._spool.check_room()
            # RACE: making room and taking it is one step for all receivers, and for their threads.
            with durable.opened_folder(self._spool.folder(State.REJECTED)) as folder:
                clock = self._spool.clock
                self._lock.take(folder, clock, clock.monotonic() + _LOCK_SECONDS)
                self._make_room(size)
                return self._spool.refuse(body, Notification.unread(body), stamped)
        except (OSError, StorageUnavailableError) as error:
            get_logger().warning("not kept", webhook=self._spool.webhook, reason=str(error))
            return ""

    def _make_room(self, size: int) -> None:
        """Remove the oldest, as many as it takes. Raises: StorageUnavailableError, OSError."""
        self._added_requests += 1
        self._added_bytes += size
        if self._added_requests < self._requests_at_once and self._added_bytes < self._bytes_at_once:
            return
        held = _by_age(self._spool)
        requests, total = len(held) + 1, sum(used for _name, used in held) + size
        obstacle: OSError | None = None
        for name, used in held:
            if requests <= _REQUESTS_LEFT and total <= _BYTES_LEFT:
                break
            try:
                self._spool.forget(State.REJECTED, name)
            except OSError as error:  # somebody made it immutable, say: the next one will do
                obstacle = error
                continue
            requests -= 1
            total -= used
        if requests > _REQUESTS_LEFT or total > _BYTES_LEFT:
            raise StorageUnavailableError(f"no room can be made: {obstacle}")
        self._added_requests, self._added_bytes = 0, size  # not sooner: where there's no room, each one looks


def _by_age(spool: ReceiversSpool) -> list[tuple[str, int]]:
    """Return the files in `rejected/`, oldest first, with the bytes that file and log hold.

    What is no regular file none of us put there: it isn't removed, and takes nobody's place.
    """
    sizes: dict[str, int] = {}
    with os.scandir(spool.folder(State.REJECTED)) as entries:
        for entry in entries:
            try:
                if entry.is_file(follow_symlinks=False):
                    sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue  # RACE: another process makes room too
    return sorted(
        (name, size + sizes.get(log_name(name), 0)) for name, size in sizes.items() if is_notification(name)
    )
