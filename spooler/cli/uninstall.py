"""`spooler uninstall`: takes the services away again."""

from pathlib import Path

import click

from spooler.installation import Installer
from spooler.site import PREFIX


@click.command(name="uninstall")
@click.option(
    "--prefix",
    type=click.Path(path_type=Path, file_okay=False),
    default=PREFIX,
    show_default=True,
    metavar="DIR",
    help="The program's Python environment, as it was installed.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def command(prefix: Path, dry_run: bool) -> int:
    """Stop and remove the systemd services; spool, configuration, user and program stay.

    \b
    Example:
      spooler uninstall --dry-run
    """
    Installer(prefix, click.echo, dry_run=dry_run).uninstall()
    return 0
