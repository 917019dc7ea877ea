"""The status: everything about all webhooks that is to be seen in one look.

Owns: the members of `status --json`.
Promises: it is read off the folders alone; no service has to run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from spooler import history, inventory
from spooler.config import Configuration
from spooler.folders import Place, WebhookFolders
from spooler.inventory import Inventory
from spooler.room import Room


@dataclass(frozen=True, slots=True)
class WebhookStatus:
    """One webhook. `held`: why the processor takes nothing of it now; empty where it does."""

    webhook: str
    at: datetime
    paused: bool
    held: str
    found: Inventory

    @property
    def oldest_seconds(self) -> float | None:
        """How long the oldest that isn't settled has been waiting."""
        return self._ago(self.found.oldest_waiting)

    @property
    def last_received_seconds(self) -> float | None:
        """How long ago the last one was received."""
        return self._ago(self.found.last_received)

    def _ago(self, moment: datetime | None) -> float | None:
        return None if moment is None else max(0.0, round((self.at - moment).total_seconds(), 3))

    def as_json(self) -> dict[str, Any]:
        """Return the members of `status --json`."""
        received = self.found.last_received
        return {
            "states": {state.value: count for state, count in self.found.states.items()},
            "oldest_seconds": self.oldest_seconds,
            "last_received": None if received is None else history.iso(received),
            "received_last_hour": self.found.received_lately,
            "failures_today": self.found.failures_today,
            "paused": self.paused,
            "held": self.held or None,
        }


def of_webhook(
    configuration: Configuration, folders: WebhookFolders, unreadable: Callable[[Place, OSError], None]
) -> WebhookStatus:
    """Look at a webhook. Raises: OSError if a folder can't be read.

    unreadable: is told of a day of `done/` that can't be; what is in it isn't counted.
    """
    scripts = configuration.webhooks[folders.webhook].processors
    paused = folders.paused
    held = (
        "paused" if paused else "" if scripts.is_dir() else f"the folder of scripts, {scripts}, doesn't exist"
    )
    found = inventory.take(folders, unreadable)
    return WebhookStatus(folders.webhook, folders.clock.now(), paused, held, found)


def of_disk(configuration: Configuration) -> dict[str, Any]:
    """Return the members of `disk`: what is free where the spool is, and whether that is too little."""
    room, limit = Room.of_existing(configuration.spool), configuration.receiver.min_free
    return {
        "free_bytes": room.free_bytes,
        "free_inodes": room.free_inodes,
        "min_free_bytes": int(limit),
        "shortage": room.shortage(limit) or None,
    }
