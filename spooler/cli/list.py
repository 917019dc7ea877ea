"""`spooler list`: what is in a state."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import click

from spooler import config as configuration
from spooler import history
from spooler.cli import moving, scope
from spooler.cli.options import config_option, json_option, since_option, type_option, webhook_option
from spooler.entry import Entry
from spooler.folders import Place
from spooler.printable import printable
from spooler.selection import Filter, select
from spooler.state import State

_HEAD = ("received", "id", "type", "contact", "attempts", "what its log says last")
_WIDTHS = (20, 36, 20, 10, 8)


@click.command(name="list")
@click.argument("state", type=click.Choice([state.value for state in State]))
@type_option
@since_option
@click.option("--contact", metavar="N", help="Of this contact only (ContactID.idContact).")
@webhook_option
@json_option
@config_option
def command(
    *,
    state: str,
    type_: str | None,
    since: datetime | None,
    contact: str | None,
    webhook: str | None,
    as_json: bool,
    config: Path | None,
) -> int:
    """List what is in STATE, oldest first; what is done, day by day.

    \b
    Examples:
      spooler list failed
      spooler list retry --type contact_optout --since 1d
      spooler list done --contact 550012 --json
    """
    spools = scope.spools(configuration.load(config), webhook)
    wanted = Filter(type_, since, contact)
    unreadable = moving.Unreadable()
    places = (place for spool in spools for place in select(spool, State(state), wanted, unreadable))
    if as_json:
        return _each(places, lambda entry: json.dumps(entry.as_json()), unreadable)
    click.echo(_row(*_HEAD))
    several = len(spools) > 1
    return _each(places, lambda entry: _line(entry, with_webhook=several), unreadable)


def _each(places: Iterator[Place], write: Callable[[Entry], str], unreadable: moving.Unreadable) -> int:
    for place in places:
        try:
            entry = Entry.of(place)
        except FileNotFoundError:
            continue  # RACE: it moved on
        except OSError as error:
            unreadable(place, error)
        else:
            click.echo(write(entry))
    return unreadable.status


def _line(entry: Entry, *, with_webhook: bool) -> str:
    last = f"due {history.iso(entry.due)[:19]}Z; {entry.last_word}" if entry.due else entry.last_word
    told = f"{entry.webhook}: {last}" if with_webhook else last
    received = f"{history.iso(entry.received)[:19]}Z"
    return _row(received, entry.id, entry.type, entry.contact or "-", str(entry.attempts), told)


def _row(*cells: str) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=False)]
    return printable("  ".join([*padded, cells[-1]]).rstrip())
