"""`spooler readmit`: what was refused and is authentic after all."""

from pathlib import Path

import click

from spooler import config as configuration
from spooler import readmission
from spooler.cli import asking, moving, scope
from spooler.cli.options import config_option, dry_run_option, webhook_option, yes_option
from spooler.cli.telling import say
from spooler.folders import Place
from spooler.keys import load_key
from spooler.person import PersonsSpool
from spooler.printable import printable
from spooler.readmission import Verdict
from spooler.state import State


@click.command(name="readmit")
@webhook_option
@dry_run_option
@yes_option
@config_option
def command(webhook: str | None, dry_run: bool, yes: bool, config: Path | None) -> int:
    """Check rejected/ against today's keys and certificates; what is authentic goes to incoming/.

    For after a wrong key was mended. Forgeries stay. The processor takes what is readmitted in its order of
    receipt, and sorts out repeats.

    \b
    Examples:
      spooler readmit --dry-run
      spooler readmit --yes
    """
    loaded = configuration.load(config)
    verdicts: list[Verdict] = []
    for spool in scope.spools(loaded, webhook):
        settings = loaded.webhooks[spool.webhook]
        keys = [load_key(path) for path in settings.public_keys]
        verdicts += readmission.examine(spool, settings, keys, loaded.receiver.trusted_proxy)
    authentic = {verdict.place: verdict.name for verdict in verdicts if verdict.name}
    for verdict in verdicts:
        if verdict.name is None:
            say(f"stays: {printable(verdict.place.file_name)}: {printable(verdict.reason)}")
    if not authentic:
        say(f"{asking.count(0)} readmitted, {len(verdicts)} stay in {State.REJECTED}/")
        return 0
    text = f"{asking.count(len(authentic))} of {State.REJECTED}/ to {State.INCOMING}/"
    if not asking.is_meant(text, yes=yes, dry_run=dry_run, ask=len(authentic) > 1):
        return 0

    def act(spool: PersonsSpool, place: Place) -> str:
        name = authentic[place]
        assert name  # noqa: S101 - only these were selected
        return spool.readmit(place.file_name, name)

    moved, status = moving.move(list(authentic), len(authentic), act, "readmitted", each=True)
    # RACE: somebody else may readmit too, and the receiver make room.
    stay = sum(verdict.place.path.exists() for verdict in verdicts)
    say(f"{asking.count(moved)} readmitted, {stay} stay in {State.REJECTED}/")
    return status
