"""`spooler receive`: the receiver alone."""

from pathlib import Path

import click

from spooler import config as configuration
from spooler import log, service
from spooler.cli.options import config_option


@click.command(name="receive")
@config_option
def command(config: Path | None) -> int:
    """Run the receiver alone, in the foreground, until SIGTERM; SIGHUP reads the keys again.

    \b
    Example:
      spooler receive --config spooler.toml
    """
    log.configure()
    return service.receive(configuration.load(config))
