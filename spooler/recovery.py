"""Recovery: what the processor puts right at its start, before it claims anything.

Owns: sweeping after a crash, as the table in `spooler.state` says.
Promises: what was in `processing/` is back in `incoming/`, its interrupted attempt counted, so that a
notification that kills the processor can't do so for ever. Logs stand beside their files again.
Does not promise: to be run twice at once; the caller holds the processor's lock.
Logs: one line per notification that is taken up again.
"""

import time
from collections.abc import Iterator
from pathlib import Path

from spooler import children, history, running
from spooler.log import get_logger
from spooler.name import HIDDEN, LOG_SUFFIX, SUFFIX, log_name
from spooler.scripts import OWNER_VARIABLE
from spooler.spool import WebhookSpool, bring_log
from spooler.state import ACTIVE, State

_SURVIVOR_SECONDS = 5.0


def recover(spool: WebhookSpool) -> int:
    """Sweep one webhook's folders after whatever happened; return how many notifications were taken up again.

    Raises: OSError.
    """
    for log in _orphaned_logs(spool):
        _bring_after_its_file(spool, log)
    processing = spool.folder(State.PROCESSING)
    names = spool.listing(State.PROCESSING).names
    for name in names:
        take_up(spool, name)
    running.sweep(processing)
    return len(names)


def take_up(spool: WebhookSpool, name: str) -> None:
    """Put one notification from `processing/` back into `incoming/`, the attempt counted. Raises: OSError."""
    _end_survivors(spool.path(State.PROCESSING, name))
    _count_interrupted(spool, name)
    # CRASH: the line stands and the file is still here: it counts once more. Rather so than never.
    running.clear(spool.folder(State.PROCESSING), name)
    spool.release(name)
    get_logger().warning("taken up again", webhook=spool.webhook, file=name)


def let_go(spool: WebhookSpool, name: str) -> None:
    """Clear away after a notification that a person took out of `processing/`. Raises: OSError."""
    running.clear(spool.folder(State.PROCESSING), name)
    log = spool.path(State.PROCESSING, log_name(name))
    if log.exists():
        _bring_after_its_file(spool, log)


def _end_survivors(path: Path) -> None:
    """End a script that outlived the processor: it must not run beside the next attempt."""
    give_up_at = time.monotonic() + _SURVIVOR_SECONDS
    while survivors := children.find_by_environment(OWNER_VARIABLE, str(path)):
        children.kill(survivors)
        if time.monotonic() > give_up_at:
            get_logger().error("left behind", processes=sorted(survivors), file=path.name)
            return
        time.sleep(0.01)


def _count_interrupted(spool: WebhookSpool, name: str) -> None:
    """Write down the attempt that was cut short, whatever is known of it."""
    lines = spool.log_lines(State.PROCESSING, name)
    mark = running.read(spool.folder(State.PROCESSING), name)
    if mark is not None and not (lines and lines[-1].get("at") == mark.at):
        spool.record(State.PROCESSING, name, mark.interrupted())
        return
    attempt = mark.attempt if mark else history.Progress.of(lines).attempt
    text = f"interrupted while no script was running; counts as attempt {attempt}"
    spool.record(State.PROCESSING, name, history.note(spool.clock.now(), text, attempt=attempt))


def _orphaned_logs(spool: WebhookSpool) -> Iterator[Path]:
    for state in ACTIVE:
        for log in spool.folder(state).glob(f"*{LOG_SUFFIX}"):
            if not log.name.startswith(HIDDEN) and not log.with_suffix(SUFFIX).exists():
                yield log


def _bring_after_its_file(spool: WebhookSpool, log: Path) -> None:
    """Find the file that moved on without its log. None: a person took it away; the log stays."""
    file_name = log.with_suffix(SUFFIX).name
    places = [spool.folder(state) for state in (*ACTIVE, State.FAILED)]
    places += spool.folder(State.DONE).iterdir()
    for place in places:
        if (place / file_name).is_file():
            bring_log(log, place / log.name)
            return
