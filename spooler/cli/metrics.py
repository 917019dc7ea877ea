"""`spooler metrics`: what the services count and the folders hold, for Prometheus."""

from pathlib import Path

import click

from spooler import config as configuration
from spooler.cli.options import config_option
from spooler.metrics import Metrics


@click.command(name="metrics")
@config_option
def command(config: Path | None) -> None:
    """Print all metrics in Prometheus' text format; works while the services are down.

    With [metrics] in the configuration the processor serves the same over HTTP.

    \b
    Examples:
      spooler metrics
      spooler metrics > /var/lib/node_exporter/spooler.prom.new &&
          mv /var/lib/node_exporter/spooler.prom.new /var/lib/node_exporter/spooler.prom
    """
    click.echo(Metrics(configuration.load(config)).text(), nl=False)
