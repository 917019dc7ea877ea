"""A playground: a service of spooler's own in a folder of its own, that ends with its block.

Owns: its start on a free port of the loopback address, and its orderly end.
Promises: nothing is left running, whatever happens in the block.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from spooler.errors import SpoolerError

_START_SECONDS = 8.0
_LOOK_SECONDS = 0.05


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """`spooler run`, or one of its halves; runs while the block does, and logs to `log`."""

    def __init__(self, command: str, config: Path, port: int, log: Path) -> None:
        """Command: `run` or `receive`. The configuration says the same port."""
        self._arguments = [sys.executable, "-m", "spooler", command, "--config", str(config)]
        self._port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Service":
        """Start it and wait until it answers. Raises: SpoolerError if it doesn't."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._arguments,
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
        while time.monotonic() < give_up_at and self._process and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(_LOOK_SECONDS)
        said = self._log.read_text("utf-8", "replace").splitlines() or ["it said nothing"]
        raise SpoolerError(f"spooler {self._arguments[3]} didn't start: {said[-1].removeprefix('spooler: ')}")
