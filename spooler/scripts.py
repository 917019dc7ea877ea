"""Running one executable: standard input, environment, output, time limit, and its end with all it started.

Owns: the life of a script's processes.
Promises: `run` returns at most `timeout` + 5 s (and what the kernel needs) after its start; by then the
script's process group and what had left it are gone. A script that stays alive has answered by then, or is
gone likewise. Output is read whatever there is of it, and at most 16 KiB of its end are kept. Nothing is
inherited but standard input and output, and its end of the channel where it gets one.
Does not promise: limits on memory, files or processes; those are the service manager's.
TRUST: a script is a guest, and may do anything its user may.
"""

import contextlib
import math
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from spooler import children
from spooler.channel import VARIABLE, Channel
from spooler.living import Living, NeverSawError, Run
from spooler.log import get_logger
from spooler.outcome import Exit
from spooler.output import Output
from spooler.start_failure import why_not_started
from spooler.wake import Wake

KILL_AFTER_SECONDS = 5.0
STOP_AFTER_SECONDS = 10.0  # what a running script is left when spooler stops
_POLL_SECONDS = 0.01
_LEFTOVER_SECONDS = 5.0  # for what was killed to end; on a busy machine each takes its time
_LONGEST_POLL_SECONDS = 3600.0  # poll(2) counts milliseconds in 31 bits
OWNER_VARIABLE = "SPOOLER_FILE"
_ID_VARIABLE = "SPOOLER_ID"
_PREFIX = "SPOOLER_"  # of the variables that differ from one notification to the next


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
        """stop_after_seconds: until SIGTERM, when spooler stops. kill_after_seconds: from then to SIGKILL;
        and, for what has nothing in hand, from the end of its channel to SIGTERM.
        """
        self._stop = stop
        self._stop_after_seconds = stop_after_seconds
        self._kill_after_seconds = kill_after_seconds
        # RACE: a child that was just started must not be taken for a stray of another's.
        self._lock = threading.Lock()
        self._leaders: dict[int, Living] = {}
        children.adopt_orphans()

    def run(
        self, script: Path, *, body: int, environment: Mapping[str, str], folder: Path, timeout_seconds: float
    ) -> Run:
        """Run a script in `folder`, with the descriptor `body` as standard input, to its end."""
        living = self.start(script, body=body, environment=environment, folder=folder)
        return living if isinstance(living, Run) else self.attend(living, timeout_seconds)

    def start(
        self,
        script: Path,
        *,
        body: int,
        environment: Mapping[str, str],
        folder: Path,
        channel: Channel | None = None,
    ) -> Living | Run:
        """Start a script; a `Run` says why it can't be. `channel` is a new one, for this script alone."""
        began = time.monotonic()
        if channel is not None:
            environment = {**environment, VARIABLE: str(channel.number)}
        try:
            return self._start(script, body, environment, folder, channel)
        except OSError as error:
            if channel is not None:
                channel.close()
            shell_status, words = why_not_started(script, error)
            return Run(shell_status, time.monotonic() - began, words)

    def attend(self, living: Living, timeout_seconds: float) -> Run:
        """Wait until a script has answered for what it has in hand: by a status, or by its end."""
        try:
            status = self._wait(living, living.began + timeout_seconds)
        except OSError as error:  # no descriptor is left to wait with
            status = self._end_at_once(living, f"it can't be watched, and was ended: {error.strerror}")
        except BaseException:
            self._end_at_once(living, "a defect")
            raise
        living.idle_since = children.ticks_now()
        return Run(status, time.monotonic() - living.began, living.output.take(), living.was_refused)

    def go_on(self, living: Living, environment: Mapping[str, str], timeout_seconds: float) -> Run:
        """Give a script the next notification, and attend to it. Raises: NeverSawError."""
        assert living.channel is not None  # noqa: S101 - without one it had ended
        living.began, living.idle_since = time.monotonic(), None
        told = {name: value for name, value in environment.items() if name.startswith(_PREFIX)}
        told[VARIABLE] = living.environment[VARIABLE]
        if not (living.channel.is_quiet and living.channel.tell(environment[OWNER_VARIABLE], told)):
            has_exited = living.has_exited
            raise NeverSawError(self.dismiss(living), has_exited=has_exited)
        run = self.attend(living, timeout_seconds)
        if living.never_saw and run.exit != "interrupted":
            is_stuck = run.exit == "timeout"
            raise NeverSawError(run, has_exited=not (living.was_refused or is_stuck), is_stuck=is_stuck)
        return run

    def dismiss(self, living: Living) -> Run:
        """End a script that has nothing in hand, which is left time to do so by itself before SIGTERM."""
        if living.channel is not None:
            living.channel.end()
        living.began = time.monotonic()
        return self.attend(living, self._kill_after_seconds)

    def reap(self) -> None:
        """Wait for the orphans of scripts that stay alive, as far as they have ended."""
        with self._lock:
            children.reap(children.all_children() - self._leaders.keys())

    def _start(
        self,
        script: Path,
        body: int,
        environment: Mapping[str, str],
        folder: Path,
        channel: Channel | None,
    ) -> Living:
        began = time.monotonic()
        with self._lock:
            process = subprocess.Popen(
                [script],
                stdin=body,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
                pass_fds=() if channel is None else (channel.number,),
                start_new_session=True,
                bufsize=0,
            )
            living = Living(script, environment, process, Output(process), channel, began)
            self._leaders[process.pid] = living
        if channel is not None:
            channel.started()
        return living

    def _end_at_once(self, living: Living, reason: str) -> Exit:
        """End one that nobody looks after any more: it must not work on beside the next attempt.

        It has begun, and so it counts.
        """
        with contextlib.suppress(OSError):
            self._end_leftovers(living, 0.0)
        living.output.drain()
        living.output.note(reason)
        living.output.close()
        self._forget(living)
        return "killed"

    def _forget(self, living: Living) -> None:
        with self._lock:
            self._leaders.pop(living.process.pid, None)
        if living.channel is not None:
            living.channel.close()  # now its number may be another's

    def _wait(self, living: Living, deadline: float) -> Exit:
        """Wait for a status, or for the script's end and that of what it leaves; return what came first."""
        process, output = living.process, living.output
        reason: Exit = "timeout"
        ended_by: Exit | None = None
        grace_until = 0.0
        with _pidfd(process.pid) as pidfd:
            watched = {pidfd, output.fileno(), self._stop.fileno()} | living.listens_to
            while True:
                ready = _readable(watched, deadline)
                now = time.monotonic()
                listened = living.listens_to & watched
                # RACE: it may have told and ended while the descriptors were looked at; what it told counts.
                if listened and (listened & ready or pidfd in ready):
                    if (status := living.hear()) is not None:
                        output.drain()
                        return status
                    if living.was_refused:
                        reason, deadline = "killed", now
                    if living.was_refused or not living.listens_to:
                        watched -= listened
                if pidfd in ready:
                    break
                if output.fileno() in ready and not output.read():
                    watched.remove(output.fileno())
                if self._stop.fileno() in ready:
                    watched.remove(self._stop.fileno())
                    stop_at = now + self._stop_after_seconds
                    if ended_by is None and living.has_work and stop_at < deadline:
                        reason, deadline = "interrupted", stop_at
                elif now >= deadline and ended_by is None:
                    _signal_group(process.pid, signal.SIGTERM)
                    ended_by = reason
                    grace_until = deadline = now + self._kill_after_seconds
                    watched -= living.listens_to
                elif now >= deadline:
                    _signal_group(process.pid, signal.SIGKILL)
                    deadline = math.inf
        self._end_leftovers(living, grace_until)
        output.drain()
        if living.channel is not None and living.channel.was_left_unread():
            living.never_saw = True
            output.note("it ended before it had read of this notification")
        output.close()
        self._forget(living)
        return ended_by or ("killed" if living.was_refused or process.returncode < 0 else process.returncode)

    def _end_leftovers(self, living: Living, grace_until: float) -> None:
        """Reap the script and end everything that it left behind.

        grace_until: until when what was sent SIGTERM may clean up (and write of it), monotonic seconds.
        """
        process, output = living.process, living.output
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
                log = get_logger().bind(id=living.environment.get(_ID_VARIABLE))
                log.warning("left behind", processes=sorted(strays), script=str(process.args))
                return
            output.drain()
            time.sleep(_POLL_SECONDS)

    def _strays(self, leader: int) -> set[int]:
        """Reap the orphans that have ended, and return those that live and may only be this script's."""
        with self._lock:
            others = {pid: living for pid, living in self._leaders.items() if pid != leader}
            orphans = children.all_children() - others.keys()
        return {orphan for orphan in children.reap(orphans) if not _may_belong_to(orphan, others, leader)}


def _may_belong_to(orphan: int, others: Mapping[int, Living], leader: int) -> bool:
    """Say whether an orphan may be that of another script than the one that this leader was."""
    session = children.session_of(orphan)
    if session == leader or session in others:
        return session != leader
    for variable in (VARIABLE, OWNER_VARIABLE):
        owner = children.environment_value(orphan, variable)
        if owner is not None:
            return any(other.environment.get(variable) == owner for other in others.values())
    # It wiped its environment. Still nobody is started before its ancestor, or by one that waits.
    born = children.started_at(orphan)
    return any(
        children.started_at(pid) <= born and (other.idle_since is None or born <= other.idle_since)
        for pid, other in others.items()
    )


def _signal_group(leader: int, number: signal.Signals) -> None:
    """Signal a script's process group. What became another user's (by sudo) can't be, and is waited for."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return  # it was reaped already
    except PermissionError:
        get_logger().error("can't be ended", process=leader, reason="it is another user's now")


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
