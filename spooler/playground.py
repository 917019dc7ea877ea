"""A playground: a service of spooler's own in a folder of its own, that ends with its block.

Owns: its start on a free port of the loopback address, and its orderly end, by a signal too.
Promises: nothing is left running, whatever happens in the block, or to us.
Source: prctl(2), PR_SET_PDEATHSIG: it outlasts the start of another program.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from spooler.errors import SpoolerError

_LOOPBACK = "127.0.0.1"
_START_SECONDS = 8.0
_LOOK_SECONDS = 0.05
_BOUND_TO_PARENT = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)  # RACE: it died before that took hold
os.execvp(sys.argv[2], sys.argv[2:])
"""


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM, and the SIGHUP of a terminal that is closed, end the block as Ctrl-C does.

    The process then exits with 128 and the signal's number. What is ignored (nohup) stays ignored.
    """
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)  # a shell and a terminal send it one after the other
        received.append(number)
        signal.default_int_handler(signal.SIGINT, frame)

    ends = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {one: signal.signal(one, end) for one in ends}
    try:
        yield
    except BaseException:
        if received:
            # Whatever else went wrong with it: a terminal that is gone can't be written to.
            raise SystemExit(128 + received[0]) from None
        raise
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def bound_to_us(command: Sequence[str]) -> list[str]:
    """Return the command line of a program that gets SIGTERM when this process dies, however it does."""
    return [sys.executable, "-I", "-S", "-c", _BOUND_TO_PARENT, str(os.getpid()), *command]


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """`spooler run`, or one of its halves; runs while the block does, and logs to `log`."""

    def __init__(self, command: str, config: Path, port: int, log: Path) -> None:
        """Command: `run` or `receive`. The configuration says the same port."""
        self._command = command
        self._arguments = [sys.executable, "-m", "spooler", command, "--config", str(config)]
        self._port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Service":
        """Start it and wait until it answers. Raises: SpoolerError if it doesn't."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                bound_to_us(self._arguments),
                stderr=log,
                stdout=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us; we end it in order
            )
        try:
            self._wait_until_listening()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()

    def processor_seconds(self) -> float:
        """Return what its processes have taken of the processors, in the block. See proc(5)."""
        ticks = 0
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has just ended
                found = (process / "stat").read_text().rpartition(")")[2].split()
                if self._process and int(found[3]) == self._process.pid:
                    ticks += sum(map(int, found[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def _wait_until_listening(self) -> None:
        give_up_at = time.monotonic() + _START_SECONDS
        answer = 0
        while time.monotonic() < give_up_at and self._process and self._process.poll() is None:
            with socket.socket() as probe:
                answer = probe.connect_ex((_LOOPBACK, self._port))
            if answer == 0:
                return
            time.sleep(_LOOK_SECONDS)
        if self._process and self._process.poll() is None:  # it runs: its last word is no reason
            why = f"it can't be reached on {_LOOPBACK}: {os.strerror(answer)}"
        else:
            said = self._log.read_text("utf-8", "replace").splitlines() or ["it said nothing"]
            why = said[-1].removeprefix("spooler: ")
        raise SpoolerError(f"spooler {self._command} didn't start: {why}")
