"""What came of an attempt, and what a script's exit status means: the table.

Owns: the outcomes, and the translation of exit statuses into them.
Promises: every exit status has an outcome; only 0 is success.
Does not promise: when a further attempt is due; that is `spooler.retry`'s.
"""

from dataclasses import dataclass
from typing import Literal

from spooler.history import INTERRUPTED

EX_DATAERR = 65  # sysexits.h: the input is wrong, and will be
EX_TEMPFAIL = 75  # sysexits.h: try again later; any other status means the same here
CANNOT_EXECUTE = 126  # as shells say it
NOT_FOUND = 127

Exit = int | Literal["timeout", "killed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Done:
    """Every script has answered 0, or there was nothing to run."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now; try again later, if attempts are left."""

    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It will never work; a person decides."""

    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """Nothing is wrong with it: spooler stops or is paused, and it goes on later."""

    reason: str


Outcome = Done | Retry | GiveUp | Release


def of_exit(script: str, status: Exit, *, was_refused: bool = False) -> Outcome:
    """Return what a script's exit status means. was_refused: it was killed for telling what is no status."""
    if status == 0:
        return Done()
    if status == EX_DATAERR:
        return GiveUp(f"{script} said that it will never work (exit status {EX_DATAERR})")
    if status == INTERRUPTED:
        return Release(f"{script} was stopped because spooler stops")
    if isinstance(status, int):
        return Retry(f"{script} ended with exit status {status}")
    if was_refused:
        return Retry(f"{script} was ended because it wrote to SPOOLER_FD what isn't one status")
    return Retry(
        f"{script} ran into the time limit" if status == "timeout" else f"{script} was killed by a signal"
    )
