"""Rounds: what is compared takes turns, many times and for a short time each, and medians are compared.

Owns: the order of the turns, the folder of each, and how figures become medians and ratios.
Promises: whatever else the machine does in a minute hits all alike. Each turn has a folder of its own, and
nothing is deleted before the last one has ended: a disk that is told what was deleted is slow for a while. An
ext4 without a journal passes over the numbers of files that were deleted in the last minutes; to create one
may cost seven times the processor time then. Source: recently_deleted in fs/ext4/ialloc.c.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

Figures = dict[str, float]  # of one turn, by what was measured
Turns = dict[str, list[Figures]]  # by what is compared, in the order of the rounds
Measure = Callable[[Path], Figures]  # one turn, in an empty folder


@contextmanager
def workplace(where: Path | None) -> Iterator[Path]:
    """Give a temporary folder on the disk that is to be measured; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="spooler-bench-", dir=where) as folder:
        yield Path(folder)


def take_turns(measures: dict[str, Measure], rounds: int, folder: Path, what: str) -> Turns:
    """Let each measure have its turn in each round, in an order that changes from round to round."""
    turns: Turns = {name: [] for name in measures}
    names = list(measures)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(what, total=rounds * len(names))
        for number in range(rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                place = Path(tempfile.mkdtemp(dir=folder))
                turns[name].append(measures[name](place))
                progress.advance(bar)
    return turns


def medians(turns: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}


def ratio(turns: Turns, one: str, other: str, figure: str) -> float:
    """Return the median over the rounds of how many times the other one's figure this one's is."""
    pairs = zip(turns[one], turns[other], strict=True)
    return statistics.median(mine[figure] / theirs[figure] for mine, theirs in pairs if theirs[figure])
