"""What was promised before the power went, and whether a file system that came back keeps it.

Owns: the marks (one line each, in the order of events) and the checks of a spool after a crash.
A mark is `ack ID` (200 was answered), `ran ID SCRIPT` (a script has begun) or `settled STATE ID`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

import structlog

from spooler import history, recovery
from spooler.claiming import ProcessorsSpool
from spooler.errors import SpoolerError
from spooler.name import Name
from spooler.state import State

FIRST, SECOND = "10-first", "20-second"
RETRY_SECONDS = 3600  # the delay that the services under test are given

LOST = "lost"  # confirmed, and not there
TORN = "torn"  # visible under a name, and not what was sent
UNCOUNTED = "attempt forgotten"  # a script had begun, and nothing tells of it
REPEATED = "finished script forgotten"  # the next one had begun, and this one would run again
UNSETTLED = "settlement forgotten"  # it would run again
UNTIMED = "due time forgotten"
UNUSABLE = "unusable"  # no mount, no start
KINDS = (LOST, TORN, UNCOUNTED, REPEATED, UNSETTLED, UNTIMED, UNUSABLE)

Found = dict[str, tuple[State, list[history.Line]]]  # by id


def check(root: Path, marks: Iterable[str], sent: Mapping[str, bytes]) -> Counter[str]:
    """Look at a spool after a crash, have it recovered, and count the broken promises by kind.

    sent: the bodies by their ids.
    """
    spool = ProcessorsSpool(root, "crm")
    broken: Counter[str] = Counter()
    try:
        broken[TORN] += sum(_is_torn(path, sent) for path in root.glob("crm/**/*.json"))
        broken[UNTIMED] += sum(_is_untimed(path) for path in root.glob("crm/retry/*.json"))
        with structlog.testing.capture_logs():
            spool.prepare()
            spool.sweep_litter()
            recovery.recover(spool)
        found = _find_all(spool, sent)
    except (OSError, SpoolerError):
        broken[UNUSABLE] += 1
        return broken
    for mark in marks:
        broken[_break(mark, found)] += 1
    del broken[""]
    return +broken


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


def _break(mark: str, found: Found) -> str:
    """Return which promise of a mark's is broken; empty for none."""
    what, *rest = mark.split()
    identifier = rest[0] if what != "settled" else rest[1]
    if identifier not in found:
        return LOST
    state, lines = found[identifier]
    if what == "ran" and not history.attempts(lines):
        return UNCOUNTED
    if what == "ran" and rest[1] == SECOND:
        answered = {name for name, _version in history.Progress.of(lines).answered}
        return "" if FIRST in answered else REPEATED
    if what == "settled" and (state.value != rest[0] or not _tells_the_end(lines)):
        return UNSETTLED
    return ""


def _tells_the_end(lines: list[history.Line]) -> bool:
    return any(line.get("script") == SECOND and line.get("exit") is not None for line in lines)


def id_of(body: bytes) -> str:
    """Return a body's id."""
    return str(json.loads(body)["EventUniqueID"])
