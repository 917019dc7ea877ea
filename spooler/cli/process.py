"""`spooler process`: the processor alone."""

from pathlib import Path

import click

from spooler import config as configuration
from spooler import log, service
from spooler.cli.options import config_option


@click.command(name="process")
@config_option
def command(config: Path | None) -> int:
    """Run the processor alone, in the foreground, until SIGTERM. One for each spool.

    \b
    Example:
      spooler process --config spooler.toml
    """
    log.configure()
    return service.process(configuration.load(config))
