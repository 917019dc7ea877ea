"""The history of a notification: the `.log` beside its file, JSON Lines, one line per run of a script.

Owns: the lines' members, appending them, reading them, and what follows from them: which attempt is next,
and which scripts have answered 0 already.
Promises: a line that a crash tore is passed over and never spoils the next one.
Does not promise: that the lines before the last one that starts anew say anything about what is to come.

A run: `at` (UTC), `attempt` (from 1), `script`, `exit` (number, "timeout", "killed", "interrupted"),
`seconds` (null where a crash took it), `output`, `version` (a digest of the script's content, by which a
script that was changed since counts as not run).
A note: `at`, `note`. It has `attempt` where it stands for an attempt in which no script was started,
`released` where spooler itself put the file back to wait, `received` where the file's name doesn't tell when
it came, `anew` where attempts
are counted from 1 again and every script runs again, and `readmitted` where a refused request was found to be
authentic after all.
"""

import errno
import json
import math
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spooler.durable import MODE, write_all
from spooler.units import format_size

Line = dict[str, Any]


_WRITE = json.JSONEncoder(ensure_ascii=False).encode


class OddLogError(OSError):
    """In a log's place is what spooler can't have written, or nobody can read: no regular file, or too large.

    It is never followed, nor waited for.
    """


INTERRUPTED = "interrupted"
# A script that is stopped because spooler stops has done nothing wrong. But one that stops spooler must not
# run for ever: from the third time on it counts.
_FREE_INTERRUPTIONS = 2
_MOST_BYTES = 64 << 20  # of a log: thousands of runs with all the output that is kept of each
_MOST_ATTEMPTS = 10**6  # more were never made, whatever a log says


def iso(moment: datetime) -> str:
    """Write a moment as the log does: ISO 8601, UTC, microseconds, `Z`."""
    return f"{moment.astimezone(UTC).isoformat(timespec='microseconds')[:-6]}Z"  # without its +00:00


