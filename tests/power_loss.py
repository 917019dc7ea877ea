"""The power goes: real services on real file systems, of which only what was synced is left.

    python tests/power_loss.py                     both ways, ext4 and XFS, as it is and broken on purpose
    python tests/power_loss.py --way record --file-system ext4 --rounds 4

Two ways. `cut` stops a mounted file system in the moment after the last promise. `record` writes down what
the kernel writes to the disk, and makes images of it as they would be after a cut at each flush: with all,
none, and `--rounds` times a random part of what was written since the flush before. Each image is mounted,
recovered and checked (see `power_promises`). Ends with 1 if a promise was broken by spooler as it is, or if
one of those that are broken on purpose wasn't found out. Needs root, loop devices, and for `record` FUSE.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import block_recorder
import disks
from mutations import mutate
from power_promises import (
    FIRST,
    KINDS,
    LOST,
    REPEATED,
    RETRY_SECONDS,
    SECOND,
    TORN,
    UNCOUNTED,
    UNSETTLED,
    UNUSABLE,
    check,
    id_of,
)
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from running_service import Service, Site, make_body, make_site, post, running, wait_until

WAYS = ("cut", "record")
_BLOCK = 4096  # what a disk writes in one piece
_BODY_BYTES = 9000  # three of them
_EXITS = {"ok": 0, "later": 75, "never": 65}
_SETTLED = re.compile(r"event=(done|retry|failed)\b.* file=\S+?Z_([0-9a-f-]{36})_")


@dataclass(frozen=True)
class Broken:
    """Spooler as it is (no changes), or broken on purpose; then one of the promises `breaks` must be."""

    name: str
    command: str = "run"
    module: str = "durable.py"
    changes: tuple[tuple[str, str], ...] = ()
    breaks: tuple[str, ...] = ()


NO_FILE_SYNC = ("        if sync:\n", "        if False:\n")
NO_FOLDER_SYNC = ("    os.fsync(folder)\n    return name\n", "    return name\n")
_RECORD_SYNCED = "self.spool.record(State.PROCESSING, file_name, line, sync=True)"
CASES = (
    Broken("as it is (receive)", "receive"),
    Broken("no sync of the file", "receive", changes=(NO_FILE_SYNC,), breaks=(TORN, LOST)),
    Broken("no sync of the folder", "receive", changes=(NO_FOLDER_SYNC,), breaks=(LOST,)),
    Broken("no sync at all", "receive", changes=(NO_FILE_SYNC, NO_FOLDER_SYNC), breaks=(LOST, TORN)),
    Broken("as it is (run)"),
    Broken(
        "the mark of a run isn't synced",
        module="running.py",
        changes=(
            ("        os.fsync(descriptor)\n", ""),
            ("    durable.sync_folder(processing)\n", ""),
        ),
        breaks=(UNCOUNTED, REPEATED),
    ),
    Broken(
        "what came of a run isn't synced",
        module="attempt.py",
        changes=((_RECORD_SYNCED, _RECORD_SYNCED.replace(", sync=True", "")),),
        breaks=(REPEATED,),
    ),
    Broken(
        "a move isn't synced",
        module="spool.py",
        changes=(("            durable.sync_folder(target_folder)\n", "            pass\n"),),
        breaks=(UNSETTLED,),
    ),
)


@dataclass
class Result:
    """What came of one case on one file system."""

    case: Broken
    way: str
    file_system: str
    images: int = 0
    promises: int = 0
    violations: Counter[str] = field(default_factory=Counter)

    @property
    def as_expected(self) -> bool:
        if not self.case.changes:
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
        return result


def _cut(
    result: Result, site: Site, image: Path, *, count: int, rounds: int, tick: Callable[[], object]
) -> None:
    sent: dict[str, bytes] = {}
    marks = site.root / "marks"
    marks.touch()
    for _ in range(rounds):
        with disks.mounted(image, site.spool):
            with _service(result.case, site) as service:
                _work(service, result.case, marks, sent, count, hang=True)
                disks.cut(site.spool)
            _end_script(site)
        promised = marks.read_text().splitlines()
        with disks.mounted(image, site.spool):
            result.violations += check(site.spool, promised, sent)
            result.violations += _start_again(site, sent)
        # What was cut short runs again, and further rounds are of what comes then.
        marks.write_text("".join(f"{mark}\n" for mark in promised if mark.startswith("ack")))
        result.images += 1
        result.promises += len(promised)
        tick()


def _record(
    result: Result, site: Site, image: Path, *, count: int, rounds: int, tick: Callable[[], object]
) -> None:
    before, record = site.root / "before", site.root / "record"
    _copy(image, before)
    sent: dict[str, bytes] = {}
    recorder = site.root / "recorder"
    with (
        block_recorder.recording(recorder, image, record) as disk,
        disks.mounted(disk, site.spool),
        _service(result.case, site) as service,
    ):
        _work(service, result.case, recorder / "marks", sent, count, hang=False)
    image.unlink()
    crashed = site.root / "crashed"
    for marks in _crash_images(before, record, crashed, rounds):
        result.images += 1
        result.promises += len(marks)
        try:
            with disks.mounted(crashed, site.spool):
                result.violations += check(site.spool, marks, sent)
        except subprocess.CalledProcessError:
            result.violations[UNUSABLE] += 1
        tick()


@contextlib.contextmanager
def _service(case: Broken, site: Site) -> Iterator[Service]:
    with tempfile.TemporaryDirectory() as folder:
        path = mutate(Path(folder), case.changes, case.module)
        with running(site, case.command, environment={"PYTHONPATH": str(path)}) as service:
            yield service


def _work(
    service: Service, case: Broken, marks: Path, sent: dict[str, bytes], count: int, *, hang: bool
) -> None:
    """Send notifications and note what is promised of them; return right after the last promise.

    hang: return while a script runs.
    """
    site = service.site
    _script(site, FIRST, marks, "exit 0")
    exits = "".join(f"{type_}) exit {status};; " for type_, status in _EXITS.items())
    _script(
        site,
        SECOND,
        marks,
        f'case "$SPOOLER_TYPE" in {exits}hang) echo $$ > "{site.root}/hanging"; exec sleep 60;; esac',
    )
    ours: set[str] = set()
    for number in range(count):  # each of a contact of its own, so that none waits for another
        body = make_body(len(sent), list(_EXITS)[number % len(_EXITS)], _BODY_BYTES)
        ours.add(_send(service, body, marks, sent))
    if case.command == "receive":
        return
    noted: set[str] = set()

    def note_settled() -> bool:
        for state, identifier in _SETTLED.findall(service.log()):
            if identifier in ours and identifier not in noted:
                noted.add(identifier)
                _mark(marks, f"settled {state} {identifier}")
        return noted == ours

    wait_until(note_settled, "all are settled")
    if hang:
        last = _send(service, make_body(len(sent), "hang", _BODY_BYTES), marks, sent)
        wait_until(lambda: f"ran {last} {SECOND}" in marks.read_text(), "the script runs")


def _end_script(site: Site) -> None:
    """End the script that hangs, as the power's end does; the services' end alone doesn't."""
    hanging = site.root / "hanging"
    if hanging.exists():
        os.kill(int(hanging.read_text()), signal.SIGKILL)
        hanging.unlink()


