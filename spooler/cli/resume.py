"""`spooler resume`: let the processor go on."""

from pathlib import Path

import click

from spooler import config as configuration
from spooler.cli import scope
from spooler.cli.options import config_option
from spooler.cli.telling import say
from spooler.errors import SpoolerError
from spooler.owner import acting_for


@click.command(name="resume")
@click.argument("webhook", required=False)
@config_option
def command(webhook: str | None, config: Path | None) -> None:
    """Let the processor go on, for WEBHOOK or for all.

    \b
    Example:
      spooler resume crm
    """
    for spool in scope.spools(configuration.load(config), webhook):
        try:
            with acting_for(spool.base):
                changed = spool.resume()
        except OSError as error:
            raise SpoolerError(f"{spool.base}: can't be resumed: {error.strerror}") from None
        say(f"{spool.webhook}: {'goes on' if changed else 'was not paused'}")
