"""Recovery: what the processor puts right at its start, before it claims anything.

Owns: sweeping after a crash, as the table in `spooler.state` says.
Promises: what was in `processing/` is back in `incoming/`, its interrupted attempt counted, so that a
notification that kills the processor can't do so for ever. Logs stand beside their files again. What had
only just been finished is so for good.
Does not promise: to be run twice at once; the caller holds the processor's lock.
Logs: one line per notification that is taken up again, and per notification or log that is left alone.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from spooler import children, durable, history, running
from spooler.claiming import ProcessorsSpool
from spooler.log import get_logger
from spooler.name import HIDDEN, LOG_SUFFIX, SUFFIX, log_name
from spooler.scripts import OWNER_VARIABLE
from spooler.spool import NotSyncedError, bring_log
from spooler.state import ACTIVE, State

_SURVIVOR_SECONDS = 5.0
# A file's stamps are of the kernel's last tick, which is milliseconds back, and some file systems keep whole
# seconds.
_STAMPS_LAG_SECONDS = 2.0
# Of one file, or its log, that is somebody else's or no file at all. Others are of the disk.
ONE_FILES_ERRORS = (PermissionError, IsADirectoryError, history.OddLogError)


class Recovered(NamedTuple):
    """What was in `processing/`: what is back in `incoming/`, and what was left alone.

    left: the names of those that can't be read or moved, and whether their attempt was counted.
    """

    taken_up: list[str]
    left: dict[str, bool]


def recover(spool: ProcessorsSpool, found: Recovered | None = None) -> Recovered:
    """Sweep one webhook's folders after whatever happened.

    found: told of each as it is taken up, for whoever wants to know of those before an error, too.

    Raises: OSError.
    """
    _end_survivors(spool)
    for state, log in _orphaned_logs(spool):
        try:
            _bring_after_its_file(spool, log)
        except ONE_FILES_ERRORS as error:
            _leave_alone(spool, state, log.with_suffix(SUFFIX).name, error, file=log.name)
    found = Recovered([], {}) if found is None else found
    for name in spool.listing(State.PROCESSING).names:
        counted = False
        try:
            count(spool, name, crashed=True)
            counted = True
            found.taken_up.append(put_back(spool, name))
        except ONE_FILES_ERRORS as error:  # no reason to hold up the rest
            _leave_alone(spool, State.PROCESSING, name, error)
            found.left[name] = counted
    _settle_marked(spool, found)
    if not found.left:
        running.sweep(spool.folder(State.PROCESSING))
    return found


def count(spool: ProcessorsSpool, name: str, *, crashed: bool) -> None:
    """Write down that one in `processing/` goes back to `incoming/`, and end what runs for it still.

    crashed: nobody saw what became of its attempt, which counts; else its log tells.

    Raises: OSError.
    """
    if crashed:
        _end_survivors(spool, name)
        _count_interrupted(spool, name)
        return
    lines = spool.log_lines(State.PROCESSING, name)
    if not (lines and history.is_open(lines[-1])):
        text = "back to incoming after an error of the disk"
        spool.record(State.PROCESSING, name, history.note(spool.clock.now(), text, released=True))


def put_back(spool: ProcessorsSpool, name: str) -> str:
    """Put one that was counted back into `incoming/`; return the name that it has there. Raises: OSError."""
    # CRASH: the line stands and the file is still here: it counts once more. Rather so than never.
    running.clear(spool.folder(State.PROCESSING), name)
    identifier = spool.identify(State.PROCESSING, name)
    log = get_logger().bind(webhook=spool.webhook, id=identifier)
    try:
        now_named = spool.release(name)
    except NotSyncedError as error:
        now_named = error.name
        log.error("not synced", file=now_named, reason=error.strerror)  # noqa: TRY400 - no defect
    log.warning("taken up again", file=name)
    return now_named


def let_go(spool: ProcessorsSpool, name: str) -> None:
    """Clear away after a notification that a person took out of `processing/`. Raises: OSError."""
    running.clear(spool.folder(State.PROCESSING), name)
    log = spool.path(State.PROCESSING, log_name(name))
    if log.exists() and not _bring_after_its_file(spool, log):
        # It left the spool. Should it come back into incoming/, its log says there that a person did it.
        bring_log(log, spool.path(State.INCOMING, log.name))


def _end_survivors(spool: ProcessorsSpool, name: str = "") -> None:
    """End scripts that outlived the processor, or one that did: none may run beside the next attempt.

    name: whatever was started for that notification; else for any, and since then it may work on another.
    """
    folder, path = spool.folder(State.PROCESSING), spool.path(State.PROCESSING, name)
    give_up_at = time.monotonic() + _SURVIVOR_SECONDS
    while survivors := (
        children.find_by_environment(OWNER_VARIABLE, str(path))
        if name
        else children.find_below(OWNER_VARIABLE, folder)
    ):
        children.kill(survivors)
        if time.monotonic() > give_up_at:
            identifier = spool.identify(State.PROCESSING, name) if name else None
            log = get_logger().bind(webhook=spool.webhook, id=identifier)
            log.error("left behind", file=name or None, processes=sorted(survivors))
            return
        time.sleep(0.01)


def _count_interrupted(spool: ProcessorsSpool, name: str) -> None:
    """Write down the attempt that was cut short, whatever is known of it."""
    lines = spool.log_lines(State.PROCESSING, name)
    mark = running.read(spool.folder(State.PROCESSING), name)
    if mark is not None and not _is_told_of(mark, lines):
        spool.record(State.PROCESSING, name, mark.interrupted())
        return
    if mark is not None and lines[-1].get("at") != mark.at:
        mark = None  # CRASH: a power cut brought it back; it is of an earlier attempt
    attempt = mark.attempt if mark else history.Progress.of(lines).attempt
    text = f"interrupted while no script was running; counts as attempt {attempt}"
    spool.record(State.PROCESSING, name, history.note(spool.clock.now(), text, attempt=attempt))


def _settle_marked(spool: ProcessorsSpool, found: Recovered) -> None:
    """Go after the marks of those that aren't in `processing/`.

    A power cut put them back to where they were claimed, and their attempts count; or they had only just been
    finished, and are so for good now.
    """
    for name, mark in running.marks(spool.folder(State.PROCESSING)).items():
        if spool.path(State.PROCESSING, name).exists():
            continue  # left alone
        for state in (State.INCOMING, State.RETRY):
            try:
                if spool.path(state, name).exists() and not _is_told_of(mark, spool.log_lines(state, name)):
                    spool.record(state, name, mark.interrupted(), sync=True)
                    found.taken_up.append(name)
            except ONE_FILES_ERRORS as error:
                _leave_alone(spool, state, name, error)
        try:
            _finish_for_good(spool, name, mark)
        except ONE_FILES_ERRORS as error:
            _leave_alone(spool, State.DONE, name, error)


def _finish_for_good(spool: ProcessorsSpool, name: str, mark: running.Mark) -> None:
    """Sync what has come to `done/` since its mark, and have its log say so if a line is missing.

    A power cut took it; or the processor was killed in the run, and then a person put the file there.

    Raises: OSError.
    """
    marked = history.moment(mark.members())
    for day in spool.days():
        path = spool.path(State.DONE, name, day)
        # The rename into done/ set st_ctime; an older file of that name is one that a person has copied.
        if marked is None or not _is_there(path):
            continue
        if path.lstat().st_ctime >= marked.timestamp() - _STAMPS_LAG_SECONDS:
            log = path.with_name(log_name(name))
            # CRASH: dated as the run is, by which the next start knows that this was said already.
            is_told = _is_told_of(mark, history.read(log))
            text = f"no line tells how {mark.script}, begun then, ended: a crash came before"
            history.append(log, [] if is_told else [history.note(marked, text)], sync=True)
            durable.sync_folder(path.parent)


def _leave_alone(spool: ProcessorsSpool, state: State, name: str, error: OSError, *, file: str = "") -> None:
    """Tell of a notification, or of a `file` of it, that is left where it is."""
    about = {"webhook": spool.webhook, "id": spool.identify(state, name), "file": file or name}
    get_logger().error("left alone", **about, reason=str(error))


def _is_told_of(mark: running.Mark, lines: Sequence[history.Line]) -> bool:
    """Say whether a log tells already what came of a marked run."""
    return any(line.get("at") == mark.at for line in lines)


def _orphaned_logs(spool: ProcessorsSpool) -> Iterator[tuple[State, Path]]:
    for state in ACTIVE:
        logs = [
            entry.name
            for entry in spool.entries(state)
            if entry.name.endswith(LOG_SUFFIX) and not entry.name.startswith(HIDDEN)
        ]
        for name in logs:
            log = spool.path(state, name)
            if not log.with_suffix(SUFFIX).exists():
                yield state, log


def _bring_after_its_file(spool: ProcessorsSpool, log: Path) -> bool:
    """Find the file that moved on without its log; False if a person took it away, and the log stays."""
    file_name = log.with_suffix(SUFFIX).name
    places = [spool.folder(state) for state in (*ACTIVE, State.FAILED)]
    places += [spool.path(State.DONE, day) for day in spool.days()]
    for place in places:
        if _is_there(place / file_name):
            bring_log(log, place / log.name)
            return True
    return False


def _is_there(path: Path) -> bool:
    """Say whether there is a file; in a folder that is closed to us there is none of ours."""
    try:
        return path.is_file()
    except PermissionError:
        return False
