"""Pruning: what `[retention]` lets go.

Owns: how old a settled notification is, and from when on a whole day of `done/` is.
Promises: nothing of `incoming/`, `processing/` and `retry/`, and nothing of a day that isn't over, is ever
named. Nothing is removed here.
Does not promise: anything about files in `done/` that are in no day's folder; people put them there.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from spooler import history
from spooler.folders import Place, WebhookFolders
from spooler.name import LOG_SUFFIX, SUFFIX
from spooler.selection import Filter, Unreadable, select
from spooler.state import State
from spooler.units import Keep

_DAY_LENGTH = timedelta(days=1)


def days(folders: WebhookFolders, keep: Keep) -> list[str]:
    """Return the days of `done/` of which nothing has to be kept any more. Raises: OSError."""
    return [day for day in _days_that_are_over(folders) if _is_past(folders, _end(day), keep)]


def empty_days(folders: WebhookFolders, unreadable: Unreadable) -> list[str]:
    """Return the days that are over and whose folders are empty. Raises: OSError."""
    found = []
    for day in _days_that_are_over(folders):
        try:
            if not any(folders.entries(State.DONE, day)):
                found.append(day)
        except OSError as error:
            unreadable(Place(folders, State.DONE, "", day), error)
    return found


def files(folders: WebhookFolders, state: State, keep: Keep, unreadable: Unreadable) -> Iterator[Place]:
    """Yield what needn't be kept of `failed/` or `rejected/`, oldest first.

    unreadable: is told of those of which nobody can say when they failed, which so are kept.
    """
    for place in select(folders, state, Filter(), unreadable):
        try:
            # It was received before it failed, and its name is looked at sooner than its log.
            if _is_past(folders, place.received(), keep) and _is_past(folders, _settled(place), keep):
                yield place
        except FileNotFoundError:
            continue  # RACE: it moved on
        except OSError as error:
            unreadable(place, error)


def logs(folders: WebhookFolders, state: State, keep: Keep) -> Iterator[str]:
    """Yield the names of logs in `failed/` or `rejected/` whose file is gone. Raises: OSError."""
    for entry in folders.entries(state):
        if entry.name.endswith(LOG_SUFFIX) and entry.is_file(follow_symlinks=False):
            file = folders.path(state, entry.name.removesuffix(LOG_SUFFIX) + SUFFIX)
            with suppress(FileNotFoundError):
                written = folders.written(state, entry.name)
                if _is_past(folders, written, keep) and not file.exists():
                    yield entry.name


def _settled(place: Place) -> datetime:
    """Return when a notification failed, or a request was refused."""
    lines = place.log_lines()
    said = history.moment(lines[-1]) if lines else None
    return said or place.received()


def _days_that_are_over(folders: WebhookFolders) -> list[str]:
    return [day for day in folders.days() if day < folders.today]


def _end(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC) + _DAY_LENGTH


def _is_past(folders: WebhookFolders, moment: datetime, keep: Keep) -> bool:
    return (folders.clock.now() - moment).total_seconds() >= keep
