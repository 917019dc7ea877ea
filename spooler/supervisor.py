"""The processes of a service: started, watched, started again, told to reload, and ended in order.

Owns: forking and signals. SIGTERM and SIGINT end everything in order, SIGHUP is handed on. Telling the
service manager, which hears that the service is ready when every child's loop turns.
Promises: a child that dies is started again after a second, and so is one whose loop has stopped turning, or
that could not be started; one that found the configuration unusable ends the service with its status.
Children end when their parent does, however that ends.
Does not promise: anything about what the children do.
"""

import ctypes
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from spooler.errors import Exit, SpoolerError
from spooler.log import get_logger
from spooler.pulse import Pulse, make, total
from spooler.service_manager import ServiceManager

_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_AGAIN_AFTER_SECONDS = 1.0
_FIRST_LOOK_SECONDS = 1.0  # at the children's pulses, until all have begun: somebody waits for that
_LOOK_SECONDS = 5.0  # from then on, for what the service manager shows, unless its watchdog asks for more


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep alive: what to call it, and what it runs.

    `run` is called while signals are held back, and calls `release_signals` when its handlers stand. Its
    loop beats the pulse that it is given; after `hung_after_seconds` without a beat it is killed.
    """

    name: str
    run: Callable[[Pulse], None]
    hung_after_seconds: float = math.inf


def hold_signals() -> None:
    """Keep signals for `Supervisor.run`. Whoever reads that a service is ready may send one at once."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def release_signals() -> None:
    """Let this process' own handlers have the signals, those included that have come meanwhile."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


class Supervisor:
    """Keeps children alive until told to stop; `before_stop` is called once, before they are.

    keep_up: called at each look at the children, and with True on SIGHUP; keeps what a fork begins with up
    to date. It costs next to nothing, doesn't wait and raises nothing.
    """

    def __init__(
        self,
        children: Sequence[Child],
        before_stop: Callable[[], None] | None = None,
        manager: ServiceManager | None = None,
        keep_up: Callable[[bool], None] = lambda _again: None,
    ) -> None:
        self._before_stop = before_stop
        self._keep_up = keep_up
        self._manager = manager or ServiceManager()
        self._pulses = dict(zip(children, make(len(children)), strict=True))
        self._started: dict[Child, float] = {}  # monotonic seconds
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
            if not self._stopping:
                self._end_hung()
                self._tell()
                self._keep_up(False)
        return self._status

    def _pause_seconds(self) -> float:
        """Return how long there is nothing to do for, if no signal comes."""
        look = _FIRST_LOOK_SECONDS
        if self._manager.is_ready:
            look = min(_LOOK_SECONDS, self._manager.beat_within_seconds)
        if self._stopping:
            return look
        now = time.monotonic()
        starts = [start - now for start in self._waiting.values()]
        hung = [self._counts_as_hung_at(child) - now for child in self._running.values()]
        return max(0.0, min([look, *starts, *hung]))

    def _counts_as_hung_at(self, child: Child) -> float:
        """Return until when it has to beat again, in monotonic seconds."""
        return max(self._pulses[child].last_beat, self._started[child]) + child.hung_after_seconds

    def _end_hung(self) -> None:
        for process, child in self._running.items():
            if time.monotonic() > self._counts_as_hung_at(child):
                get_logger().error("process hangs", process=child.name, seconds=child.hung_after_seconds)
                self._started[child] = time.monotonic()  # what is deaf to this too is told of once in a while
                os.kill(process, signal.SIGKILL)

    def _tell(self) -> None:
        """Let the service manager know; the first time when every child's loop has turned."""
        if self._manager.is_ready or all(pulse.last_beat for pulse in self._pulses.values()):
            self._manager.beat(str(total(list(self._pulses.values()))))

    def _start_due(self) -> None:
        for child, start in list(self._waiting.items()):
            if not self._stopping and time.monotonic() >= start:
                self._pulses[child].clear()
                self._started[child] = time.monotonic()
                try:
                    process = _fork(child, self._pulses[child])
                except OSError as error:  # too many processes, or no memory, for now
                    get_logger().error("can't start", process=child.name, reason=error.strerror)
                    self._waiting[child] = time.monotonic() + _AGAIN_AFTER_SECONDS
                else:
                    del self._waiting[child]
                    self._running[process] = child

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            self._manager.reloading()
            self._keep_up(True)
            self._send(signal.SIGHUP)
            self._manager.reloaded()
        else:
            self._stop()

    def _stop(self) -> None:
        if self._before_stop and not self._stopping:
            self._before_stop()
        self._stopping = True
        self._manager.stopping()
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


def _fork(child: Child, pulse: Pulse) -> int:
    parent = os.getpid()
    process = os.fork()
    if process:
        return process
    code: int = Exit.FAILED
    try:
        _end_with(parent)
        pulse.begin()
        child.run(pulse)
        code = Exit.OK
    except SpoolerError as error:
        get_logger().error("can't run", process=child.name, reason=str(error))
        code = error.exit
    except Exception:  # noqa: BLE001 - the outermost frame of a process
        get_logger().exception("defect", process=child.name)
    finally:
        try:
            with suppress(OSError):
                sys.stderr.flush()
        finally:
            os._exit(code)  # whatever that came to: nothing of the parent's may be done here


def _end_with(parent: int) -> None:
    """Get SIGTERM when the parent dies, so that nobody keeps its sockets and locks."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # RACE: it died before that took hold
        os._exit(Exit.FAILED)
