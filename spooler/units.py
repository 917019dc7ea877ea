"""Durations and sizes as people write them: `"90s"`, `"15m"`, `"64KiB"`.

Owns: the two notations, both ways.
Promises: a text that is neither is refused with an example of what would be.
Does not promise: calendar arithmetic; a day is 86,400 seconds.
"""

import math
import re

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_LONGEST_SECONDS = 100 * 365 * 86400  # what can be added to any date that we meet
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_LARGEST_BYTES = 1 << 63  # of any file or disk
_SIZE = re.compile(r"(\d{1,40})(B|KiB|MiB|GiB|TiB|)")


class Duration(float):
    """A length of time in seconds."""

    @classmethod
    def parse(cls, text: object) -> "Duration":
        """Read `"90s"`, `"15m"`, `"12h"` or `"30d"`. Raises: ValueError."""
        found = _DURATION.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(f'{text!r} is no duration; write for example "90s", "15m", "12h" or "30d"')
        seconds = float(found[1]) * _SECONDS[found[2]]
        if seconds > _LONGEST_SECONDS:
            raise ValueError(f"{text!r} is longer than a hundred years")
        return cls(seconds)


class Keep(float):
    """How long to keep something, in seconds; infinite for `"never"` (never remove it)."""

    @classmethod
    def parse(cls, text: object) -> "Keep":
        """Read a duration or `"never"`. Raises: ValueError."""
        return cls(math.inf if text == "never" else Duration.parse(text))


class Size(int):
    """A number of bytes."""

    @classmethod
    def parse(cls, text: object) -> "Size":
        """Read `"64KiB"`, `"1MiB"` or `"2GiB"`. Raises: ValueError."""
        found = _SIZE.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ValueError(f'{text!r} is no size; write for example "64KiB", "1MiB" or "2GiB"')
        size = int(found[1]) * _BYTES[found[2]]
        if size >= _LARGEST_BYTES:
            raise ValueError(f"{text!r} is larger than any disk")
        return cls(size)


def format_size(size: float) -> str:
    """Write a number of bytes for people: `1.5 MiB`."""
    for unit, factor in reversed(_BYTES.items()):
        if unit and size >= factor:
            return f"{size / factor:.1f} {unit}" if factor > 1 else f"{size:.0f} B"
    return "0 B"


def format_duration(seconds: float) -> str:
    """Write a length of time for people, in the largest unit that fits: `3m`, `1.5h`."""
    for unit, factor in reversed(_SECONDS.items()):
        if seconds >= factor:
            return f"{seconds / factor:.1f}".removesuffix(".0") + unit
    return "0s"
