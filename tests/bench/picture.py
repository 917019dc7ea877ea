"""The picture of a result: confirmed a second, what each cost of the processor, and p99.

Owns: how that looks. It is drawn from the JSON file alone.
"""

import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl
from confirm import MANY
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from peers import SPOOLER
from rounds import Turns, medians

_PANELS = {
    "per_second": "stored and answered a second",
    "processor_ms": "processor time for each, ms",
    "p99_ms": "99 of 100 answered within, ms",
}
_OURS, _OTHERS, _SPREAD = "#2a6f97", "#b8bec4", "#33383d"


def draw(confirm: dict[str, Any], file: Path) -> None:
    """Write a picture of the confirm benchmark's result; the ending of its name says which kind."""
    turns: Turns = confirm["turns"][str(MANY)]
    mpl.rcParams |= {"svg.hashsalt": "spooler", "font.size": 9}
    figure = Figure(figsize=(9.5, 2.6), layout="constrained")
    names = sorted(turns, key=lambda name: medians(turns[name])["per_second"])
    for axes, (measured, title) in zip(figure.subplots(1, 3, sharey=True), _PANELS.items(), strict=True):
        _bars(axes, turns, names, measured)
        axes.set_title(title, fontsize=9, loc="left")
    rounds = len(turns[SPOOLER])
    note = f"{MANY} connections, bodies of 1 KiB; medians of {rounds} rounds in turns, lines: the middle half"
    figure.supxlabel(note, fontsize=8, x=0.01, ha="left")
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type")) if file.suffix == ".svg" else None
    figure.savefig(file, metadata=nothing)  # the same file for the same figures


def _bars(axes: Axes, turns: Turns, names: list[str], measured: str) -> None:
    for row, name in enumerate(names):
        values = [turn[measured] for turn in turns[name]]
        middle = medians(turns[name])[measured]
        axes.barh(row, middle, color=_OURS if name == SPOOLER else _OTHERS, height=0.65)
        low, _, high = statistics.quantiles(values * (1 + (len(values) == 1)), n=4, method="inclusive")
        axes.plot([low, high], [row, row], color=_SPREAD, linewidth=1)
        axes.annotate(
            f" {middle:,.3g}" if middle < 100 else f" {middle:,.0f}", (max(middle, high), row), va="center"
        )
    axes.set_yticks(range(len(names)), names)
    axes.margins(x=0.22)
    axes.set_xlim(left=0)
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
