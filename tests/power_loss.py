"""The power goes: real services on real file systems, of which only what was synced is left.

    python tests/power_loss.py                     both ways, ext4 and XFS, as it is and broken on purpose
    python tests/power_loss.py --way record --file-system ext4 --rounds 4

Two ways. `cut` stops a mounted file system in the moment after the last promise. `record` writes down what
the kernel writes to the disk, and makes images of it as they would be after a cut at each flush: without
what was written since the flush before, and `--rounds` times with a random part of it. Each image is mounted,
recovered and checked (see `power_promises`). Ends with 1 if a promise was broken by spooler as it is, or if
one of those that are broken on purpose wasn't found out. Needs root, loop devices, and for `record` FUSE.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import block_recorder
import disks
from crash_images import CrashImage, copy, crash_images
from power_cases import CASES, Broken
from power_promises import KINDS, RETRY_SECONDS, UNUSABLE, Mark, Violation, check, contents
from power_workload import end_script, service, start_again, work
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from running_service import Site, make_site

WAYS = ("cut", "record")


@dataclass
class Result:
    """What came of one case on one file system.

    told: of each image that breaks a promise, all that helps to understand why.
    """

    case: Broken
    way: str
    file_system: str
    images: int = 0
    promises: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def add(self, found: list[Violation], where: str, *facts: str) -> None:
        """Count what was found in one image."""
        self.violations += Counter(violation.kind for violation in found)
        if found:
            self.told.append("\n  ".join([f"{self.file_system}, {where}", *map(str, found), *facts]))

    @property
    def as_expected(self) -> bool:
        if not self.case.breaks:
            return not self.violations
        return any(self.violations[kind] for kind in self.case.breaks)


def why_not(way: str, file_system: str) -> str:
    """Say why this can't be tried here; empty if it can."""
    return disks.why_not(file_system) or (block_recorder.WHY_NOT if way == "record" else "")


def try_case(
    case: Broken, way: str, file_system: str, *, count: int = 3, rounds: int = 1, tick: Callable[[], object]
) -> Result:
    """Try one case; `tick` is called after each image. count: notifications. rounds: random losses."""
    shared = Path("/dev/shm")
    place = shared if shared.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="spooler-power-", dir=place) as folder:
        root = Path(folder)
        result = Result(case, way, file_system)
        site = make_site(
            root / "site",
            receiver='workers = 1\nmin_free = "1KiB"',
            processor=f'retry_delays = ["{RETRY_SECONDS}s"]',
        )
        site.spool.mkdir()
        image = disks.make_image(root / "image", file_system)
        trial = _cut if way == "cut" else _record
        trial(result, site, image, count=count, rounds=rounds, tick=tick)
        if result.told:
            said = (site.root / "stderr.log").read_text().splitlines()
            result.told.append("\n  ".join(["what the services said:", *said]))
        return result


def _cut(
    result: Result, site: Site, image: Path, *, count: int, rounds: int, tick: Callable[[], object]
) -> None:
    sent: dict[str, bytes] = {}
    marks = site.root / "marks"
    marks.touch()
    for _ in range(rounds):
        with disks.mounted(image, site.spool):
            with service(result.case, site) as started:
                work(started, result.case, marks, sent, count, hang=True)
                disks.cut(site.spool)
            end_script(site)
        promised = marks.read_text().splitlines()
        with disks.mounted(image, site.spool):
            there = contents(site.spool)
            where = f"cut {result.images + 1} after {len(promised)} promises"
            found = check(site.spool, [Mark(text) for text in promised], sent)
            result.add(found, where, "what was on the disk:", *there)
            result.add(start_again(site, sent), f"{where}, started again")
        # What was cut short runs again, and further rounds are of what comes then.
        marks.write_text("".join(f"{mark}\n" for mark in promised if mark.startswith("ack")))
        result.images += 1
        result.promises += len(promised)
        tick()


