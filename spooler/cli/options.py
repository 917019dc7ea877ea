"""Options that several commands share."""

from pathlib import Path

import click

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Configuration; else $SPOOLER_CONFIG, ./spooler.toml, /etc/spooler/spooler.toml.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