def _send(service: Service, body: bytes, marks: Path, sent: dict[str, bytes]) -> str:
    identifier = id_of(body)
    sent[identifier] = body
    assert post(service.address, body).status == 200
    _mark(marks, f"ack {identifier}")
    return identifier


def _mark(marks: Path, text: str) -> None:
    with marks.open("ab", buffering=0) as file:
        file.write(f"{text}\n".encode())


def _script(site: Site, name: str, marks: Path, end: str) -> None:
    site.script(f'#!/bin/sh\necho "ran $SPOOLER_ID {name}" >> "{marks}"\n{end}\n', name)


def _start_again(site: Site, sent: dict[str, bytes]) -> Counter[str]:
    """Start the real services on what came back: they must get ready, and store."""
    body = make_body(len(sent), "ok", _BODY_BYTES)
    sent[id_of(body)] = body
    site.script("#!/bin/sh\nexit 0\n", FIRST)
    site.script("#!/bin/sh\nexit 0\n", SECOND)
    with running(site) as service:
        stored = post(service.address, body).status == 200
        wait_until(lambda: not site.files("incoming") and not site.files("processing"), "all is done")
        return Counter() if stored and service.stop() == 0 else Counter({UNUSABLE: 1})


def _crash_images(before: Path, record: Path, crashed: Path, rounds: int) -> Iterator[list[str]]:
    """Make image after image in the file `crashed`; yield what was promised before each."""
    marks: list[str] = []
    pending: list[block_recorder.Entry] = []
    chance = random.Random(0)
    for entry in block_recorder.read_record(record):
        if entry.kind == block_recorder.MARK:
            marks += entry.content.decode().splitlines()
        elif entry.kind == block_recorder.WRITE:
            pending += _blocks(entry)
        elif pending:
            parts = [[], pending, *([b for b in pending if chance.random() < 0.5] for _ in range(rounds))]
            for part in parts:
                _copy(before, crashed)
                _write(crashed, part)
                yield list(marks)
            _write(before, pending)
            pending = []


def _blocks(entry: block_recorder.Entry) -> Iterator[block_recorder.Entry]:
    for start in range(0, len(entry.content), _BLOCK):
        yield entry._replace(offset=entry.offset + start, content=entry.content[start : start + _BLOCK])


def _write(image: Path, blocks: list[block_recorder.Entry]) -> None:
    with image.open("r+b") as file:
        for block in blocks:
            file.seek(block.offset)
            file.write(block.content)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "--sparse=always", str(source), str(target)], check=True)


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
    return {**where, **figures, "as_expected": result.as_expected}


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
    ]
    for _case, way, file_system in trials:
        if reason := why_not(way, file_system):
            parser.error(reason)
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
        images = sum(result.images for result in results)
        console.print(f"{images} crashes in {time.monotonic() - begun:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
