"""`spooler demo`: the whole path, with nothing set up.

Owns: how the demonstration is shown: a table that fills on a terminal, plain lines elsewhere.
"""

import shlex
from collections.abc import Iterable
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from spooler.demo import WEBHOOK, Demonstration, Step, story
from spooler.errors import Exit
from spooler.state import State

_WITHIN_SECONDS = 10.0
_STYLES = {
    State.INCOMING: "cyan",
    State.PROCESSING: "cyan",
    State.RETRY: "yellow",
    State.DONE: "green",
    State.FAILED: "red",
    State.REJECTED: "magenta",
}


@click.command(name="demo")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path("spooler-demo"))
def command(folder: Path) -> int:
    """Show the whole path in FOLDER (./spooler-demo by default), with nothing set up.

    A fresh key, receiver and processor, and real signed requests over HTTP: good ones, a test, a repeat, a
    forgery, one that fails first and works later, one that never works. Takes a few seconds, and leaves the
    folder to look at.
    """
    console = Console(highlight=False)
    steps = story()
    with Demonstration(folder) as demonstration:
        console.print(f"receiver and processor run; sending to {demonstration.url}\n", soft_wrap=True)
        play = demonstration.play(steps, _WITHIN_SECONDS)
        if console.is_terminal:
            _show_live(console, steps, play)
        else:
            _show_lines(steps, play)
    _show_where(folder, steps)
    unexpected = [step for step in steps if not step.as_expected]
    for step in unexpected:
        click.echo(f"spooler: not as expected: {step.what}; {demonstration.log} may say why", err=True)
    return Exit.FAILED if unexpected else Exit.OK


def _show_live(console: Console, steps: list[Step], play: Iterable[None]) -> None:
    with Live(_table(steps), console=console, auto_refresh=False) as live:
        for _change in play:
            live.update(_table(steps), refresh=True)


def _show_lines(steps: list[Step], play: Iterable[None]) -> None:
    shown: dict[int, tuple[object, ...]] = {}
    for _change in play:
        for number, step in enumerate(steps):
            now = (step.status, step.state, step.told)
            if step.status is not None and shown.get(number) != now:
                shown[number] = now
                told = f" ({step.told})" if step.told else ""
                click.echo(f"{step.what}: answered {step.status}, in {step.state or '-'}{told}")


def _table(steps: list[Step]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("request", "answer", "folder", "what its log says last"):
        table.add_column(heading, overflow="fold")
    for step in steps:
        status = Text(str(step.status or ""), "green" if step.status == 200 else "magenta")
        state = Text(step.state or "", _STYLES[step.state] if step.state else "")
        table.add_row(step.what, status, state, Text(step.told))
    return table


def _show_where(folder: Path, steps: list[Step]) -> None:
    spool = shlex.quote(str(folder / "spool" / WEBHOOK))
    click.echo(f"\nLook around: each notification is one file, and its folder is its state.\n  ls {spool}/*")
    failed = next((step.file for step in steps if step.state is State.FAILED and step.file), None)
    if failed:
        click.echo(f"  cat {shlex.quote(str(failed.with_suffix('.log')))}")
    click.echo(f"  cat {shlex.quote(str(folder / 'spooler.log'))}\nTo set it up for real: spooler init")
