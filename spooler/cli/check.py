"""`spooler check`: is everything right?"""

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.text import Text

from spooler import check
from spooler import config as configuration
from spooler.check import Verdict
from spooler.cli import certificate as certificates
from spooler.cli.options import config_option, json_option
from spooler.cli.screen import Screen
from spooler.errors import Exit
from spooler.printable import printable

_STYLES = {Verdict.RIGHT: "green", Verdict.NOTICE: "yellow", Verdict.WRONG: "bold red"}


@click.command(name="check")
@config_option
@json_option
@click.option("--alert", is_flag=True, help="Send a test mail to the recipients of alerts.")
@click.option(
    "--certificate",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Print the client_certificates line for this .pfx, .pem, .crt or .cer, and do nothing else.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds the password of the .pfx; else it is asked for, on a terminal.",
)
def command(
    config: Path | None,
    as_json: bool,
    alert: bool,
    certificate: Path | None,
    password_file: Path | None,
) -> int:
    """Look at keys, folders, free space, scripts, the port and alerts; one line each.

    Exit status 1 if anything is wrong; a notice is not wrong.

    \b
    Examples:
      spooler check --config /etc/spooler/spooler.toml
      spooler check --alert
      spooler check --certificate sender.pfx
    """
    if certificate is not None:
        return certificates.show(certificate, password_file, as_json)
    if password_file is not None:
        raise click.UsageError("--password-file goes with --certificate", click.get_current_context())
    known = configuration.load(config)
    findings = list(check.examine(known))
    if alert:
        findings.append(check.send_test_mail(known))
    console = Screen(highlight=False, soft_wrap=True)
    status = Exit.OK
    for finding in findings:
        if finding.verdict is Verdict.WRONG:
            status = Exit.FAILED
        if as_json:
            click.echo(json.dumps(asdict(finding)))
        else:
            head = Text(f"{finding.verdict:<7}", _STYLES[finding.verdict])
            # TRUST: it holds names of files, and the words of whoever answers on the port.
            console.print(head, Text(printable(f"{finding.subject}: {finding.text}")))
    return status
