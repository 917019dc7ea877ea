"""Processing: what a notification costs beyond starting its script, and how soon after the 200 that starts.

Owns: the bare loops that do nothing but start the same program, and the stamps by which it tells when. The
program is a compiled one; and a script in Python, which is started anew each time, or stays alive.
"""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import load
import peers
from load import Sender
from processes import listens, processor_seconds, running, wait_until
from programs import build
from report import Aim
from rounds import Figures, Measure, Turns, ratio, take_turns

from spooler.clock import SystemClock
from spooler.load import body
from spooler.name import Name
from spooler.notification import Notification
from spooler.playground import free_port

PROGRAMS = ("gcc",)
SPOOLER, SHELL_LOOP, PYTHON_LOOP = "spooler", "bare loop in sh", "bare loop in Python"
ANEW, ALIVE = "spooler, a Python script", "spooler, the same staying alive"
ANEW_LOOP = "bare loop in Python, a Python script"
STAMPS = "BENCH_STAMPS"
_ENVIRONMENT = f'environment = ["{STAMPS}"]'
_SHELL = 'for file in "$1"/*.json; do "$2" <"$file" || exit 1; done'
_PYTHON = (
    "import subprocess, sys, pathlib\n"
    "for file in sorted(pathlib.Path(sys.argv[1]).glob('*.json')):\n"
    "    subprocess.run([sys.argv[2]], stdin=file.open('rb'), check=True)\n"
)
# It looks at what any script looks at, and has nothing to load but what it needs for that.
_SCRIPT = f"""#!{sys.executable}
import os, time
from spooler.script import notifications
stamps = os.open(os.environ["{STAMPS}"], os.O_WRONLY | os.O_APPEND)
for notification in notifications():
    notification.data["Type"]
    os.write(stamps, b"%d\\n" % time.monotonic_ns())
"""
_ONLY_ONE = "    break\n"


@dataclass(frozen=True)
class Workshop:
    """A spool with the trivial script, and a service on it."""

    folder: Path
    config: Path
    port: int

    @classmethod
    def make(cls, folder: Path, program: Path, sender: Sender) -> "Workshop":
        port = free_port()
        config = peers.site(folder, port, sender.public_key, _ENVIRONMENT)
        (folder / "processors" / "10-stamp").symlink_to(program)
        (folder / "stamps").touch()
        return cls(folder, config, port)

    @property
    def webhook(self) -> Path:
        return self.folder / "spool" / "crm"

    @property
    def environment(self) -> dict[str, str]:
        return {STAMPS: str(self.folder / "stamps")}

    def stamps(self) -> list[int]:
        """Return when scripts were started, in ns of the monotonic clock."""
        return [int(line) for line in (self.folder / "stamps").read_text().split()]

    def started(self) -> int:
        """Return how many scripts were started; cheap."""
        return (self.folder / "stamps").read_bytes().count(b"\n")

    def command(self, name: str) -> Sequence[str | Path]:
        return peers.spooler(name, self.config)


def fill(folder: Path, count: int) -> None:
    """Put so many notifications into a folder, unsynced, named as the receiver does."""
    folder.mkdir(parents=True, exist_ok=True)
    clock = SystemClock()
    name = Name(clock.now(), "", "")
    for number in range(count):
        content = body(number)
        notification = Notification.read(content)
        name = Name(name.next().received, notification.id, notification.type)
        (folder / str(name)).write_bytes(content)


