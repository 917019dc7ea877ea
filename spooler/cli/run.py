"""`spooler run`: receiver and processor together."""

from pathlib import Path

import click

from spooler import config as configuration
from spooler import log, service
from spooler.cli.options import config_option


@click.command(name="run")
@config_option
def command(config: Path | None) -> int:
    """Run receiver and processor together, in the foreground, until Ctrl-C or SIGTERM.

    \b
    Example:
      spooler run --config spooler.toml
    """
    log.configure()
    return service.run(configuration.load(config))
