"""The name of a notification's file: `<received>_<id>_<type>.json`.

Owns: the pattern, both ways, and the name of the log beside the file.
Promises: names sort by time of receipt, and hold nothing but harmless characters.
Does not promise: that a name is of the pattern. An administrator may put any `*.json` into `incoming/`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

SUFFIX = ".json"
LOG_SUFFIX = ".log"
HIDDEN = "."

# No other years, so that a moment later can always be written, in as many digits.
_PATTERN = re.compile(
    r"([12]\d{7}T(?:[01]\d|2[0-3])[0-5]\d[0-5]\d\.\d{6}Z)_([A-Za-z0-9-]{1,64})_([A-Za-z0-9_-]{1,64})\.json",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Name:
    """The three parts of a file's name. `received` is aware, in UTC, to the microsecond."""

    received: datetime
    id: str
    type: str

    @classmethod
    def parse(cls, file_name: str) -> "Name | None":
        """Return the parts, or None for a name that isn't of the pattern."""
        return _parse(file_name)

    def __str__(self) -> str:
        return f"{stamp(self.received)}_{self.id}_{self.type}{SUFFIX}"

    def next(self) -> "Name":
        """Return the name a microsecond later, for when this one is taken."""
        return Name(self.received + timedelta(microseconds=1), self.id, self.type)


@lru_cache(maxsize=64)  # the same name is taken apart many times in its turn
def _parse(file_name: str) -> Name | None:
    found = _PATTERN.fullmatch(file_name)
    if found is None or not _is_date(found[1][:8]):
        return None
    received = datetime.fromisoformat(found[1])  # many times as fast as strptime
    return Name(received, found[2], found[3])


def stamp(moment: datetime) -> str:
    """Write a moment as names do: `20261123T190001.123456Z`. It sorts as text."""
    utc = moment.astimezone(UTC)  # many times as fast as strftime
    day, time = f"{utc.year:04}{utc.month:02}{utc.day:02}", f"{utc.hour:02}{utc.minute:02}{utc.second:02}"
    return f"{day}T{time}.{utc.microsecond:06}Z"


def stamp_of(file_name: str) -> str:
    """Return the stamp in a name, as text; empty for a name that isn't of the pattern.

    For passes over a million names: stamps compare as text, and only the last one has to be parsed.
    """
    found = _PATTERN.fullmatch(file_name)
    return found[1] if found and _is_date(found[1][:8]) else ""


def has_pattern(file_name: str) -> bool:
    """Say whether `Name.parse` would give the parts of a name; for passes over a million names."""
    return _PATTERN.fullmatch(file_name) is not None and _is_date(file_name[:8])


@lru_cache(maxsize=1024)  # a million names are of few days
def _is_date(digits: str) -> bool:
    try:
        date.fromisoformat(digits)
    except ValueError:  # the 31st of February
        return False
    return True


def identify(file_name: str, otherwise: str = "") -> str:
    """Return the id in a file's name; where it isn't of the pattern, the other one, or the whole name."""
    parsed = Name.parse(file_name)
    return parsed.id if parsed else otherwise or file_name


def is_notification(file_name: str) -> bool:
    """Say whether a file of this name is a notification."""
    return file_name.endswith(SUFFIX) and not file_name.startswith(HIDDEN)


def log_name(file_name: str) -> str:
    """Return the name of the log that stands beside a notification's file."""
    return file_name.removesuffix(SUFFIX) + LOG_SUFFIX
