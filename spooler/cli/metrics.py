"""`spooler metrics`: what the services count and the folders hold, for Prometheus."""

from pathlib import Path

import click

from spooler import config as configuration
from spooler.cli.moving import complain
from spooler.cli.options import config_option
from spooler.errors import Exit
from spooler.metrics import Metrics


@click.command(name="metrics")
@config_option
def command(config: Path | None) -> int:
    """Print all metrics in Prometheus' text format; works while the services are down.

    With [metrics] in the configuration the processor serves the same over HTTP. What can't be read is left
    out, and told; then the exit status is 1.

    \b
    Examples:
      spooler metrics
      spooler metrics > /var/lib/node_exporter/spooler.prom.new &&
          mv /var/lib/node_exporter/spooler.prom.new /var/lib/node_exporter/spooler.prom
    """
    metrics = Metrics(configuration.load(config))
    click.echo(metrics.text(), nl=False)
    for error in metrics.unread:
        complain(f"{error.filename or 'the disk'}: {error.strerror}")
    return Exit.FAILED if metrics.unread else Exit.OK
