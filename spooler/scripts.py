"""Running one executable: standard input, environment, output, time limit, and its end with all it started.

Owns: the life of a script's processes.
Promises: `run` returns at most `timeout` + 5 s (and what the kernel needs) after its start; by then the
script's process group and what had left it are gone. Output is read whatever there is of it, and at most
16 KiB of its end are kept. Nothing is inherited but standard input and output.
Does not promise: limits on memory, files or processes; those are the service manager's.
TRUST: a script is a guest, and may do anything its user may.
"""

import contextlib
import errno
import math
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from spooler import children
from spooler.log import get_logger
from spooler.outcome import CANNOT_EXECUTE, NOT_FOUND, Exit
from spooler.wake import Wake

OUTPUT_BYTES = 16 * 1024
KILL_AFTER_SECONDS = 5.0
STOP_AFTER_SECONDS = 10.0  # what a running script is left when spooler stops
_READ_BYTES = 64 * 1024
_POLL_SECONDS = 0.01
_LEFTOVER_SECONDS = 5.0  # for what was killed to end; on a busy machine each takes its time
_LONGEST_POLL_SECONDS = 3600.0  # poll(2) counts milliseconds in 31 bits
_DRAIN_BYTES = 1 << 20  # more than a pipe holds: a grandchild that writes on can't hold us up
OWNER_VARIABLE = "SPOOLER_FILE"
_ID_VARIABLE = "SPOOLER_ID"


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of a script ended."""

    exit: Exit
    seconds: float
    output: str


class Stop:
    """Says, once and for all threads, that spooler is to stop."""

    def __init__(self) -> None:
        self._wake = Wake()
        self.requested = False

    def request(self) -> None:
        """Ask for the stop; may be called from a signal handler."""
        if not self.requested:
            self.requested = True
            self._wake.set()

    def fileno(self) -> int:
        """Return a descriptor that becomes readable with the request, and stays so."""
        return self._wake.fileno()


class Runner:
    """Runs scripts, one in each of the threads that call it."""

    def __init__(
        self,
        stop: Stop,
        *,
        stop_after_seconds: float = STOP_AFTER_SECONDS,
        kill_after_seconds: float = KILL_AFTER_SECONDS,
    ) -> None:
        """stop_after_seconds: until SIGTERM, when spooler stops. kill_after_seconds: from then to SIGKILL."""
        self._stop = stop
        self._stop_after_seconds = stop_after_seconds
        self._kill_after_seconds = kill_after_seconds
        # RACE: a child that was just started must not be taken for a stray of another's.
        self._lock = threading.Lock()
        self._leaders: dict[int, Mapping[str, str]] = {}  # the environment of each
        children.adopt_orphans()

    def run(
        self, script: Path, *, body: int, environment: Mapping[str, str], folder: Path, timeout_seconds: float
    ) -> Run:
        """Run a script in `folder`, with the descriptor `body` as standard input."""
        started = time.monotonic()
        try:
            process = self._start(script, body, environment, folder)
        except OSError as error:
            shell_status, words = _why_not_started(script, error)
            return Run(shell_status, time.monotonic() - started, words)
        try:
            output = _Output(process)
            ended_by = self._wait(process, output, started + timeout_seconds)
        finally:
            with self._lock:
                del self._leaders[process.pid]
        status: Exit = ended_by or ("killed" if process.returncode < 0 else process.returncode)
        return Run(status, time.monotonic() - started, output.text())

    def _start(
        self, script: Path, body: int, environment: Mapping[str, str], folder: Path
    ) -> "subprocess.Popen[bytes]":
        with self._lock:
            process = subprocess.Popen(
                [script],
                stdin=body,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
                start_new_session=True,
                bufsize=0,
            )
            self._leaders[process.pid] = environment
        return process

    def _wait(self, process: "subprocess.Popen[bytes]", output: "_Output", deadline: float) -> Exit | None:
        """Wait for the script, then end what it leaves; return why it was ended, None if it did so itself."""
        reason: Exit = "timeout"
        ended_by: Exit | None = None
        grace_until = 0.0
        with _pidfd(process.pid) as pidfd:
            watched = {pidfd, output.fileno(), self._stop.fileno()}
            while pidfd not in (ready := _readable(watched, deadline)):
                now = time.monotonic()
                if output.fileno() in ready and not output.read():
                    watched.remove(output.fileno())
                if self._stop.fileno() in ready:
                    watched.remove(self._stop.fileno())
                    if ended_by is None and now + self._stop_after_seconds < deadline:
                        reason, deadline = "interrupted", now + self._stop_after_seconds
                elif now >= deadline and ended_by is None:
                    _signal_group(process.pid, signal.SIGTERM)
                    ended_by = reason
                    grace_until = deadline = now + self._kill_after_seconds
                elif now >= deadline:
                    _signal_group(process.pid, signal.SIGKILL)
                    deadline = math.inf
        self._end_leftovers(process, output, grace_until)
        output.drain()
        output.close()
        return ended_by

    def _end_leftovers(
        self, process: "subprocess.Popen[bytes]", output: "_Output", grace_until: float
    ) -> None:
        """Reap the script and end everything that it left behind.

        grace_until: until when what was sent SIGTERM may clean up (and write of it), monotonic seconds.
        """
        if grace_until < time.monotonic():
            # While its leader isn't reaped, the group's number can't be another's.
            _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        give_up_at = max(grace_until, time.monotonic()) + _LEFTOVER_SECONDS
        while strays := self._strays(process.pid):
            now = time.monotonic()
            if now >= grace_until:  # also when it is late already: the machine may have stood still
                children.kill(strays)
            if now >= give_up_at:
                identifier = self._leaders[process.pid].get(_ID_VARIABLE)
                log = get_logger().bind(id=identifier)
                log.warning("left behind", processes=sorted(strays), script=str(process.args))
                return
            output.drain()
            time.sleep(_POLL_SECONDS)

    def _strays(self, leader: int) -> set[int]:
        """Reap the orphans that have ended, and return those that live and may only be this script's."""
        with self._lock:
            others = {
                pid: environment.get(OWNER_VARIABLE, "")
                for pid, environment in self._leaders.items()
                if pid != leader
            }
            orphans = children.all_children() - others.keys()
        return {
            orphan
            for orphan in children.reap(orphans)
            if children.session_of(orphan) == leader or not _may_belong_to(orphan, others)
        }


