"""`spooler uninstall`: takes the services away again."""

from pathlib import Path

import click

from spooler.cli.options import dry_run_option, prefix_option
from spooler.installation import Installer


@click.command(name="uninstall")
@prefix_option
@dry_run_option
def command(prefix: Path, dry_run: bool) -> int:
    """Stop and remove the systemd services; spool, configuration, user and program stay.

    \b
    Example:
      spooler uninstall --dry-run
    """
    Installer(prefix, click.echo, dry_run=dry_run).uninstall()
    return 0
