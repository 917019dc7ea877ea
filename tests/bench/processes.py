"""Processes under measurement: started, measured with all that they start, and ended.

Owns: processor time and memory of a process tree, as the kernel tells them.
Promises: every process that was started is ended, by its own number, when its `with` is left; and gets
SIGTERM when this one is killed.
"""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click
import psutil

from spooler.playground import bound_to_us

_PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], log_file: Path, environment: Mapping[str, str] | None = None
) -> Iterator[psutil.Process]:
    """Run a program in the background, its output in `log_file`; SIGTERM ends it."""
    with log_file.open("ab") as log:
        started = subprocess.Popen(
            bound_to_us(list(map(str, command))),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield psutil.Process(started.pid)
    finally:
        started.terminate()
        try:
            started.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def family(roots: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return the processes and all that they have started and that still run."""
    return [one for root in roots for one in (root, *root.children(recursive=True))]


def processor_seconds(roots: Sequence[psutil.Process]) -> float:
    """Return user and system time of the trees, of what has ended and was waited for too."""
    total = 0.0
    for one in family(roots):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def run_seconds(roots: Sequence[psutil.Process]) -> float:
    """Return how long the threads of the trees that live now have run, to the nanosecond.

    `processor_seconds` counts in ticks of 10 ms, by who runs when the clock ticks: of what wakes up for a
    tenth of a millisecond each second it tells nothing for minutes, or twice too much. The kernel keeps the
    exact time for each thread; what it says of a whole process is its main thread's alone.
    Source: Documentation/scheduler/sched-stats.rst.
    """
    nanoseconds = 0
    for one in family(roots):
        for thread in Path(f"/proc/{one.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def proportional_bytes(roots: Sequence[psutil.Process]) -> int:
    """Return the trees' memory; what several processes share counts once, in parts."""
    return sum(int(one.memory_full_info().pss) for one in family(roots))


def wait_until(condition: Callable[[], object], what: str, *, each_seconds: float = 0.005) -> None:
    """Wait for something that should be there soon. Raises: click.ClickException."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise click.ClickException(f"waited {_PATIENCE_SECONDS:g} s in vain: {what}")
        time.sleep(each_seconds)


def listens(where: int | Path) -> bool:
    """Say whether somebody takes connections there: a port, or a Unix socket (a file before it listens)."""
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX if isinstance(where, Path) else socket.AF_INET) as tried,
    ):
        tried.settimeout(1)
        tried.connect(str(where) if isinstance(where, Path) else ("127.0.0.1", where))
        return True
    return False