def moment(line: Line) -> datetime | None:
    """Return when a line's event was, aware, in UTC; None if it doesn't say."""
    try:
        return datetime.fromisoformat(line["at"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def received(lines: Sequence[Line]) -> datetime | None:
    """Return when the file came, if the log says so, aware, in UTC."""
    said = next((line["received"] for line in lines if "received" in line), None)
    return moment({"at": said})


def note(at: datetime, text: str, **marks: int | bool | str) -> Line:
    """Return the line for something that is no run of a script; for the marks see above."""
    return {"at": iso(at), "note": text, **marks}


def append(path: Path | str, lines: Iterable[Line], *, sync: bool = False) -> None:
    """Append lines to the log at `path`, which is made if it isn't there. Raises: OddLogError, OSError."""
    content = b"".join(_encode(line) for line in lines)
    descriptor, size = _open_regular(str(path), os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        # CRASH: the last line may be torn; a line break keeps it from spoiling this one.
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            content = b"\n" + content
        write_all(descriptor, content)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path | str) -> list[Line]:
    """Return the log's lines, oldest first; none if there is no log.

    Raises: OddLogError, OSError.
    """
    try:
        descriptor, size = _open_regular(str(path), os.O_RDONLY)
    except FileNotFoundError:
        return []
    if size > _MOST_BYTES:
        os.close(descriptor)
        raise OddLogError(errno.EFBIG, f"is larger than {format_size(_MOST_BYTES)}", str(path))
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        content = file.read()
    return [line for line in map(_decode, content.split(b"\n")) if line is not None]


def _open_regular(path: str, flags: int) -> tuple[int, int]:
    """Return a descriptor and the size. Raises: OddLogError, OSError."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, MODE)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EISDIR, errno.ENXIO}:  # a link, a folder, a socket
            raise OddLogError(errno.EINVAL, "is no regular file", path) from None
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status.st_size
    os.close(descriptor)
    raise OddLogError(errno.EINVAL, "is no regular file", path)


def _encode(line: Line) -> bytes:
    return _WRITE(line).encode("utf-8", "backslashreplace") + b"\n"


def _decode(text: bytes) -> Line | None:
    try:
        line = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return None  # torn, or not ours
    return line if isinstance(line, dict) else None


def _finite(written: str) -> float:
    """Return a number; NaN and the infinite ones are none that JSON could hand on."""
    number = float(written)
    if not math.isfinite(number):
        raise ValueError(f"{written} is no JSON")
    return number


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a notification has come.

    attempt: the number that the next run of a script gets, from 1.
    answered: the scripts that have answered 0, with the version that did.
    by_person: a person brought it back, who wants everything run, from the first attempt.
    readmitted: it was refused when it came, so that what is younger may be finished already.
    """

    attempt: int = 1
    answered: frozenset[tuple[str, str]] = frozenset()
    by_person: bool = False
    readmitted: bool = False

    @classmethod
    def of(cls, lines: Sequence[Line]) -> "Progress":
        """Work out the progress from the lines of a log."""
        if not lines:
            return _NOTHING_YET
        current, by_person = _current(lines)
        readmitted = any(line.get("readmitted") is True for line in lines)
        answered = frozenset(
            (str(line.get("script")), str(line.get("version"))) for line in current if line.get("exit") == 0
        )
        counted = [line for line in current if _is_counted(line)]
        if not counted:
            return cls(1, answered, by_person, readmitted)
        # After a script that answered 0 the same attempt goes on with the next script.
        same = counted[-1].get("exit") == 0 or _is_free(counted)
        return cls(counted[-1]["attempt"] + (0 if same else 1), answered, by_person, readmitted)


_NOTHING_YET = Progress()


def _is_free(counted: Sequence[Line]) -> bool:
    """Say whether the last attempt was cut short by an orderly stop, and so isn't held against it."""
    attempt = counted[-1]["attempt"]
    if not _was_stopped(counted[-1]):
        return False
    stops = [line for line in counted if _was_stopped(line) and line["attempt"] == attempt]
    return len(stops) <= _FREE_INTERRUPTIONS


def _was_stopped(line: Line) -> bool:
    """Say whether a run was ended by spooler's own stop; how long a crash let one run, nobody knows."""
    return line.get("exit") == INTERRUPTED and line.get("seconds") is not None


def attempts(lines: Sequence[Line]) -> int:
    """Return how many attempts were made, since a person last wanted them counted anew."""
    current, _by_person = _current(lines)
    return max((line["attempt"] for line in current if _is_counted(line)), default=0)


def _is_counted(line: Line) -> bool:
    """Say whether a line is of an attempt; anybody can write into a log."""
    attempt = line.get("attempt")
    return type(attempt) is int and 1 <= attempt <= _MOST_ATTEMPTS


def _current(lines: Sequence[Line]) -> tuple[Sequence[Line], bool]:
    """Return the lines that still say something of what is to come, and whether others stand before them."""
    starts = [index for index, line in enumerate(lines) if line.get("anew") is True]
    return (lines[starts[-1] + 1 :], True) if starts else (lines, False)


def last_word(lines: Sequence[Line]) -> str:
    """Return what a log says last, on one line: the last note, or how the last run ended; empty for none."""
    if not lines:
        return ""
    last = lines[-1]
    if "note" in last:
        return str(last["note"])
    output = " ".join(str(last.get("output", "")).split())
    return f"attempt {last.get('attempt')}, {last.get('script')}: exit {last.get('exit')}: {output}".rstrip(
        ": "
    )


def is_open(line: Line) -> bool:
    """Say whether a file whose log ends so may stand in `incoming/` without a further word.

    That is where spooler put it back itself, or a command has said already that a person did.
    """
    counts_alone = "note" in line and "attempt" in line
    marked = any(line.get(mark) is True for mark in ("released", "anew", "readmitted"))
    return line.get("exit") == INTERRUPTED or marked or counts_alone
