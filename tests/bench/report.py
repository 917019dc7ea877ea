"""The report: tables for people, and one JSON file that all benchmarks add to.

Owns: what the machine was, what was aimed at, and how figures are written.
"""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import psutil
from rich.console import Console
from rich.table import Table
from rounds import Turns, medians

from spooler.file_system import FileSystem

_HEADS = {
    "per_second": "a second",
    "processor_ms": "processor ms each",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "max_ms": "max ms",
}


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure, and where there is one, the bound that it should keep."""

    what: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def verdict(self) -> str:
        if self.at_least is None and self.at_most is None:
            return ""
        kept = (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )
        return "reached" if kept else "missed"

    @property
    def bound(self) -> str:
        if self.at_least is not None:
            return f"at least {self.at_least:g}"
        return "" if self.at_most is None else f"at most {self.at_most:g}"


def machine(folder: Path) -> dict[str, Any]:
    """Return what was measured on; `folder` is on the disk in question."""
    mounted = [part for part in psutil.disk_partitions(all=True) if folder.is_relative_to(part.mountpoint)]
    mount = max(mounted, key=lambda part: len(part.mountpoint))
    disk = FileSystem.of(folder)
    return {
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "disk": f"{disk.kind}{'' if disk.has_journal else ' without a journal'}"
        f"{' on a loop device' if mount.device.startswith('/dev/loop') else ''} ({mount.opts})",
        "load_average_before": os.getloadavg()[0],
    }


def show(title: str, turns: Turns) -> None:
    """Print the medians of a comparison."""
    rows = {name: medians(of_one) for name, of_one in turns.items()}
    figures = list(dict.fromkeys(figure for row in rows.values() for figure in row))
    rounds = max(map(len, turns.values()))
    table = Table("", title=title, caption=f"medians of {rounds} rounds")
    for figure in figures:
        table.add_column(_HEADS.get(figure, figure.replace("_", " ")), justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[figure]:.4g}" if figure in row else "" for figure in figures))
    _console().print(table)


def show_aims(aims: Sequence[Aim]) -> None:
    """Print what was aimed at."""
    table = Table("", "measured", "aim", "")
    table.columns[1].justify = "right"
    for aim in aims:
        table.add_row(aim.what, f"{aim.value:.3g}", aim.bound, aim.verdict)
    _console().print(table)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 110)


def read(file: Path) -> dict[str, Any]:
    """Return the results that a file holds. Raises: click.ClickException."""
    try:
        found = json.loads(file.read_text())
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise click.ClickException(f"{file}: holds no JSON object, and so no results")
    return found


def demand_place(file: Path) -> None:
    """Find out whether results can be saved there. Raises: click.ClickException."""
    if not file.parent.is_dir():
        raise click.ClickException(f"--json {file}: there is no folder {file.parent}")
    is_new = not file.exists()
    if not is_new and not file.is_file():
        raise click.ClickException(f"--json {file}: is no file that results could be added to")
    if not is_new:
        read(file)
    try:
        file.open("ab").close()
        if is_new:
            file.unlink()
    except OSError as error:
        raise click.ClickException(f"--json {file}: {error.strerror}") from None


def save(file: Path, benchmark: str, result: Mapping[str, Any], aims: Sequence[Aim]) -> None:
    """Put a benchmark's result into the file, in the place of an older one. Raises: click.ClickException."""
    known = read(file) if file.exists() else {}
    known[benchmark] = {**result, "aims": [asdict(aim) | {"verdict": aim.verdict} for aim in aims]}
    try:
        file.write_text(json.dumps(known, indent=1) + "\n")
    except OSError as error:
        raise click.ClickException(f"--json {file}: {error.strerror}") from None
