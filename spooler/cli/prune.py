"""`spooler prune`: carry out the retention."""

from pathlib import Path

import click

from spooler import config as configuration
from spooler import pruning
from spooler.cli import asking, moving, scope
from spooler.cli.options import config_option, dry_run_option, webhook_option, yes_option
from spooler.cli.telling import say
from spooler.config import Retention
from spooler.errors import Exit
from spooler.folders import Place
from spooler.owner import acting_for
from spooler.person import PersonsSpool
from spooler.state import State
from spooler.units import Keep

_BY_FILE = (State.FAILED, State.REJECTED)


@click.command(name="prune")
@webhook_option
@dry_run_option
@yes_option
@config_option
def command(webhook: str | None, dry_run: bool, yes: bool, config: Path | None) -> int:
    """Remove what [retention] lets go: days of done/, and what is older in failed/ and rejected/.

    What waits is never touched. Safe while the services run; a timer calls it with --yes.

    \b
    Examples:
      spooler prune --dry-run
      spooler prune --yes
    """
    loaded = configuration.load(config)
    status = Exit.OK
    spools = scope.spools(loaded, webhook)
    unreadable = moving.Unreadable()
    counted = [(spool, _count(spool, loaded.retention, unreadable)) for spool in spools]
    total = sum(sum(counts.values()) for _spool, counts in counted)
    parts = [
        f"{spool.webhook}: {number:,} of {state}/"
        for spool, counts in counted
        for state, number in counts.items()
        if number
    ]
    if total:
        text = f"remove {asking.count(total)} ({'; '.join(parts)})"
        if not asking.is_meant(text, yes=yes, dry_run=dry_run, ask=total > 1):
            return unreadable.status
    elif dry_run:
        say("nothing is old enough to be removed")
        return unreadable.status
    removed = 0
    for spool in spools:
        if spool.base.exists():
            with acting_for(spool.base):
                removed_here, status_here = _prune(spool, loaded.retention, total, unreadable)
            removed += removed_here
            status = max(status, status_here)
    say(f"{asking.count(removed)} removed")
    return max(status, unreadable.status)


def _keep(retention: Retention) -> dict[State, Keep]:
    return {State.DONE: retention.done, State.FAILED: retention.failed, State.REJECTED: retention.rejected}


def _count(spool: PersonsSpool, retention: Retention, unreadable: moving.Unreadable) -> dict[State, int]:
    keep = _keep(retention)
    counts = dict.fromkeys(keep, 0)
    for day in pruning.days(spool, keep[State.DONE]):
        try:
            counts[State.DONE] += sum(1 for _one in spool.notifications(State.DONE, day))
        except OSError as error:
            unreadable(Place(spool, State.DONE, "", day), error)
    for state in _BY_FILE:
        counts[state] = sum(1 for _place in pruning.files(spool, state, keep[state], unreadable))
    return counts


def _prune(
    spool: PersonsSpool, retention: Retention, total: int, unreadable: moving.Unreadable
) -> tuple[int, Exit]:
    """Remove what needn't be kept of one webhook; return how many notifications, and the exit status."""
    keep = _keep(retention)
    removed, status = 0, Exit.OK
    empty = pruning.empty_days(spool, unreadable)
    for day in dict.fromkeys([*pruning.days(spool, keep[State.DONE]), *empty]):
        try:
            removed += spool.prune_day(day)
            for kept in spool.entries(State.DONE, day):
                moving.complain(f"{kept.path}: stays: spooler removes no folder that it didn't make")
        except OSError as error:
            _tell(Place(spool, State.DONE, "", day), error, unreadable)
            status = Exit.FAILED
    for state in _BY_FILE:
        for place in asking.progress(
            pruning.files(spool, state, keep[state], unreadable), total, f"{state}/"
        ):
            try:
                spool.forget(state, place.file_name)
                removed += 1
            except OSError as error:
                moving.complain(f"{place.path}: can't be removed: {error.strerror}")
                status = Exit.FAILED
        try:
            for log in list(pruning.logs(spool, state, keep[state])):
                spool.prune_log(state, log)
        except OSError as error:  # whatever is wrong with one of them is wrong with the folder
            _tell(Place(spool, state, ""), error, unreadable)
            status = Exit.FAILED
    return removed, status


def _tell(folder: Place, error: OSError, unreadable: moving.Unreadable) -> None:
    if not unreadable.knows(folder):
        moving.complain(f"{error.filename or folder.path}: can't be removed: {error.strerror}")
