"""What must hold after a kill: at the instant itself, and when everything was started again and has settled.

Owns: the promises, looked up in the folders, the logs and the scripts' own journal. Each is a text in the
list that is returned; an empty list is success.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from running_service import Site

from spooler import children
from spooler.folders import WebhookFolders
from spooler.name import Name
from spooler.scripts import OWNER_VARIABLE
from spooler.state import State

STATES = tuple(state for state in State if state is not State.REJECTED)
# What services remember stands under one fixed hidden name each, and may be there, or half written.
_REMEMBERED = (".refusals", ".stamp", ".alerts", ".metrics")

_SWEPT_BY_RECEIVER = (State.INCOMING, State.REJECTED)

# It tells of each run before anything else. By its id a notification works, works later, or never does.
SCRIPT = """#!/bin/sh
echo "$SPOOLER_ID $SPOOLER_ATTEMPT" >> "{journal}"
case "$SPOOLER_ID" in
later-* | [0-3]*) [ "$(grep -c "^$SPOOLER_ID " "{journal}")" -gt 1 ] || exit 75 ;;
never-*) exit 65 ;;
long-*) sleep "$(cat "{journal}.long" 2>/dev/null || echo 0)" ;;
esac
exit 0
"""


@dataclass(frozen=True)
class Sent:
    """A notification, delivered `times` times and confirmed the last time; `after`: an older one."""

    id: str
    body: bytes
    times: int = 1
    after: str = ""

    @property
    def runs(self) -> int:
        """How often the script is started for it if nothing is killed."""
        return 2 if self.id.startswith(("later-", *"0123")) else 1


def make_body(identifier: str, contact: int) -> bytes:
    members = {"Type": "contact_modified", "EventUniqueID": identifier, "ContactID": {"idContact": contact}}
    return json.dumps(members | {"Data": {"f_City": "Québec"}}, ensure_ascii=False).encode()


def journal_of(site: Site) -> Path:
    return site.root / "journal"


def add_script(site: Site) -> None:
    site.script(SCRIPT.format(journal=journal_of(site)))


def read_journal(site: Site) -> list[tuple[str, int]]:
    """Return (id, attempt) of each run that a script has begun, in their order."""
    try:
        lines = journal_of(site).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(identifier, int(attempt)) for identifier, attempt in map(str.split, lines)]


def read_lines(file: Path) -> list[dict[str, object]]:
    """Return the lines of a notification's log, without torn ones."""
    lines = []
    log = file.with_suffix(".log")
    for text in log.read_text().splitlines() if log.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def interrupted(site: Site) -> dict[str, int]:
    """Return by id how many more runs what is in `processing/` may have now: 1, or 0 if it was done."""
    return {
        _id(file): 0 if any(line.get("exit") == 0 for line in _log_anywhere(site, file)) else 1
        for file in site.files("processing")
    }


def interruptions(site: Site) -> dict[str, int]:
    """Return the same as the logs tell it afterwards, where nobody looked at the instants."""
    files = [file for state in STATES for file in site.files(state)]
    counts = Counter({_id(file): sum(map(_tells_of_a_crash, read_lines(file))) for file in files})
    return dict(+counts)


def at_the_instant(site: Site, confirmed: Iterable[bytes], unsure: Iterable[bytes] = ()) -> list[str]:
    """Check that what was confirmed is there whole and once, while nothing runs; of `unsure` at most one."""
    on_disk = bodies(site)
    confirmed, unsure = set(confirmed), set(unsure)
    lost = [body for body in confirmed if on_disk[body] != 1]
    return [
        *(f"{on_disk[body]} files, and not one, hold {body!r}" for body in lost),
        *(f"nobody sent {body!r}" for body in on_disk.keys() - confirmed - unsure),
        *(f"not confirmed, and there twice: {body!r}" for body in unsure - confirmed if on_disk[body] > 1),
    ]


def when_settled(site: Site, sent: Iterable[Sent], entitled: Mapping[str, int], kills: int) -> list[str]:
    """Check everything, when nothing waits any more and no service runs. `entitled`: as of `interrupted`."""
    sent = list(sent)
    return [
        *_stored(site, sent),
        *_processed(site, sent, entitled, kills),
        *_in_order(site, sent),
        *_settled(site, entitled),
        *leftovers(site),
    ]


