"""The benchmarks, as commands: `python tests/bench --help`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TO_INSTALL = "in the repository: .venv/bin/pip install --editable '.[test,bench]'"

try:
    import backlog
    import click
    import confirm
    import memory
    import processing
    import programs
    import readme
    import report
    from rounds import workplace

    from spooler.cli.options import FiniteRange
    from spooler.playground import ended_by_signals
except ModuleNotFoundError as missing:
    sys.exit(f"Error: there is no {missing.name} here; {_TO_INSTALL}")


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all benchmarks of one call share: a folder on the disk in question, and where results go."""

    context: click.Context
    folder: Path | None
    json_file: Path | None

    def place(self) -> Path:
        """Return a folder to work in, which stays until the last benchmark of this call has ended."""
        return self.context.with_resource(workplace(self.folder))

    def save(self, benchmark: str, result: dict[str, Any], aims: list[report.Aim]) -> None:
        if self.json_file is not None:
            report.save(self.json_file, benchmark, result, aims)


@click.group(chain=True, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Add the results to this file.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Measure on this folder's disk; else on that of temporary files.",
)
@click.pass_context
def main(context: click.Context, folder: Path | None, json_file: Path | None) -> None:
    """Measure spooler against what people would use instead, and against what the disk allows.

    What is compared takes turns, many times; read the ratios, not the rates. Several benchmarks may stand in
    one call, one after another, each with its options; nothing is deleted before the last has ended.
    """
    if json_file is not None:
        report.demand_place(json_file)  # before anything is measured
    context.obj = _Bench(context, folder, json_file)


@main.command("confirm")
@click.option("--rounds", default=10, type=click.IntRange(1), help="How often each has its turn.")
@click.option("--seconds", default=2, type=click.IntRange(1), help="How long a turn is.")
@click.option("--bodies", default=12_000, type=click.IntRange(1), help="So many different notifications.")
@click.pass_obj
def confirm_(bench: _Bench, rounds: int, seconds: int, bodies: int) -> None:
    """Confirmed requests: rate, latency, processor time."""
    programs.demand(confirm.PROGRAMS)
    place = bench.place()
    about = report.machine(place)
    turns = confirm.measure(place, rounds, seconds, bodies)
    for connections, of_all in turns.items():
        report.show(f"{connections} connections", of_all)
    aims = confirm.aims(turns)
    report.show_aims(aims)
    bench.save("confirm", {"machine": about, "turns": turns}, aims)


@main.command("processing")
@click.option("--rounds", default=10, type=click.IntRange(1), help="How often each has its turn.")
@click.option("--count", default=500, type=click.IntRange(2), help="Notifications in a turn.")
@click.pass_obj
def processing_(bench: _Bench, rounds: int, count: int) -> None:
    """Scripts a second, against bare loops that start the same program."""
    programs.demand(processing.PROGRAMS)
    place = bench.place()
    about = report.machine(place)
    turns = processing.measure(place, rounds, count)
    report.show("processing", turns)
    aims = processing.aims(turns)
    report.show_aims(aims)
    bench.save("processing", {"machine": about, "turns": turns}, aims)


