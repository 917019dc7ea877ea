"""What a command works on: the folders of all webhooks of the configuration, or of one.

Owns: the name that stands in the logs for the person who gave the command.
"""

import os
import pwd

import click

from spooler.config import Configuration
from spooler.errors import SpoolMissingError
from spooler.person import PersonsSpool
from spooler.printable import printable


def spools(configuration: Configuration, webhook: str | None = None) -> list[PersonsSpool]:
    """Return each webhook's folders, or the one's that is named.

    A webhook that was just added has none before the services' start, and holds nothing. But where there is
    no spool at all, nothing is known, and "nothing waits" would be no answer.

    Raises: click.UsageError, SpoolMissingError.
    """
    if webhook is not None and webhook not in configuration.webhooks:
        known = ", ".join(configuration.webhooks)
        raise click.UsageError(f"there is no webhook {webhook!r}; the configuration has: {known}")
    if not configuration.spool.exists():
        raise SpoolMissingError(
            f"{configuration.spool}: the spool's folder doesn't exist: mount it, or start the services once, "
            f"or correct `spool` in {configuration.path}"
        )
    names = [webhook] if webhook is not None else list(configuration.webhooks)
    return [PersonsSpool(configuration.spool, name, who=_person()) for name in names]


def _person() -> str:
    """Return the user's name; of who became root, the name before."""
    try:
        own = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        own = str(os.getuid())
    before = os.environ.get("SUDO_USER", "")
    return printable(before) if before and os.getuid() == 0 else own
