"""Options that several commands share."""

import math
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from spooler.site import PREFIX
from spooler.units import Duration

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Configuration; else $SPOOLER_CONFIG, ./spooler.toml, /etc/spooler/spooler.toml.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")

webhook_option = click.option("--webhook", metavar="NAME", help="Of this webhook only.")

yes_option = click.option("--yes", is_flag=True, help="Don't ask.")

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


class FiniteRange(click.FloatRange):
    """A number within bounds. `nan` is none, though no bound keeps it out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number.", param, ctx)
        return number


def _moment(_context: click.Context, _option: click.Parameter, value: str | None) -> datetime | None:
    """Read how long ago, or an ISO 8601 date or time; return it aware, in UTC."""
    if value is None:
        return None
    with suppress(ValueError):
        return datetime.now(UTC) - timedelta(seconds=Duration.parse(value))
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        examples = "2h, 1d, 2026-11-23 or 2026-11-23T19:00Z"
        raise click.BadParameter(f"{value!r} is neither a duration nor a date; write {examples}") from None


type_option = click.option("--type", "type_", metavar="T", help="Of this type only, as in the files' names.")

since_option = click.option(
    "--since",
    callback=_moment,
    metavar="WHEN",
    help="Received since then: 2h, 1d, 2026-11-23, 2026-11-23T19:00Z (UTC where no zone is named).",
)

prefix_option = click.option(
    "--prefix",
    type=click.Path(path_type=Path, file_okay=False),
    default=PREFIX,
    show_default=True,
    metavar="DIR",
    help="The program's Python environment; install makes it if it is missing.",
)
