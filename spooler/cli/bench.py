"""`spooler bench`: how fast this machine confirms, beside what its disk allows.

Owns: how the figures are shown. They are `spooler.benchmark`'s.
"""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from spooler import benchmark, disk_limit, load
from spooler.benchmark import Summary
from spooler.cli.options import FiniteRange, json_option
from spooler.cli.screen import Screen
from spooler.file_system import FileSystem
from spooler.latency import Latencies
from spooler.playground import ended_by_signals

_IN_MEMORY = {"tmpfs", "ramfs"}


@click.command(name="bench")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), default="/var/tmp")  # noqa: S108 - a folder of its own is made in it
@click.option(
    "--connections", default=32, type=click.IntRange(1, 500), show_default=True, help="Requests at once."
)
@click.option(
    "--rounds", default=5, type=click.IntRange(1), show_default=True, help="How often each has its turn."
)
@click.option(
    "--seconds", default=2.0, type=FiniteRange(0.1, 600), show_default=True, help="How long a turn is."
)
@json_option
def command(folder: Path, connections: int, rounds: int, seconds: float, as_json: bool) -> None:
    """Measure how many notifications a second the receiver confirms on FOLDER's disk (/var/tmp by default).

    A receiver of its own, with a fresh key and its usual settings, gets signed notifications of 1 KiB from
    this machine; each is checked, on the disk and answered. In turns with it, 4 threads in Python that do
    nothing else store files in the same way, each by itself: what the disk allows them. What comes together
    the receiver syncs together, and so it may well do more. All of it happens in a new folder, which is
    removed in the end; a spool isn't touched. Services that run here meanwhile are slower.

    Each notification that is stored takes 5 KiB of the disk until the end: up to 2 GiB in all, by default. A
    twentieth of the disk (at least 128 MiB, at most 1 GiB) and 10,000 inodes are left to others: rounds that
    there is no more room for are left out.

    \b
    Examples:
      spooler bench
      spooler bench /var/spool --rounds 20
      spooler bench --connections 1 --json
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    screen = Console(stderr=True)
    with (
        ended_by_signals(),
        benchmark.workplace(folder) as place,
        Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar,
    ):
        found: list[benchmark.Round] = []
        left_out = ""
        try:
            turns = benchmark.run(place, connections, rounds, seconds)
            found.extend(bar.track(turns, total=rounds, description="rounds"))
        except benchmark.ScarceRoomError as error:
            if not found:
                raise
            left_out = f"only {len(found)} of {rounds} rounds: {error}"
    disk = FileSystem.of(folder)
    about = {
        "folder": str(folder.absolute()),
        "file_system": disk.kind or "unknown",
        "file_system_doubt": disk.doubt or None,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "connections": connections,
        "body_bytes": load.BODY_BYTES,
        "seconds": seconds,
    }
    summary = Summary.of(found)
    if as_json:
        click.echo(json.dumps(about | asdict(summary) | {"rounds": [asdict(one) for one in found]}))
    else:
        _show(about, summary, len(found))
    if left_out:
        click.echo(f"spooler: {left_out}", err=True)
    if about["file_system"] in _IN_MEMORY:
        words = "is in memory, where no sync waits for anything: name a folder on the spool's disk"
        click.echo(f"spooler: {about['folder']} {words}", err=True)


def _show(about: Mapping[str, Any], summary: Summary, rounds: int) -> None:
    screen = Screen(highlight=False)
    screen.print(
        f"{about['folder']} ({about['file_system']}), {about['cores']} cores, Linux {about['kernel']}, "
        f"Python {about['python']}\n"
        f"signed notifications of 1 KiB, {about['connections']} at once; medians of {rounds} turns of "
        f"{about['seconds']:g} s",
        soft_wrap=True,
    )
    if about["file_system_doubt"]:
        screen.print(about["file_system_doubt"], soft_wrap=True, markup=False)
    table = Table("", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for heading in ("a second", "p50 ms", "p99 ms", "longest ms", "processor ms each"):
        table.add_column(heading, justify="right")
    table.add_row("confirmed", *_cells(summary.receiver), f"{summary.processor_ms:.2f}")
    writers = f"{disk_limit.WRITERS} threads in Python"
    table.add_row(f"the disk, {writers}", *_cells(summary.disk))
    screen.print()
    screen.print(table)
    screen.print(
        f"\nthe receiver confirmed {summary.share_of_disk:.2f} times as many as {writers} that only store",
        soft_wrap=True,
    )


def _cells(figures: Latencies) -> list[str]:
    return [f"{figures.per_second:,.0f}"] + [
        f"{figure:.2f}" for figure in (figures.p50_ms, figures.p99_ms, figures.max_ms)
    ]
