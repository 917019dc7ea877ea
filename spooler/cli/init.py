"""`spooler init`: the first state of an installation."""

import shlex
from pathlib import Path

import click

from spooler import scaffold
from spooler.config import FILE_NAME


@click.command(name="init")
@click.argument(
    "directory", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=Path()
)
def command(directory: Path) -> int:
    """Write a commented spooler.toml, the folders and an example script into DIR (here by default).

    \b
    Example:
      spooler init /etc/spooler
    """
    for path in scaffold.write(directory):
        click.echo(f"made {path}")
    click.echo("\nNext:")
    click.echo(
        f"  1. save the public key that the sender's webhook page shows as {directory / 'keys' / 'crm.pem'}"
    )
    click.echo("     (no key yet? `spooler keygen` makes a pair to try things out with)")
    configuration = shlex.quote(str(directory / FILE_NAME))
    click.echo(f"  2. spooler check --config {configuration}")
    click.echo(f"  3. spooler run --config {configuration}")
    return 0
