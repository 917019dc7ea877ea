"""systemctl: what systemd says of its units, and telling it what to do.

Owns: calling systemctl and programs like it, and reading their answers.
Promises: what such a program complains about becomes the error's text.
Source: systemctl(1), sd_booted(3).
"""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from spooler.errors import SpoolerError


def is_running() -> bool:
    """Say whether this machine was started by systemd; in an image that is being built it wasn't."""
    return Path("/run/systemd/system").is_dir()


def listens(socket: str, address: str) -> bool:
    """Say whether a socket unit is open at an address (a path, or host and port)."""
    said = call(["systemctl", "show", "--property=ActiveState,Listen", socket]).splitlines()
    return "ActiveState=active" in said and f"Listen={address} (Stream)" in said


def active_since(unit: str) -> float | None:
    """Return since when a unit has been active, in seconds of the epoch; None if it isn't."""
    said = call(["systemctl", "show", "--property=ActiveState,ActiveEnterTimestampMonotonic", unit])
    shown = dict(line.split("=", 1) for line in said.splitlines())
    if shown.get("ActiveState") not in {"active", "reloading"}:
        return None
    # The other time stamp that systemd shows is cut to seconds.
    ago_seconds = time.clock_gettime(time.CLOCK_MONOTONIC) - int(shown["ActiveEnterTimestampMonotonic"]) / 1e6
    return time.time() - ago_seconds


def mount_units(path: Path) -> list[str]:
    """Return the mount units by which a path may get its file system, from the root downwards."""
    places = [str(place) for place in reversed((path, *path.parents)) if place.name]
    return call(["systemd-escape", "--path", "--suffix=mount", "--", *places]).split()


def last_words(unit: str) -> str:
    """Return what a unit logged last itself, or where to look."""
    lines = call(["journalctl", "--no-pager", "--output=cat", "--lines=50", f"--unit={unit}"]).splitlines()
    own = [line for line in lines if line.startswith(("spooler: ", "timestamp="))]
    return own[-1].removeprefix("spooler: ") if own else f"see journalctl -e -u {unit}"


def call(command: Sequence[str]) -> str:
    """Run a program and return what it printed. Raises: SpoolerError with the end of its complaint."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SpoolerError(f"{command[0]}: can't be run: {error.strerror}") from None
    if ended.returncode != 0:
        words = (ended.stderr.strip() or ended.stdout.strip() or "it said nothing").splitlines()[-2:]
        raise SpoolerError(f"{' '.join(command)}: ended with {ended.returncode}: {' '.join(words)}")
    return ended.stdout
