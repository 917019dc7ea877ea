"""`spooler install`: the services, on a machine with systemd."""

from pathlib import Path

import click

from spooler.cli.options import dry_run_option, prefix_option
from spooler.installation import Installer


@click.command(name="install")
@prefix_option
@dry_run_option
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
