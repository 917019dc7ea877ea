"""`spooler status`: what waits, what failed, since when."""

import json
from pathlib import Path

import click

from spooler import config as configuration
from spooler import status
from spooler.cli import moving, scope
from spooler.cli.options import config_option, json_option
from spooler.errors import Exit
from spooler.status import WebhookStatus


@click.command(name="status")
@json_option
@config_option
def command(as_json: bool, config: Path | None) -> int:
    """Show for each webhook how many notifications are in each state, the oldest that waits, and the disk.

    Read off the folders; the services may be down.

    \b
    Examples:
      spooler status
      spooler status --json | jq '.webhooks.crm.states.failed'
    """
    loaded = configuration.load(config)
    webhooks: list[WebhookStatus] = []
    ended = Exit.OK
    unreadable = moving.Unreadable()
    for spool in scope.spools(loaded):
        try:
            webhooks.append(status.of_webhook(loaded, spool, unreadable))
        except OSError as error:
            moving.complain(f"{error.filename or spool.base}: {error.strerror}")
            ended = Exit.FAILED
    ended = max(ended, unreadable.status)
    disk = status.of_disk(loaded)
    if as_json:
        members = {"webhooks": {one.webhook: one.as_json() for one in webhooks}, "disk": disk}
        click.echo(json.dumps(members))
        return ended
    from spooler.cli import overview  # noqa: PLC0415 - rich takes its time, and JSON does without

    overview.show(webhooks, disk)
    return ended