@main.command("wake-up")
@click.option("--count", default=300, type=click.IntRange(1), help="Notifications.")
@click.option("--pause", default=0.1, type=FiniteRange(0, 3600), help="Seconds of rest before each.")
@click.pass_obj
def wake_up(bench: _Bench, count: int, pause: float) -> None:
    """From the 200 to the start of the script, when nothing else is to be done."""
    programs.demand(processing.PROGRAMS)
    place = bench.place()
    about = report.machine(place)
    found = processing.wake_up(place, count, pause)
    ordered = sorted(found)
    p50, p99 = ordered[count // 2], ordered[count * 99 // 100]
    aims = [
        report.Aim("ms from the 200 to the script, p50", p50),
        report.Aim("p99", p99, at_most=20.0),
        report.Aim("the longest", ordered[-1]),
    ]
    report.show_aims(aims)
    bench.save("wake-up", {"machine": about, "ms": found}, aims)


@main.command("backlog")
@click.option("--rounds", default=3, type=click.IntRange(1), help="How often each has its turn.")
@click.option("--files", default=100_000, type=click.IntRange(1000), help="Files that wait.")
@click.option(
    "--seconds", default=2, type=click.IntRange(1), help="How long notifications come in meanwhile."
)
@click.option("--scripts", default=500, type=click.IntRange(2, backlog.FEW), help="So many are timed.")
@click.option("--bodies", default=6_000, type=click.IntRange(1), help="So many different notifications.")
@click.option("--done", is_flag=True, help="Files that are done today, in place of waiting ones.")
@click.pass_obj
def backlog_(bench: _Bench, /, rounds: int, files: int, **plan: Any) -> None:
    """Very many files waiting, against 1,000: the first script, scripts a second, memory, confirming."""
    programs.demand(backlog.PROGRAMS)
    place = bench.place()
    about = report.machine(place)
    turns = backlog.measure(place, rounds, files, backlog.Plan(**plan))
    title = "done today" if plan["done"] else "backlog"
    report.show(title, turns)
    aims = backlog.aims(turns, files)
    report.show_aims(aims)
    bench.save(title, {"machine": about, "turns": turns}, aims)


@main.command("memory")
@click.option("--idle", default=60.0, type=FiniteRange(1, 86_400), help="Seconds to watch it doing nothing.")
@click.pass_obj
def memory_(bench: _Bench, idle: float) -> None:
    """Memory of receiver and processor, and what they do while nothing happens."""
    programs.demand(memory.PROGRAMS)
    place = bench.place()
    about = report.machine(place)
    figures = memory.measure(place, idle)
    report.show("memory", {"spooler": [figures]})
    aims = memory.aims(figures)
    report.show_aims(aims)
    bench.save("memory", {"machine": about, "figures": figures}, aims)


@main.command("picture")
@click.argument("json_file", type=click.Path(path_type=Path))
@click.argument("picture", type=click.Path(path_type=Path))
def picture_(json_file: Path, picture: Path) -> None:
    """Draw the confirm benchmark's result that is in JSON_FILE, as PICTURE (.svg, .png)."""
    results = report.read(json_file)
    try:
        from picture import draw  # a large library, for this command alone
    except ModuleNotFoundError as missing:
        raise click.ClickException(f"there is no {missing.name} here; {_TO_INSTALL}") from None
    with _told_in_one_line(json_file, picture):
        draw(results["confirm"], picture)


@main.command("readme")
@click.argument("json_file", type=click.Path(path_type=Path))
@click.argument("readme_file", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Only say whether the README has these figures.")
def readme_(json_file: Path, readme_file: Path, check: bool) -> None:
    """Write the figures of JSON_FILE between the marks in README_FILE."""
    results = report.read(json_file)
    with _told_in_one_line(json_file, readme_file):
        text = readme_file.read_text()
        written = readme.written(text, results)
        if not check:
            readme_file.write_text(written)
    if check and written != text:
        raise click.ClickException(f"{readme_file} has other figures than {json_file}")


@contextmanager
def _told_in_one_line(json_file: Path, output: Path) -> Iterator[None]:
    """Say what is wrong with the results, or with where they are to go. Raises: click.ClickException."""
    try:
        yield
    except (KeyError, TypeError, IndexError):
        words = "hasn't all results that this takes; measure them with --json, `confirm` above all"
        raise click.ClickException(f"{json_file} {words}") from None
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror or error}") from None
    except ValueError as error:  # no text, no marks, or no such kind of picture
        raise click.ClickException(f"{output}: {error}") from None


if __name__ == "__main__":
    with ended_by_signals():
        main(prog_name="python tests/bench")