def _record(
    result: Result, site: Site, image: Path, *, count: int, rounds: int, tick: Callable[[], object]
) -> None:
    before, record = site.root / "before", site.root / "record"
    copy(image, before)
    sent: dict[str, bytes] = {}
    recorder = site.root / "recorder"
    with (
        block_recorder.recording(recorder, image, record) as disk,
        disks.mounted(disk, site.spool),
        service(result.case, site) as started,
    ):
        work(started, result.case, recorder / "marks", sent, count, hang=False)
    image.unlink()
    for crash in crash_images(before, record, rounds):
        result.images += 1
        result.promises += len(crash.marks)
        found, there = _look(crash, site, sent)
        if found and not result.case.breaks:
            # The same image has to tell the same again; else it's the looking that went wrong.
            again, _ = _look(crash, site, sent)
            is_same = [violation[:2] for violation in again] == [violation[:2] for violation in found]
            second = "found the same" if is_same else f"found otherwise: {[*map(str, again)]}"
            there.append(f"a second look at the same image {second}")
        result.add(found, crash.told, "what was on the disk:", *there)
        tick()


def _look(crash: CrashImage, site: Site, sent: dict[str, bytes]) -> tuple[list[Violation], list[str]]:
    """Return which promises an image breaks, and what was on it before it was recovered."""
    crashed = site.root / "crashed"
    crash.make(crashed)
    there: list[str] = []
    try:
        with disks.mounted(crashed, site.spool):
            there = contents(site.spool)
            return check(site.spool, crash.marks, sent), there
    except subprocess.CalledProcessError as error:
        return [Violation(UNUSABLE, str(error), error.stderr.decode().strip())], there


def _table(results: list[Result]) -> Table:
    table = Table("way", "file system", "spooler", "images", "promises", *KINDS, "as expected")
    for r in results:
        counts = [str(r.violations[kind]) for kind in KINDS]
        told = "yes" if r.as_expected else "NO"
        table.add_row(r.way, r.file_system, r.case.name, str(r.images), str(r.promises), *counts, told)
    return table


def _as_json(result: Result) -> dict[str, object]:
    figures = {"images": result.images, "promises": result.promises, "violations": dict(result.violations)}
    where = {"way": result.way, "file_system": result.file_system, "spooler": result.case.name}
    told = {} if result.as_expected else {"told": result.told}
    return {**where, **figures, "as_expected": result.as_expected, **told}


def main() -> int:
    """Run the campaign; the exit status is 1 if something isn't as it must be."""
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--file-system", choices=disks.SIZES, action="append")
    parser.add_argument("--count", type=int, default=6, help="notifications each time (6)")
    parser.add_argument("--rounds", type=int, default=3, help="cuts, or random losses at each flush (3)")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args()
    trials = [
        (case, way, file_system)
        for way in options.way or WAYS
        for file_system in options.file_system or disks.SIZES
        for case in CASES
        if way in case.ways
    ]
    for _case, way, file_system in trials:
        if reason := why_not(way, file_system):
            parser.error(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is mounted is unmounted
    results = []
    begun = time.monotonic()
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        shown = progress.add_task("power cuts", total=len(trials))
        for case, way, file_system in trials:
            progress.update(shown, description=f"{way}, {file_system}: {case.name}")
            results.append(
                try_case(
                    case, way, file_system, count=options.count, rounds=options.rounds, tick=progress.refresh
                )
            )
            progress.advance(shown)
    good = all(result.as_expected for result in results)
    if options.json:
        print(json.dumps({"results": list(map(_as_json, results)), "as_expected": good}))
    else:
        console = Console(width=max(160, shutil.get_terminal_size().columns))
        console.print(_table(results))
        for result in results:
            if not result.as_expected:
                print("\n".join([f"{result.way}, {result.case.name}:", *result.told]))
        images = sum(result.images for result in results)
        console.print(f"{images} crashes in {time.monotonic() - begun:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
