"""The processes of a service: started, watched, started again, told to reload, and ended in order.

Owns: forking and signals. SIGTERM and SIGINT end everything in order, SIGHUP is handed on.
Promises: a child that dies is started again after a second; one that found the configuration unusable ends
the service with its status. Children end when their parent does, however that ends.
Does not promise: anything about what the children do.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from spooler.errors import Exit, SpoolerError
from spooler.log import get_logger

_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_AGAIN_AFTER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep alive: what to call it, and what it runs.

    `run` is called while signals are held back, and calls `release_signals` when its handlers stand.
    """

    name: str
    run: Callable[[], None]


def hold_signals() -> None:
    """Keep signals for `Supervisor.run`. Whoever reads that a service is ready may send one at once."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def release_signals() -> None:
    """Let this process' own handlers have the signals, those included that have come meanwhile."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


class Supervisor:
    """Keeps children alive until told to stop; `before_stop` is called once, before they are."""

    def __init__(self, children: Sequence[Child], before_stop: Callable[[], None] | None = None) -> None:
        self._before_stop = before_stop
        self._waiting = dict.fromkeys(children, 0.0)  # not running: start at (monotonic seconds)
        self._running: dict[int, Child] = {}
        self._stopping = False
        self._status: int = Exit.OK

    def run(self) -> int:
        """Run until a signal says to stop, or a child's configuration is unusable; return the exit status."""
        hold_signals()
        while self._running or not self._stopping:
            self._start_due()
            received = signal.sigtimedwait(_SIGNALS, self._pause_seconds())
            if received is not None:
                self._on_signal(received.si_signo)
        return self._status

    def _pause_seconds(self) -> float:
        starts = [start - time.monotonic() for start in self._waiting.values()]
        return max(0.0, min([3600.0, *starts])) if not self._stopping else 3600.0

    def _start_due(self) -> None:
        for child, start in list(self._waiting.items()):
            if not self._stopping and time.monotonic() >= start:
                del self._waiting[child]
                self._running[_fork(child)] = child

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            self._send(signal.SIGHUP)
        else:
            self._stop()

    def _stop(self) -> None:
        if self._before_stop and not self._stopping:
            self._before_stop()
        self._stopping = True
        self._send(signal.SIGTERM)

    def _send(self, number: signal.Signals) -> None:
        for process in self._running:
            os.kill(process, number)

    def _reap(self) -> None:
        """Take note of the children that have ended; several may be behind one signal."""
        for process, child in list(self._running.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                del self._running[process]
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, code: int) -> None:
        if self._stopping:
            self._status = self._status or max(code, 0)
            return
        get_logger().error("process ended", process=child.name, status=code)
        if code == Exit.CONFIGURATION:
            self._status = code
            self._stop()
        else:
            self._waiting[child] = time.monotonic() + _AGAIN_AFTER_SECONDS


def _fork(child: Child) -> int:
    parent = os.getpid()
    process = os.fork()
    if process:
        return process
    code: int = Exit.FAILED
    try:
        _end_with(parent)
        child.run()
        code = Exit.OK
    except SpoolerError as error:
        get_logger().error("can't run", process=child.name, reason=str(error))
        code = error.exit
    except Exception:  # noqa: BLE001 - the outermost frame of a process
        get_logger().exception("defect", process=child.name)
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _end_with(parent: int) -> None:
    """Get SIGTERM when the parent dies, so that nobody keeps its sockets and locks."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # RACE: it died before that took hold
        os._exit(Exit.FAILED)