def measure(folder: Path, rounds: int, count: int) -> Turns:
    """Return the turns: so many notifications for each, handed to a program that does nothing."""
    program, sender = build("stamp.c", folder), Sender.make(folder)
    anew, alive = _script(folder / "anew", _SCRIPT + _ONLY_ONE), _script(folder / "alive", _SCRIPT)
    shell, python = ["sh", "-c", _SHELL, "sh"], [sys.executable, "-c", _PYTHON]
    measures: dict[str, Measure] = {
        SHELL_LOOP: partial(_loop, shell, program, sender, count),
        PYTHON_LOOP: partial(_loop, python, program, sender, count),
        SPOOLER: partial(_spooler, program, sender, count),
        ANEW_LOOP: partial(_loop, python, anew, sender, count),
        ANEW: partial(_spooler, anew, sender, count),
        ALIVE: partial(_spooler, alive, sender, count),
    }
    return take_turns(measures, rounds, folder, f"{count} notifications")


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def _loop(command: Sequence[str], program: Path, sender: Sender, count: int, folder: Path) -> Figures:
    shop = Workshop.make(folder, program, sender)
    fill(shop.webhook / "incoming", count)
    environment = {**os.environ, **shop.environment}
    before = _children_seconds()
    subprocess.run([*command, shop.webhook / "incoming", program], env=environment, check=True)
    return _figures(shop, count, _children_seconds() - before)


def _spooler(program: Path, sender: Sender, count: int, folder: Path) -> Figures:
    shop = Workshop.make(folder, program, sender)
    fill(shop.webhook / "incoming", count)
    with running(shop.command("process"), folder / "log", shop.environment) as process:
        # Not by looking into incoming/: who lists a folder holds up who moves files out of it.
        wait_until(lambda: shop.started() == count, "all are begun", each_seconds=0.02)
        wait_until(lambda: not any((shop.webhook / "processing").glob("*.json")), "the last one ends")
        used = processor_seconds([process])
    done = sum(file.suffix == ".json" for file in (shop.webhook / "done").glob("*/*"))
    assert done == count, f"{done} of {count} are done; see {folder / 'log'}"
    return _figures(shop, count, used)


def _figures(shop: Workshop, count: int, used_seconds: float) -> Figures:
    """From the first script's start to the last one's: starting the loop itself doesn't count."""
    stamps = shop.stamps()
    assert len(stamps) == count, f"{len(stamps)} scripts ran for {count} notifications"
    seconds = (stamps[-1] - stamps[0]) / 1e9
    each = [(later - earlier) / 1e6 for earlier, later in itertools.pairwise(sorted(stamps))]
    return {
        "per_second": (count - 1) / seconds,
        "each_ms": seconds * 1e3 / (count - 1),
        "processor_ms": used_seconds * 1e3 / count,
        "max_ms": max(each),
    }


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def aims(turns: Turns) -> list[Aim]:
    """Return what is aimed at, and what it came to."""
    return [
        Aim(
            f"time a notification, x {PYTHON_LOOP}",
            ratio(turns, SPOOLER, PYTHON_LOOP, "each_ms"),
            at_most=1.5,
        ),
        Aim(f"time a notification, x {SHELL_LOOP}", ratio(turns, SPOOLER, SHELL_LOOP, "each_ms")),
        Aim("a Python script that stays alive, x started anew", _gain(turns, ANEW), at_least=10),
        Aim(f"a Python script that stays alive, x {ANEW_LOOP}", _gain(turns, ANEW_LOOP)),
    ]


def _gain(turns: Turns, over: str) -> float:
    return ratio(turns, ALIVE, over, "per_second")


def wake_up(folder: Path, count: int, pause_seconds: float) -> list[float]:
    """Return for each of so many notifications the ms from its 200 to the start of its script, when idle.

    Below 0: the script was started before the answer had come.
    """
    sender = Sender.make(folder)
    shop = Workshop.make(folder, build("stamp.c", folder), sender)
    found = []
    with ExitStack() as stack:
        for service in ("receive", "process"):
            stack.enter_context(running(shop.command(service), folder / "log", shop.environment))
        wait_until(lambda: listens(shop.port), "the receiver listens")
        wait_until(lambda: "processor ready" in (folder / "log").read_text(), "the processor works")
        for number, (body, signature) in enumerate(sender.signed(count)):
            time.sleep(pause_seconds)
            status = load.post(shop.port, "/webhook/crm", body, signature)
            answered = time.monotonic_ns()
            assert status == 200, status
            wait_until(lambda: shop.started() > number, "the script starts", each_seconds=0.001)  # noqa: B023
            found.append((shop.stamps()[number] - answered) / 1e6)
    return found
