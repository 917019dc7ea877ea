"""`spooler check`: is everything right?"""

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from spooler import check
from spooler import config as configuration
from spooler.check import Verdict
from spooler.cli.options import config_option, json_option
from spooler.errors import Exit

_STYLES = {Verdict.RIGHT: "green", Verdict.NOTICE: "yellow", Verdict.WRONG: "bold red"}


@click.command(name="check")
@config_option
@json_option
def command(config: Path | None, as_json: bool) -> int:
    """Look at keys, folders, free space, scripts, the port and alerts; one line each.

    Exit status 1 if anything is wrong; a notice is not wrong.

    \b
    Example:
      spooler check --config /etc/spooler/spooler.toml
    """
    findings = check.examine(configuration.load(config))
    console = Console(highlight=False, soft_wrap=True)
    status = Exit.OK
    for finding in findings:
        if finding.verdict is Verdict.WRONG:
            status = Exit.FAILED
        if as_json:
            click.echo(json.dumps(asdict(finding)))
        else:
            head = Text(f"{finding.verdict:<7}", _STYLES[finding.verdict])
            console.print(head, Text(f"{finding.subject}: {finding.text}"))
    return status
