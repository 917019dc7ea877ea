"""Before many files change: how many, and whether that is meant.

Owns: when a command asks, when it only says what to add, and the progress that it shows.
Promises: what is asked and what is refused goes to standard error, what a dry run tells to standard output;
no bar where standard error is no terminal.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import click

from spooler.cli.telling import say

_Thing = TypeVar("_Thing")
_BAR_FROM = 100  # fewer are moved before anybody could read a bar


def count(number: int, what: str = "notification") -> str:
    """Write a number of things for people."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def is_meant(text: str, *, yes: bool, dry_run: bool, ask: bool = True) -> bool:
    """Say what is about to be done, and return whether to do it.

    ask: whether it is much enough to ask. Raises: click.ClickException where nobody can be asked.
    """
    if dry_run:
        say(f"would be done: {text}")
        return False
    if yes or not ask:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.ClickException(f"nothing was done yet: {text}; add --yes to do it, --dry-run to look")
    if not click.confirm(f"{text}. Go on?", err=True):
        raise click.ClickException("nothing was done")
    return True


def progress(things: Iterable[_Thing], total: int, what: str) -> Iterator[_Thing]:
    """Yield the things, showing on a terminal how far it is."""
    if total < _BAR_FROM:
        yield from things
        return
    from rich.console import Console  # noqa: PLC0415 - takes its time, and few commands move so many
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True)
    if not console.is_terminal:
        yield from things
        return
    with Progress(console=console, transient=True) as bar:
        yield from bar.track(things, total, description=what)
