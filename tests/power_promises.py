"""What was promised before the power went, and whether a file system that came back keeps it.

Owns: the marks (one line each, in the order of events) and the checks of a spool after a crash.
A mark is `ack ID` (200 was answered), `ran ID SCRIPT` (a script has begun), `paused ID` (it went back after
the first script) or `settled STATE ID`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import structlog

from spooler import history, recovery
from spooler.claiming import ProcessorsSpool
from spooler.errors import SpoolerError
from spooler.name import Name
from spooler.notification import Notification
from spooler.state import State

FIRST, SECOND = "10-first", "20-second"
RETRY_SECONDS = 3600  # the delay that the services under test are given

LOST = "lost"  # confirmed, and not there
TORN = "torn"  # visible under a name, and not what was sent
UNCOUNTED = "attempt forgotten"  # a script had begun, and nothing tells of it
REPEATED = "finished script forgotten"  # the next one had begun, or waited for one; this one would run again
UNSETTLED = "settlement forgotten"  # it would run again
UNTOLD = "reason forgotten"  # it would stay where it is, and nothing says why it is there
UNTIMED = "due time forgotten"
UNUSABLE = "unusable"  # no mount, no start
KINDS = (LOST, TORN, UNCOUNTED, REPEATED, UNSETTLED, UNTOLD, UNTIMED, UNUSABLE)

Found = dict[str, tuple[State, list[history.Line]]]  # by id


class Mark(NamedTuple):
    """What was promised, and when that was noted."""

    text: str
    when: str = ""


class Violation(NamedTuple):
    """A broken promise: its kind; what was promised, or which file breaks it; and what there is to it."""

    kind: str
    what: str
    found: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}{self.found and f'; {self.found}'}"


def check(root: Path, marks: Iterable[Mark], sent: Mapping[str, bytes]) -> list[Violation]:
    """Look at a spool after a crash, have it recovered, and return the broken promises.

    sent: the bodies by their ids.
    """
    spool = ProcessorsSpool(root, "crm")
    broken: list[Violation] = []
    try:
        broken += [_of_file(TORN, path) for path in root.glob("crm/**/*.json") if _is_torn(path, sent)]
        broken += [_of_file(UNTIMED, path) for path in root.glob("crm/retry/*.json") if _is_untimed(path)]
        with structlog.testing.capture_logs():
            spool.prepare()
            spool.sweep_litter()
            recovery.recover(spool)
        found = _find_all(spool, sent)
    except (OSError, SpoolerError) as error:
        return [*broken, Violation(UNUSABLE, repr(error))]
    marks = list(marks)
    confirmed = {_id_in(mark.text) for mark in marks if mark.text.startswith("ack")}
    times: Counter[str] = Counter()
    for mark in marks:
        times[mark.text] += 1
        if kind := _break(mark.text, times[mark.text], found, confirmed):
            broken.append(Violation(kind, " ".join(mark), _told(mark.text, found)))
    return broken


def contents(root: Path) -> list[str]:
    """Return all that is in a folder: path, size, and when it was changed last, in seconds of the epoch."""
    told: list[str] = []
    try:
        for path in sorted(root.rglob("*")):
            status = path.lstat()
            told.append(f"{path.relative_to(root)} {status.st_size} {status.st_mtime:.6f}")
    except OSError as error:
        told.append(repr(error))  # a file system that isn't whole
    return told


def _of_file(kind: str, path: Path) -> Violation:
    return Violation(kind, str(path), f"{path.stat().st_size} bytes, changed at {path.stat().st_mtime:.6f}")


def _is_torn(path: Path, sent: Mapping[str, bytes]) -> bool:
    name = Name.parse(path.name)
    return not path.name.startswith(".") and (name is None or path.read_bytes() != sent.get(name.id))


def _is_untimed(path: Path) -> bool:
    name = Name.parse(path.name)
    due = timedelta(seconds=RETRY_SECONDS) + name.received if name else None
    return due is not None and path.stat().st_mtime < due.timestamp()


def _find_all(spool: ProcessorsSpool, sent: Mapping[str, bytes]) -> Found:
    found: Found = {}
    for state in State:
        for day in spool.days_of(state):
            for entry in spool.notifications(state, day):
                name = Name.parse(entry.name)
                if name and Path(entry).read_bytes() == sent.get(name.id):
                    found[name.id] = state, spool.log_lines(state, entry.name, day)
    return found


def _break(mark: str, times: int, found: Found, confirmed: Collection[str]) -> str:
    """Return which promise of a mark's is broken; empty for none. times: it was made so often till then."""
    what, *rest = mark.split()
    identifier = _id_in(mark)
    if identifier not in found:
        return LOST if identifier in confirmed else UNCOUNTED
    state, lines = found[identifier]
    if what == "ack":
        return _untrue(state, lines)
    if what == "ran" and _times_told(state, lines, rest[1]) < times:
        return UNCOUNTED
    if what == "paused" or (what == "ran" and rest[1] == SECOND):
        answered = {name for name, _version in history.Progress.of(lines).answered}
        return "" if FIRST in answered else REPEATED
    if what == "settled" and (state.value != rest[0] or not _tells_the_end(lines)):
        return UNSETTLED
    return ""


def _times_told(state: State, lines: list[history.Line], script: str) -> int:
    """Return of how many runs of a script a log tells; of what is done, the last may have only a note."""
    in_note = state is State.DONE and bool(lines) and "note" in lines[-1]
    return len([line for line in lines if line.get("script") == script]) + in_note


def _untrue(state: State, lines: list[history.Line]) -> str:
    """Return what is wrong if a notification is where, by its log, it can't be; empty for nothing."""
    last = lines[-1] if lines else {}
    is_open = history.is_open(last)
    if state is State.INCOMING and lines and not is_open:
        return REPEATED  # nobody but a person seems to have put it there, who wants everything run
    ran_all = state is State.DONE and last.get("script") == SECOND and last.get("exit") == 0
    has_word = "note" in last and not is_open
    return UNTOLD if state in {State.DONE, State.FAILED} and not (ran_all or has_word) else ""


def _id_in(mark: str) -> str:
    what, *rest = mark.split()
    return rest[0] if what != "settled" else rest[1]


def _told(mark: str, found: Found) -> str:
    """Return what is there of the notification that a mark is about."""
    state, lines = found.get(_id_in(mark), ("", []))
    return f"in {state}/, its log: {lines}" if state else ""


def _tells_the_end(lines: list[history.Line]) -> bool:
    if not history.attempts(lines):
        return any("note" in line for line in lines)
    return any(line.get("script") == SECOND and line.get("exit") is not None for line in lines)


def id_of(body: bytes) -> str:
    """Return a body's id."""
    return Notification.read(body).id
