"""The long run of the fuzz tests: as many times the inputs as the suite tries, bounded in time, with figures.

    python tests/fuzz.py                      20 times as many
    python tests/fuzz.py --factor 200 --minutes 30
    python tests/fuzz.py --only commands --json

Owns: which tests those are (all that hypothesis gives their inputs), and the count of what was tried.
Exits with 1 if any input broke a promise, or the time was up before all had run.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

TESTS = Path(__file__).parent
_TEST = re.compile(r"(?:tests/)?(?P<file>test_\w+)\.py::(?P<test>.+):$")
_TRIED = re.compile(r"(?P<passed>\d+) passing(?: examples)?, (?P<failed>\d+) failing")
_RESULT = re.compile(r"(?P<result>PASSED|FAILED|ERROR)\b")


@dataclass
class Figures:
    """What was tried, by file: how many inputs, and which tests failed."""

    inputs: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    cut_short: bool = False

    @property
    def total(self) -> int:
        return sum(self.inputs.values())

    @property
    def sound(self) -> bool:
        return not self.failed and not self.cut_short and self.total > 0


def fuzz_tests(only: str) -> list[Path]:
    """Return the files that hold tests of this kind; `only`: those whose name holds it."""
    found = [
        path for path in sorted(TESTS.glob("test_*.py")) if "@given(" in path.read_text(encoding="utf-8")
    ]
    return [path for path in found if only in path.name]


def output(files: list[Path], factor: int, minutes: float, figures: Figures) -> Iterator[str]:
    """Run the tests and yield their output line by line; stop them when the time is up."""
    # Only hypothesis's own tests have statistics; the others of these files take no part.
    command = [sys.executable, "-m", "pytest", "-v", "-n", "2", "--hypothesis-show-statistics", "--tb=short"]
    command += ["-p", "no:cacheprovider", "--show-capture=no", "-m", "hypothesis", *map(str, files)]
    environment = {**os.environ, "SPOOLER_FUZZ_FACTOR": str(factor)}
    limit = ["timeout", "--signal=INT", "--kill-after=20", f"{minutes}m"]
    with subprocess.Popen(
        [*limit, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=TESTS.parent,
        errors="replace",
    ) as process:
        assert process.stdout
        yield from process.stdout
    figures.cut_short = process.returncode == 124
    if process.returncode not in {0, 124} and not figures.failed:
        figures.failed.append(f"pytest ended with {process.returncode}")


def run(files: list[Path], factor: int, minutes: float, console: Console) -> Figures:
    """Run the tests, showing how far they are; what a failing one says is printed."""
    figures = Figures()
    begun = time.monotonic()
    name, telling = "", False
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(f"{factor} times", total=None)
        for line in output(files, factor, minutes, figures):
            if " items" in line and (found := re.search(r"(\d+) items", line)):
                bar.update(task, total=int(found[1]))
            if _RESULT.search(line) and "::" in line and line.startswith("["):
                bar.advance(task)
            if line.startswith("FAILED "):
                figures.failed.append(line.split()[1])
            if "= FAILURES =" in line or "= Hypothesis Statistics =" in line:
                telling = "FAILURES" in line
            if telling:
                console.print(line.rstrip()[:500], markup=False, highlight=False)
            if found := _TEST.match(line.rstrip()):
                name = found["file"]
            if name and (found := _TRIED.search(line)):
                figures.inputs[name] = (
                    figures.inputs.get(name, 0) + int(found["passed"]) + int(found["failed"])
                )
    figures.seconds = time.monotonic() - begun
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--factor", type=int, default=20, help="how many times the suite's inputs")
    parser.add_argument("--minutes", type=float, default=15, help="stop then, whatever was tried")
    parser.add_argument("--only", default="", help="the files whose names hold this")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    figures = run(fuzz_tests(given.only), given.factor, given.minutes, Console(stderr=True))
    if given.json:
        told = {"inputs": figures.inputs, "total": figures.total, "failed": figures.failed}
        print(json.dumps({**told, "seconds": round(figures.seconds), "cut_short": figures.cut_short}))
        return 0 if figures.sound else 1
    table = Table("tests", "inputs", box=None)
    for name, count in sorted(figures.inputs.items()):
        table.add_row(name, f"{count:,}")
    console = Console()
    console.print(table)
    ending = "TIME WAS UP" if figures.cut_short else f"{len(figures.failed)} tests failed"
    console.print(f"{figures.total:,} inputs in {figures.seconds:.0f} s, {ending}")
    return 0 if figures.sound else 1


if __name__ == "__main__":
    sys.exit(main())
