"""Backlog: how long until the first script when very many wait, or are done, and whether that slows anything.

Owns: the comparison of a large backlog with one of 1,000, and of a day with very many done with one of 1,000.
"""

import itertools
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from confirm import DISK, disk_limit
from load import Sender
from processes import processor_seconds, running, wait_until
from processing import Workshop, fill
from programs import build
from report import Aim
from rounds import Figures, Measure, Turns, ratio, take_turns

from spooler.clock import SystemClock

PROGRAMS = ("gcc", "wrk")
FEW = 1_000
_MANY = 50_000


@dataclass(frozen=True)
class Plan:
    """What is measured in a turn: the start of so many scripts; confirming so many bodies, for so long.

    done: there are files that are done today, in place of waiting ones.
    """

    scripts: int
    bodies: int
    seconds: int
    done: bool


def measure(folder: Path, rounds: int, files: int, plan: Plan) -> Turns:
    """Return the turns with few files and with many; each makes its own."""
    sender, script = Sender.make(folder, plan.bodies), build("stamp.c", folder)
    measures: dict[str, Measure] = {
        name(count): partial(_with, count, plan, script, sender) for count in (FEW, files)
    }
    return take_turns(measures, rounds, folder, f"{files:,} files")


def name(files: int) -> str:
    """Return what the turns with so many files are called."""
    return f"{files:,} files"


def _with(files: int, plan: Plan, script: Path, sender: Sender, folder: Path) -> Figures:
    shop = Workshop.make(folder, script, sender)
    if plan.done:
        fill(shop.webhook / "done" / f"{SystemClock().now():%Y-%m-%d}", files)
    fill(shop.webhook / "incoming", FEW if plan.done else files)
    if files >= _MANY:
        os.sync()  # or the first syncs would have to wait for all of these
    begun = time.monotonic_ns()
    with running(shop.command("process"), folder / "log", shop.environment) as process:
        wait_until(shop.started, "the first script starts", each_seconds=0.002)
        wait_until(lambda: shop.started() >= plan.scripts, "scripts run", each_seconds=0.02)
        peak_bytes = _peak_bytes(process.pid)
        used = processor_seconds([process])
    stamps = shop.stamps()
    scripts = stamps[: plan.scripts]
    (shop.webhook / "paused").touch()
    confirmed = _confirm(shop, sender, plan.seconds)
    stored = disk_limit(build("disk_limit.c", folder), 4, plan.seconds, shop.webhook / "incoming")
    slowest = max(later - earlier for earlier, later in itertools.pairwise(scripts))
    return {
        "first_script_s": (stamps[0] - begun) / 1e9,
        "per_second": (len(scripts) - 1) / ((scripts[-1] - scripts[0]) / 1e9),
        "max_ms": slowest / 1e6,
        "processor_s": used,
        "peak_mb": peak_bytes / 1e6,
        "confirmed_per_second": confirmed,
        "disk_per_second": stored["per_second"],
    }


def _confirm(shop: Workshop, sender: Sender, seconds: int) -> float:
    """Return the rate of the receiver, with the processor at work on a backlog that is held back."""
    log = shop.folder / "log"
    with (
        running(shop.command("process"), log, shop.environment),
        running(shop.command("receive"), log) as receiver,
    ):
        # What it tells when it has looked at all of them: that takes a core for seconds, once.
        wait_until(lambda: "held back" in log.read_text(), "the processor has looked", each_seconds=0.1)
        wait_until(lambda: "receiver ready" in log.read_text() and receiver.children(), "the receiver works")
        url = f"http://127.0.0.1:{shop.port}/webhook/crm"
        figures = sender.run(url, 32, seconds)
    return figures.requests / figures.seconds


def _peak_bytes(process: int) -> int:
    """Return the most resident memory that a process has had."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def aims(turns: Turns, files: int) -> list[Aim]:
    """Return what is aimed at, and what it came to."""
    many, few = name(files), name(FEW)
    of_many = turns[many]
    return [
        Aim("seconds to the first script", max(turn["first_script_s"] for turn in of_many), at_most=10.0),
        Aim("most resident memory in MB", max(turn["peak_mb"] for turn in of_many), at_most=300.0),
        Aim(f"scripts a second, x {few}", ratio(turns, many, few, "per_second"), at_least=0.8),
        Aim(f"confirmed a second, x {few}", ratio(turns, many, few, "confirmed_per_second"), at_least=0.9),
        # What the file system itself makes of so large a folder.
        Aim(f"{DISK}, stored a second, x {few}", ratio(turns, many, few, "disk_per_second")),
    ]
