"""`spooler init`: the first state of an installation."""

from pathlib import Path

import click

from spooler import scaffold


@click.command(name="init")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=Path())
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
    click.echo(f"  2. spooler check --config {directory / 'spooler.toml'}")
    click.echo(f"  3. spooler run --config {directory / 'spooler.toml'}")
    return 0
