"""`spooler pause`: hold the processor back."""

from pathlib import Path

import click

from spooler import config as configuration
from spooler.cli import scope
from spooler.cli.options import config_option
from spooler.cli.telling import say
from spooler.errors import SpoolerError
from spooler.owner import acting_for


@click.command(name="pause")
@click.argument("webhook", required=False)
@config_option
def command(webhook: str | None, config: Path | None) -> None:
    """Hold the processor back, for WEBHOOK or for all; the receiver goes on.

    A script that runs is not stopped; the next one isn't started. `spooler resume` lets it go on.

    \b
    Examples:
      spooler pause
      spooler pause crm
    """
    for spool in scope.spools(configuration.load(config), webhook):
        try:
            with acting_for(spool.base):
                changed = spool.pause()
        except OSError as error:
            raise SpoolerError(f"{spool.base}: can't be paused: {error.strerror}") from None
        say(f"{spool.webhook}: {'paused' if changed else 'was paused already'}")