def _stored(site: Site, sent: Iterable[Sent]) -> Iterator[str]:
    on_disk = bodies(site)
    for one in sent:
        if not 1 <= on_disk[one.body] <= one.times:
            yield f"{one.id}: {on_disk[one.body]} files; it was delivered {one.times} times"
    for body in on_disk.keys() - {one.body for one in sent}:
        yield f"nobody sent {body!r}"
    for state in ("incoming", "processing", "retry"):
        for file in site.files(state):
            yield f"{file.name} is still in {state}/"


def _processed(site: Site, sent: Iterable[Sent], entitled: Mapping[str, int], kills: int) -> Iterator[str]:
    journal = read_journal(site)
    for (identifier, attempt), count in Counter(journal).items():
        if count > 1:
            yield f"{identifier}: attempt {attempt} was begun {count} times"
    attempts: dict[str, list[int]] = defaultdict(list)
    for identifier, attempt in journal:
        attempts[identifier].append(attempt)
    for one in sent:
        made, most = attempts[one.id], one.runs + entitled.get(one.id, 0)
        if not one.runs <= len(made) <= most:
            yield f"{one.id}: the script ran {len(made)} times, and not {one.runs} to {most}"
        # A kill costs one attempt at most: the one that it cut short, or the next, if none was running.
        if made != sorted(made) or (made and made[-1] > len(made) + kills):
            yield f"{one.id}: its attempts were {made}, with {kills} kills"


def _in_order(site: Site, sent: Iterable[Sent]) -> Iterator[str]:
    order = [identifier for identifier, _attempt in read_journal(site)]
    for one in sent:
        if one.after in order and one.id in order:
            last_of_older = len(order) - 1 - order[::-1].index(one.after)
            if order.index(one.id) < last_of_older:
                yield f"{one.id} overtook {one.after}"


def _settled(site: Site, entitled: Mapping[str, int]) -> Iterator[str]:
    files = [(state, file) for state in ("done", "failed") for file in site.files(state)]
    for state, file in files:
        lines, identifier = read_lines(file), _id(file)
        if (state == "failed") != identifier.startswith("never-"):
            yield f"{identifier} ended in {state}/"
        is_repeat = any("repeats" in line for line in lines)
        if state == "done" and not is_repeat and 0 not in [line.get("exit") for line in lines]:
            yield f"{identifier} is done, and its log tells of no run that succeeded"
        if identifier in entitled and not any(map(_tells_of_a_crash, lines)):
            yield f"{identifier} was being processed, and its log doesn't tell that it was interrupted"


def _tells_of_a_crash(line: Mapping[str, object]) -> bool:
    return line.get("exit") == "interrupted" or str(line.get("note", "")).startswith("interrupted")


def leftovers(site: Site) -> list[str]:
    """Return what nobody will ever sweep; what was being stored is the receiver's to sweep, after an hour."""
    found = [f"left in processing/: {path.name}" for path in site.folder("processing").iterdir()]
    for path in site.spool.rglob("*"):
        if path.suffix == ".log" and not path.with_suffix(".json").exists():
            found.append(f"a log without its file: {path}")
        is_litter = path.name.startswith(".") and not path.name.startswith(_REMEMBERED)
        if is_litter and path.parent.name not in {"processing", *_SWEPT_BY_RECEIVER}:
            found.append(f"hidden: {path}")
    processes = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    owners = [children.environment_value(process, OWNER_VARIABLE) or "" for process in processes]
    return found + [f"a script survived: {owner}" for owner in owners if owner.startswith(str(site.spool))]


def litter(site: Site) -> list[Path]:
    """Return what was being written when its writer was killed."""
    return [path for path in site.all_files() if path.name.startswith(".new-")]


def make_old(files: Iterable[Path]) -> None:
    """Let files look two hours old."""
    for file in files:
        then = file.stat().st_mtime - 7200
        os.utime(file, (then, then))


def bodies(site: Site) -> Counter[bytes]:
    """Return how many files hold which body."""
    return Counter(file.read_bytes() for state in STATES for file in site.files(state))


def _id(file: Path) -> str:
    name = Name.parse(file.name)
    return name.id if name else file.name


def _log_anywhere(site: Site, file: Path) -> list[dict[str, object]]:
    folders = WebhookFolders(site.spool, "crm")
    return [line for state in STATES for line in read_lines(folders.path(state, file.name))]
