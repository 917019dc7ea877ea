"""The service manager: told when spooler is ready, how it is doing, and that its main loop still turns.

Owns: the protocol (`READY=`, `STATUS=`, `WATCHDOG=`, `RELOADING=`, `STOPPING=`), and its variables.
Promises: where there is no service manager nothing is said; where it can't be reached nothing fails. The
variables are taken out of the environment, so that no child speaks for its parent.
Does not promise: that anybody reads it.
Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import math
import os
import socket
import time
from contextlib import suppress

_BEAT_SECONDS = 1.0  # more often than that nobody needs to hear of us


class ServiceManager:
    """What started this process, where that wants to be told.

    beat_within_seconds: how long after a beat the next one is wanted at the latest.
    """

    def __init__(self) -> None:
        """Take the manager's address from the environment, if there is one."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self.beat_within_seconds = _asked_for(
            os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        )
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.is_ready = False  # whether it has been told so
        self._status = ""
        self._beat_at = 0.0

    def beat(self, status: str) -> None:
        """Say that the main loop turns and how it is; the first time also that spooler is ready.

        To be called from the loop that does the work, and from nowhere else: a thread that only beats would
        beat on while the work hangs.
        """
        now = time.monotonic()
        if self.is_ready and now - self._beat_at < _BEAT_SECONDS:
            return
        self._beat_at = now
        self._say(
            *(() if self.is_ready else ("READY=1",)),
            "WATCHDOG=1",
            *(() if status == self._status else (f"STATUS={_one_line(status)}",)),
        )
        self.is_ready = True
        self._status = status

    def reloading(self) -> None:
        """Say that keys are read again; to be followed by `reloaded`."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self) -> None:
        """Say that they have been."""
        if self.is_ready:
            self._say("READY=1")

    def stopping(self) -> None:
        """Say that the orderly end has begun."""
        self._say("STOPPING=1", "STATUS=ending in order")

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        # A manager that doesn't listen must cost neither a notification nor the time that it would wait.
        with (
            suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire,
        ):
            wire.setblocking(False)
            wire.connect(self._address)
            wire.sendall("\n".join(lines).encode("utf-8", "replace"))


def _asked_for(microseconds: str, process: str) -> float:
    """Return the half of what the manager waits for a beat: whoever changed a unit may have it be short."""
    try:
        if process and int(process) != os.getpid():
            return math.inf  # it is our parent's
        return max(_BEAT_SECONDS, int(microseconds) / 2_000_000)
    except ValueError:
        return math.inf


def _one_line(text: str) -> str:
    """A line break would begin the next assignment."""
    return " ".join(text.split())[:500]
