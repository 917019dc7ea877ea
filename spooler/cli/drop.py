"""`spooler drop`: to done/, without any more runs."""

from pathlib import Path

import click

from spooler import config as configuration
from spooler.cli import asking, journal, moving, scope
from spooler.cli.options import config_option, dry_run_option, webhook_option, yes_option
from spooler.cli.telling import say
from spooler.errors import Exit
from spooler.folders import Place
from spooler.person import PersonsSpool
from spooler.state import State


@click.command(name="drop")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@webhook_option
@dry_run_option
@yes_option
@config_option
def command(ids: tuple[str, ...], webhook: str | None, dry_run: bool, yes: bool, config: Path | None) -> int:
    """Give notifications of failed/ or retry/ up: to done/, with a log line that says who did it.

    No script is run for them any more, nor for repeats that the sender may still send. An ID may be shortened
    to any unambiguous beginning, or be a file's name; - reads IDs from standard input, one a line.

    \b
    Example:
      spooler drop 7c1f4a52
    """
    spools = scope.spools(configuration.load(config), webhook)
    unreadable = moving.Unreadable()
    sought = moving.seek(spools, [State.FAILED, State.RETRY], moving.read_ids(ids), unreadable)
    places = moving.places(sought)
    missed = Exit.FAILED if any(one.problem for one in sought) else unreadable.status
    many = len(places) > 1 and "-" in ids
    text = f"{asking.count(len(places))} to {State.DONE}/, without any more runs"
    if not places or not asking.is_meant(text, yes=yes, dry_run=dry_run, ask=many):
        return missed
    moved, status = moving.move(places, len(places), _drop, "dropped", each=not many)
    if many:
        say(f"{asking.count(moved)} dropped")
    return max(missed, status)


def _drop(spool: PersonsSpool, place: Place) -> str:
    identifier = spool.identify(place.state, place.file_name)
    name = spool.drop(place.state, place.file_name)
    journal.tell("dropped", webhook=spool.webhook, id=identifier, file=name, by=spool.who)
    return name
