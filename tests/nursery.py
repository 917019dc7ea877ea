"""A nursery: a process that has the program loaded, and forks services from it, so that a start costs little.

Owns: starting `spooler receive` or `process` as a fork of a process that has imported everything. On wish the
service stops itself (SIGSTOP) before its first own step, until a tracer has hold of it and lets it go on.
Promises: a service leads a session of its own, has nobody's pipes, and is ended when the `with` is left.
Run as a program it is the forking side: a line of JSON in for each service, a line with its number out.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from running_service import (
    PATIENCE_SECONDS,
    Address,
    Site,
    address_of,
    children_of,
    command_line,
    is_alive,
    wait_until,
)


@dataclass(frozen=True)
class Nursling:
    """A service that a nursery has started."""

    process: int
    log_file: Path
    log_from: int

    def log(self) -> str:
        """Return what it has written to standard error so far."""
        return self.log_file.read_bytes()[self.log_from :].decode()

    @property
    def is_alive(self) -> bool:
        return is_alive(self.process)

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.log() or not self.is_alive, text)
        assert text in self.log(), self.log()

    def address(self) -> Address:
        """Wait until a receiver listens; return where."""
        self.wait_for("receiver ready")
        return address_of(re.findall(r" url=(\S+)", self.log())[0])

    def threads(self) -> list[int]:
        """Return the ids of its threads, the main one's first, then by when they were started."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(int(task.name) for task in Path(f"/proc/{self.process}/task").iterdir())
        return []

    def wait_until_stopped(self) -> None:
        """Wait until it has stopped itself."""
        status = Path(f"/proc/{self.process}/stat")
        wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] in "tT", "it stops itself")

    def go_on(self) -> None:
        os.kill(self.process, signal.SIGCONT)

    def stop(self) -> None:
        """End it as systemd does."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGTERM)
        self._wait_until_gone()

    def kill(self) -> None:
        """End it and its children at once."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in children_of(self.process):
                with contextlib.suppress(ProcessLookupError):
                    if os.getsid(child) == self.process:  # scripts have a session of their own, and survive
                        os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        self._wait_until_gone()

    def _wait_until_gone(self) -> None:
        # While a thread of it is left, its locks are held.
        wait_until(lambda: not Path(f"/proc/{self.process}").exists(), "it ends")


class Nursery:
    """The near side of the forking process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._started: list[Nursling] = []

    def start(self, site: Site, command: str, *, stopped: bool = False) -> Nursling:
        """Fork a service. stopped: it waits for `go_on` before its first step."""
        log_file = site.root / "stderr.log"
        log_file.touch()
        size = log_file.stat().st_size
        order = {"arguments": command_line(site, command)[3:], "log": str(log_file), "stopped": stopped}
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(order), file=self._process.stdin, flush=True)
        nursling = Nursling(int(self._process.stdout.readline()), log_file, size)
        self._started.append(nursling)
        if stopped:
            nursling.wait_until_stopped()
        return nursling

    def end_all(self) -> None:
        """End what still runs."""
        for nursling in self._started:
            nursling.kill()
        self._started.clear()


@contextlib.contextmanager
def nursery() -> Iterator[Nursery]:
    """Start the forking process; end it and all that it started."""
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        opened = Nursery(process)
        try:
            yield opened
        finally:
            opened.end_all()
            assert process.stdin
            process.stdin.close()
            process.wait(PATIENCE_SECONDS)


def _serve() -> None:
    """Fork a service for each line; its number goes back when it exists."""
    import spooler.cli.process
    import spooler.cli.receive  # noqa: F401 - what is imported here, no fork has to import

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while line := os.read(0, 65536):
        order = json.loads(line)
        process = os.fork()
        if process == 0:
            _become(order)
        os.write(1, f"{process}\n".encode())


def _become(order: dict[str, object]) -> None:
    from spooler.cli import main

    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(str(order["log"]), os.O_WRONLY | os.O_APPEND)
    for own, given in ((0, nothing), (1, nothing), (2, log)):
        os.dup2(given, own)
    os.closerange(3, 64)
    if order["stopped"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    arguments = order["arguments"]
    assert isinstance(arguments, list)
    code = 70
    try:
        code = main(arguments)
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
