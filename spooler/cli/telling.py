"""Telling a person what was done, whether or not the person still reads.

Owns: what becomes of output that nobody reads any more (`spooler … | head`), or that a full disk refuses.
Promises: a command that changes something says what it does with `say`, which never keeps it from going on.
"""

import os
import sys

import click


def say(text: str, *, err: bool = False) -> None:
    """Print a line; whoever reads no further wants the rest done all the same."""
    try:
        click.echo(text, err=err)
    except BrokenPipeError:
        discard(err=err)
    except OSError as error:  # a log on a full disk, or a terminal that is gone
        discard(err=err)
        if not err:
            say(f"spooler: standard output can't be written, and is left out: {error.strerror}", err=True)


def discard(*, err: bool = False) -> None:
    """Let go nowhere what is printed from now on, and what is still in the buffer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, (sys.stderr if err else sys.stdout).fileno())
    os.close(nowhere)
