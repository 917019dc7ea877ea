"""The crash campaign: kill receiver and processor at random moments and between any two system calls.

    python tests/crash_campaign.py --jobs 2 --rounds 60

Needs strace, and the right to trace. Exit status 1 if anything was violated, or a boundary was not reached.
"""

import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import click
import random_kills
from crash_scene import Scene, Take, Target
from crash_scenes import SCENES, all_targets
from nursery import Nursery, nursery
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table


@dataclass
class Figures:
    """What the kills at boundaries came to, by scene and phase."""

    boundaries: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def note(self, target: Target, take: Take) -> None:
        """Take in what came of one kill."""
        where = f"{target.scene.name}, {target.phase}, {target.boundary}"
        if take.hit:
            self.killed[key(target)] += 1
        else:
            self.missed.append(where)
        self.violations += [f"{where}: {violation}" for violation in take.violations]


def key(target: Target) -> str:
    """Return the row that a boundary counts in."""
    return f"{target.scene.name}: {target.phase}"


def kill_at_boundaries(
    folder: Path,
    chance: random.Random,
    *,
    jobs: int = 1,
    at_most: int | None = None,
    scenes: Sequence[Scene] = SCENES,
    wanted: Callable[[Target], bool] = lambda _target: True,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
) -> Figures:
    """Count all boundaries, then kill at each, or at `at_most` of them, drawn by chance."""
    figures = Figures()
    with ExitStack() as stack:
        free: SimpleQueue[Nursery] = SimpleQueue()
        for _ in range(jobs):
            free.put(stack.enter_context(nursery()))
        first = free.get()
        targets: list[Target] = []
        for scene, found, violations in all_targets(first, folder, scenes):
            figures.violations += [f"{scene.name}, undisturbed: {violation}" for violation in violations]
            figures.boundaries.update(map(key, found))
            targets += filter(wanted, found)
        if figures.violations:  # what goes wrong without a kill, no kill proves
            return figures
        free.put(first)
        chance.shuffle(targets)
        chosen = targets[:at_most]

        def take(number: int, target: Target) -> Take:
            own = free.get()
            try:
                return target.scene.take(own, folder / str(number), target)
            finally:
                free.put(own)

        with ThreadPoolExecutor(jobs) as pool:
            running = {pool.submit(take, number, target): target for number, target in enumerate(chosen)}
            for done, future in enumerate(as_completed(running), 1):
                figures.note(running[future], future.result())
                advance(done, len(chosen))
    return figures


def kill_at_random(folder: Path, rounds: int, chance: random.Random) -> Iterator[random_kills.Rounds | None]:
    """Yield after each round, and the figures at the end."""
    return random_kills.play(folder / "random", rounds, chance)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=60, show_default=True, help="Kills at random moments, under load.")
@click.option("--boundaries", type=int, help="Kills between system calls; all of them if not given.")
@click.option("--scene", help="Only scenes whose name has this, such as `recovery`.", default="")
@click.option("--jobs", default=2, show_default=True, help="Kills between system calls at the same time.")
@click.option("--seed", type=int, help="Repeat what an earlier campaign drew by chance.")
@click.option("--keep", type=click.Path(path_type=Path), help="Where to work, and leave what failed.")
@click.option("--json", "as_json", is_flag=True, help="The figures as one JSON object.")
def main(  # noqa: PLR0917 - click gives them by name
    rounds: int,
    boundaries: int | None,
    scene: str,
    jobs: int,
    seed: int | None,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Kill receiver and processor (SIGKILL), start them again, check that nothing is lost or done twice."""
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spooler-crash-") as temporary:
        folder = (keep or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            at_boundaries = bar.add_task("kills between system calls", total=None)
            figures = kill_at_boundaries(
                folder,
                random.Random(seed),
                jobs=jobs,
                at_most=boundaries,
                scenes=[one for one in SCENES if scene in one.name],
                advance=lambda done, total: bar.update(at_boundaries, completed=done, total=total),
            )
            at_random = bar.add_task("kills at random", total=rounds)
            last = random_kills.Rounds(0, 0, 0, [])
            for played in kill_at_random(folder, rounds, random.Random(seed)) if rounds else ():
                last = played or last
                bar.advance(at_random, 0 if played else 1)
    summary = summarize(figures, last) | {"seed": seed, "seconds": round(time.monotonic() - began)}
    if as_json:
        click.echo(json.dumps(summary, indent=2))
    else:
        show(summary)
    sys.exit(1 if summary["violations"] or figures.missed else 0)


def summarize(figures: Figures, rounds: random_kills.Rounds) -> dict[str, Any]:
    """Return the figures as one object."""
    phases = {
        name: {"boundaries": count, "killed_at": figures.killed[name]}
        for name, count in figures.boundaries.items()
    }
    return {
        "phases": phases,
        "boundaries": figures.boundaries.total(),
        "killed_at_boundaries": figures.killed.total(),
        "missed": figures.missed,
        "killed_at_random": rounds.kills,
        "confirmed_under_load": rounds.confirmed,
        "runs_under_load": rounds.runs,
        "violations": [*figures.violations, *rounds.violations],
    }


def show(summary: dict[str, Any]) -> None:
    """Print the figures."""
    table = Table("phase", "boundaries", "killed at")
    for name, figures in summary["phases"].items():
        table.add_row(name, str(figures["boundaries"]), str(figures["killed_at"]))
    table.add_section()
    table.add_row("all", str(summary["boundaries"]), str(summary["killed_at_boundaries"]))
    console = Console()
    console.print(table)
    console.print(
        f"{summary['killed_at_random']} kills at random while {summary['confirmed_under_load']} "
        f"notifications were confirmed; {summary['seconds']} s, seed {summary['seed']}"
    )
    for missed in summary["missed"]:
        console.print(f"not reached: {missed}", highlight=False, markup=False)
    for violation in summary["violations"]:
        console.print(f"VIOLATED: {violation}", highlight=False, markup=False)
    console.print(f"{len(summary['violations'])} violations")


if __name__ == "__main__":
    main()