def _may_belong_to(orphan: int, others: Mapping[int, str]) -> bool:
    """Say whether an orphan may be that of a script that still runs."""
    owner = children.environment_value(orphan, OWNER_VARIABLE)
    if owner is not None:
        return owner in others.values()
    # It wiped its environment. Still nobody is started before its ancestor.
    born = children.started_at(orphan)
    return any(children.started_at(leader) <= born for leader in others)


def _signal_group(leader: int, number: signal.Signals) -> None:
    """Signal a script's process group. What became another user's (by sudo) can't be, and is waited for."""
    try:
        os.killpg(leader, number)
    except PermissionError:
        get_logger().error("can't be ended", process=leader, reason="it is another user's now")


class _Output:
    """The end of what a script writes, read as it comes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None  # noqa: S101 - it was started with a pipe
        self._pipe = process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self._end = bytearray()

    def fileno(self) -> int:
        return self._pipe.fileno()

    def read(self) -> int:
        """Take what is there; return how much, 0 at the end. Nothing there yet counts as something."""
        try:
            chunk = os.read(self._pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return 1
        self._end += chunk
        del self._end[:-OUTPUT_BYTES]
        return len(chunk)

    def drain(self) -> None:
        """Take what is in the pipe."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_DRAIN_BYTES // _READ_BYTES):
                chunk = os.read(self._pipe.fileno(), _READ_BYTES)
                if not chunk:
                    break
                self._end += chunk
                del self._end[:-OUTPUT_BYTES]

    def close(self) -> None:
        self._pipe.close()

    def text(self) -> str:
        """Return at most 16 KiB (as UTF-8); bytes that are no UTF-8 stand there as `\\xff`."""
        text = bytes(self._end[-OUTPUT_BYTES:]).decode("utf-8", "backslashreplace")
        return text.encode()[-OUTPUT_BYTES:].decode("utf-8", "ignore")


@contextlib.contextmanager
def _pidfd(process: int) -> Iterator[int]:
    descriptor = os.pidfd_open(process)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _readable(descriptors: Collection[int], deadline: float) -> set[int]:
    """Wait until one can be read, or until the deadline (or an hour); return those that can."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    wait_seconds = min(max(0.0, deadline - time.monotonic()), _LONGEST_POLL_SECONDS)
    return {descriptor for descriptor, _events in poll.poll(math.ceil(wait_seconds * 1000))}


def _why_not_started(script: Path, error: OSError) -> tuple[int, str]:
    """Return the exit status that a shell would give, and what is wrong in plain words."""
    if not script.exists():
        return NOT_FOUND, f"{script} isn't there any more"
    if error.errno == errno.ENOENT and _first_line(script).endswith("\r"):
        return (
            NOT_FOUND,
            f"{script} can't be executed: its first line ends in CR; save it with Unix line ends (LF)",
        )
    if error.errno == errno.ENOENT:
        return NOT_FOUND, f"{script} can't be executed: its interpreter ({_first_line(script)}) doesn't exist"
    if error.errno == errno.ENOEXEC:
        return (
            CANNOT_EXECUTE,
            f"{script} can't be executed: neither a program for this machine nor a script with a #! line",
        )
    if error.errno == errno.ETXTBSY:
        return CANNOT_EXECUTE, f"{script} can't be executed: it is being written"
    return CANNOT_EXECUTE, f"{script} can't be executed: {error.strerror}"


def _first_line(script: Path) -> str:
    with contextlib.suppress(OSError), script.open("rb") as file:
        return file.readline(256).rstrip(b"\n").decode("utf-8", "backslashreplace")
    return "unreadable"
