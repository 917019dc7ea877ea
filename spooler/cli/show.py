"""`spooler show`: one notification, its history, and what its scripts said."""

import json
from pathlib import Path

import click

from spooler import config as configuration
from spooler import history
from spooler.cli import moving, scope
from spooler.cli.options import config_option, json_option, webhook_option
from spooler.entry import Entry
from spooler.errors import Exit
from spooler.folders import Place
from spooler.history import Line
from spooler.printable import printable
from spooler.state import State


@click.command(name="show")
@click.argument("what", metavar="ID_OR_FILE")
@click.option("--body", "with_body", is_flag=True, help="And its body.")
@webhook_option
@json_option
@config_option
def command(what: str, with_body: bool, webhook: str | None, as_json: bool, config: Path | None) -> int:
    """Show a notification, its history and its output; of several with one ID (repeats), each.

    ID_OR_FILE is an ID or any unambiguous beginning of one, or the name or path of a file; - reads such from
    standard input, one a line.

    \b
    Examples:
      spooler show 7c1f4a52
      spooler show 7c1f4a52 --json | jq .body -r | jq .
    """
    spools = scope.spools(configuration.load(config), webhook)
    unreadable = moving.Unreadable()
    sought = moving.seek(spools, list(State), moving.read_ids([what]), unreadable)
    status = Exit.FAILED if any(one.problem for one in sought) else Exit.OK
    for number, place in enumerate(moving.places(sought)):
        try:
            entry, lines, body = Entry.of(place), place.log_lines(), _body(place)
        except FileNotFoundError:
            moving.complain(f"{place.file_name}: isn't in {place.state}/ any more; it moved on meanwhile")
            status = Exit.FAILED
            continue
        except OSError as error:
            unreadable(place, error)
            continue
        if as_json:
            click.echo(json.dumps({**entry.as_json(), "body": body, "history": lines}))
        else:
            if number:
                click.echo()
            _show(entry, lines, body if with_body else None)
    return max(status, unreadable.status)


def _body(place: Place) -> str:
    return place.read().decode("utf-8", "backslashreplace")


def _show(entry: Entry, lines: list[Line], body: str | None) -> None:
    facts = {
        "id": entry.id,
        "type": entry.type,
        "contact": entry.contact or "-",
        "webhook": entry.webhook,
        "state": entry.state.value,
        "received": history.iso(entry.received),
        "attempts": str(entry.attempts),
        "due": history.iso(entry.due) if entry.due else "",
        "file": str(entry.file),
    }
    for name, value in facts.items():
        if value:
            click.echo(f"{name:<9} {printable(value)}")
    for line in lines:
        click.echo()
        _show_line(line)
    if body is not None:
        click.echo("\nbody:")
        _show_text(body, "")


def _show_line(line: Line) -> None:
    at = printable(str(line.get("at")))
    if "note" in line:
        click.echo(f"{at}  {printable(str(line['note']))}")
        return
    seconds = "" if line.get("seconds") is None else f", {line['seconds']} s"
    run = f"attempt {line.get('attempt')}, {line.get('script')}: exit {line.get('exit')}{seconds}"
    click.echo(f"{at}  {printable(run)}")
    _show_text(str(line.get("output") or "").rstrip("\n"), "    ")


def _show_text(text: str, margin: str) -> None:
    """Print a text of several lines. TRUST: it may be anybody's."""
    for row in text.split("\n") if text else ():
        click.echo(f"{margin}{printable(row.rstrip()).rstrip()}".rstrip())
