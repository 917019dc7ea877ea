"""The overview that `spooler status` shows people: a line for each webhook, or a block where lines are short.

Owns: how it looks.
"""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from spooler.cli.screen import Screen
from spooler.printable import printable
from spooler.state import State
from spooler.status import WebhookStatus
from spooler.units import format_duration, format_size

_WIDTH = 140  # where there is no terminal that has one
_ANY_WIDTH = 10_000  # to find out how wide the table would like to be
_FURTHER = ("failed today", "oldest waiting", "last received", "in the last hour")
_STYLES = {State.RETRY: "yellow", State.FAILED: "bold red", State.REJECTED: "magenta"}


def show(webhooks: list[WebhookStatus], disk: Mapping[str, Any]) -> None:
    """Print what `spooler.status` has found."""
    console = Screen(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    table = _table(webhooks)
    if _wide(table, console) <= console.width:
        console.print(table)
    else:
        for one in webhooks:
            console.print(Text(one.webhook, "bold"))
            block = _block(one)
            # The narrowest of terminals break lines; rich would leave numbers out.
            console.width = max(console.width, _wide(block, console))
            console.print(block)
    for one in webhooks:
        if one.held:
            console.print(
                Text(f"{one.webhook} is held back: {printable(one.held)}", "yellow"), soft_wrap=True
            )
    inodes = "" if disk["free_inodes"] is None else f", {disk['free_inodes']:,} inodes"
    free = f"disk: {format_size(disk['free_bytes'])}{inodes} free; min_free is "
    style = "bold red" if disk["shortage"] else ""
    console.print(Text(free + format_size(disk["min_free_bytes"]), style), soft_wrap=True)


def _wide(table: Table, console: Screen) -> int:
    return Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), table).maximum


def _table(webhooks: list[WebhookStatus]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("webhook", no_wrap=True)
    for heading in (*State, *_FURTHER):
        table.add_column(str(heading), justify="right", no_wrap=True)
    for one in webhooks:
        table.add_row(one.webhook, *_counts(one), *_further(one))
    return table


def _block(one: WebhookStatus) -> Table:
    """Return one webhook's numbers for a narrow terminal: the states on the left, the rest on the right."""
    block = Table.grid(padding=(0, 1))
    for place in range(4):
        block.add_column(justify="right" if place % 2 else "left", no_wrap=True)
    left = [(f"  {state}", number) for state, number in zip(State, _counts(one), strict=True)]
    right = [(f"   {what}", told) for what, told in zip(_FURTHER, _further(one), strict=True)]
    for (state, number), (what, told) in zip_longest(left, right, fillvalue=("", "")):
        block.add_row(state, number, what, told)
    return block


def _counts(one: WebhookStatus) -> list[Text]:
    return [
        Text(f"{number:,}", _STYLES.get(state, "") if number else "")
        for state, number in one.found.states.items()
    ]


def _further(one: WebhookStatus) -> list[str]:
    return [
        f"{one.found.failures_today:,}",
        _length(one.oldest_seconds),
        f"{_length(one.last_received_seconds)} ago" if one.found.last_received else "-",
        f"{one.found.received_lately:,}",
    ]


def _length(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)
