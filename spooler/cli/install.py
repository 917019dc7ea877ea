"""`spooler install`: the services, on a machine with systemd."""

from pathlib import Path

import click

from spooler.installation import Installer
from spooler.site import PREFIX


@click.command(name="install")
@click.option(
    "--prefix",
    type=click.Path(path_type=Path, file_okay=False),
    default=PREFIX,
    show_default=True,
    metavar="DIR",
    help="The program's Python environment; made if it is missing.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def command(prefix: Path, dry_run: bool) -> int:
    """Install the systemd services: user, folders, configuration, units; enable and start them.

    What is there already is kept: a second time is harmless. After an upgrade, or a change of the
    configuration, it restarts what has changed, and no request is lost.

    \b
    Examples:
      spooler install --dry-run
      /opt/spooler/bin/spooler install
    """
    Installer(prefix, click.echo, dry_run=dry_run).install()
    return 0
