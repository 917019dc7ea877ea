"""`spooler retry`: back to incoming/, from the first attempt."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click

from spooler import config as configuration
from spooler.cli import asking, moving, scope
from spooler.cli.options import (
    config_option,
    dry_run_option,
    since_option,
    type_option,
    webhook_option,
    yes_option,
)
from spooler.cli.telling import say
from spooler.errors import Exit
from spooler.folders import Place
from spooler.owner import acting_for
from spooler.person import PersonsSpool
from spooler.selection import Filter, by_receipt, select
from spooler.state import State


@click.command(name="retry")
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All of them, or all that --type and --since admit.")
@type_option
@since_option
@webhook_option
@click.option("--done", is_flag=True, help="From done/ instead of failed/.")
@dry_run_option
@yes_option
@config_option
def command(
    *,
    ids: tuple[str, ...],
    all_: bool,
    type_: str | None,
    since: datetime | None,
    webhook: str | None,
    done: bool,
    dry_run: bool,
    yes: bool,
    config: Path | None,
) -> int:
    """Put notifications from failed/ back into incoming/: every script runs, attempts are counted from 1.

    An ID may be shortened to any unambiguous beginning, or be a file's name; - reads IDs from standard input,
    one a line.

    \b
    Examples:
      spooler retry 7c1f4a52
      spooler retry --all --type contact_optout --since 1d
      spooler list failed --json | jq -r .id | spooler retry - --yes
    """
    if bool(ids) == all_:
        raise click.UsageError("name IDs, or say --all")
    if ids and (type_ or since):
        raise click.UsageError("--type and --since go with --all")
    spools = scope.spools(configuration.load(config), webhook)
    state = State.DONE if done else State.FAILED
    if all_:
        return _retry_all(spools, state, Filter(type_, since), yes=yes, dry_run=dry_run)
    unreadable = moving.Unreadable()
    sought = moving.seek(spools, [state], moving.read_ids(ids), unreadable)
    places = moving.places(sought)
    missed = Exit.FAILED if any(one.problem for one in sought) else unreadable.status
    many = len(places) > 1 and "-" in ids
    if not places or not asking.is_meant(_text(len(places), state), yes=yes, dry_run=dry_run, ask=many):
        return missed
    # In order of receipt, whatever the order of the IDs.
    places.sort(key=by_receipt)
    return max(missed, _move(spools, places, len(places), each=not many))


def _retry_all(spools: list[PersonsSpool], state: State, wanted: Filter, *, yes: bool, dry_run: bool) -> int:
    unreadable = moving.Unreadable()

    def places() -> Iterator[Place]:
        for spool in spools:
            yield from select(spool, state, wanted, unreadable)

    total = sum(1 for _place in places())
    if not total:
        if unreadable.status is Exit.OK:  # else nobody knows
            say(f"nothing of that kind is in {state}/")
        return unreadable.status
    if not asking.is_meant(_text(total, state), yes=yes, dry_run=dry_run, ask=total > 1):
        return unreadable.status
    return max(_move(spools, places(), total, each=False), unreadable.status)


def _move(
    spools: list[PersonsSpool], places: "Iterator[Place] | list[Place]", total: int, *, each: bool
) -> int:
    def act(spool: PersonsSpool, place: Place) -> str:
        return spool.retry(place.state, place.file_name, place.day)

    moved, status = moving.move(places, total, act, f"back in {State.INCOMING}/", each=each)
    for spool in spools:
        with suppress(FileNotFoundError), acting_for(spool.base):
            spool.sync(State.INCOMING)
    if not each:
        say(f"{asking.count(moved)} back in {State.INCOMING}/")
    return status


def _text(number: int, state: State) -> str:
    return f"{asking.count(number)} of {state}/ back to {State.INCOMING}/"
