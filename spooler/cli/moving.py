"""Moving what a person selected, one after another, whoever else moves files meanwhile.

Owns: what is said of each, and the exit status of such a command.
Promises: one that somebody else was faster with, or that can't be moved or read, is told, and the rest goes
on; but not through a spool where one after another fails alike.
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click

from spooler import selection
from spooler.cli.asking import progress
from spooler.cli.telling import say
from spooler.errors import Exit
from spooler.folders import Place
from spooler.owner import acting_for
from spooler.person import PersonsSpool
from spooler.printable import printable
from spooler.selection import Sought
from spooler.state import State

_FAILING_ALIKE = 3  # one after another: so will the rest


class Unreadable:
    """Tells of what can't be read, each once, and keeps the exit status that this gives."""

    def __init__(self) -> None:
        self.status = Exit.OK
        self._told: set[Path] = set()

    def __call__(self, place: Place, error: OSError) -> None:
        self.status = Exit.FAILED
        if place.path not in self._told:
            self._told.add(place.path)
            # It may be the log; and where the place has no name, it is a folder.
            culprit = place.path.parent / error.filename if error.filename else place.path
            complain(f"{culprit}: can't be read: {error.strerror}")

    def knows(self, place: Place) -> bool:
        """Say whether it has told of this one."""
        return place.path in self._told


def read_ids(given: Sequence[str]) -> list[str]:
    """Return the IDs of a command line, each once; `-` stands for those on standard input, one a line.

    Raises: click.UsageError.
    """
    texts: list[str] = []
    for text in given:
        texts += _lines(sys.stdin.buffer.read()) if text == "-" else [text]
    if "" in texts:
        raise click.UsageError("an ID is empty")
    return list(dict.fromkeys(texts))


def _lines(content: bytes) -> list[str]:
    # Names of files needn't be UTF-8, as on a command line; and they may hold blanks, whose last word may be
    # the name of another file.
    lines = (line.removesuffix("\r") for line in os.fsdecode(content).split("\n"))
    return [line for line in lines if line.strip()]


def seek(
    spools: Sequence[PersonsSpool], states: Sequence[State], texts: Sequence[str], unreadable: Unreadable
) -> list[Sought]:
    """Look for IDs in these states; tell of each that isn't there where it is instead."""
    sought = selection.seek(spools, states, texts, unreadable)
    missing = [one.text for one in sought if not one.found]
    if missing:
        others = [state for state in State if state not in states]
        elsewhere = {
            one.text: one for one in selection.seek(spools, others, missing, unreadable) if one.places
        }
        for one in sought:
            if not one.found:
                found = elsewhere.get(one.text)
                where = f"{found.text!r} is in {found.places[0].state}/" if found else one.problem
                complain(f"{where}; looked for in {', '.join(f'{state}/' for state in states)}")
    for one in sought:
        if one.found and one.problem:
            complain(one.problem)
    return sought


def places(sought: Sequence[Sought]) -> list[Place]:
    """Return what was found, each once: two beginnings may be of one ID, or a file's name of one of them."""
    return list(dict.fromkeys(place for one in sought for place in one.places))


def move(
    places: Iterable[Place], total: int, act: Callable[[PersonsSpool, Place], str], done: str, *, each: bool
) -> tuple[int, Exit]:
    """Move the places' files; return how many were, and the exit status.

    act: moves one and returns the name that it has then. done: what to say of it. each: say it of each one.
    """
    moved, status = 0, Exit.OK
    alike: list[int | None] = []  # the errors since the last that was moved
    for place in progress(places, total, done):
        spool = place.folders
        assert isinstance(spool, PersonsSpool)  # noqa: S101 - commands select from these
        try:
            with acting_for(spool.base):
                name = act(spool, place)
        except FileNotFoundError:
            complain(f"{place.file_name}: isn't in {place.state}/ any more; somebody was faster")
            status = Exit.FAILED
        except OSError as error:
            complain(f"{place.path}: can't be moved: {error.strerror}")
            status = Exit.FAILED
            alike = [*alike, error.errno] if error.errno in alike else [error.errno]
            if len(alike) == _FAILING_ALIKE and moved + len(alike) < total:
                complain(_stopped(spool.base, error))
                break
        else:
            moved += 1
            alike = []
            if each:
                say(f"{done}: {printable(name)}")
    return moved, status


def _stopped(base: Path, error: OSError) -> str:
    text = f"stopped: {_FAILING_ALIKE} in a row can't be moved: {error.strerror}"
    if not isinstance(error, PermissionError):
        return text
    folder = shlex.quote(str(base))
    return f"{text}; if they belong to another user, give them back: chown -R --reference={folder} {folder}"


def complain(text: str) -> None:
    """Tell of what went wrong with one of several."""
    say(f"spooler: {printable(text)}", err=True)
