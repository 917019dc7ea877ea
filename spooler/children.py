"""Left-behind children: processes that a script started and that outlive it.

Owns: this process's role as the one that orphans fall to (a "child subreaper"), and finding them.
Promises: a grandchild that left the script's process group and session is found all the same.
Does not promise: to tell whose it is, where a process wiped its environment and several scripts run.
Source: prctl(2) PR_SET_CHILD_SUBREAPER, proc(5).
"""

import ctypes
import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None, use_errno=True)


def adopt_orphans() -> None:
    """Make orphans among this process's descendants its children. Raises: OSError."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def all_children() -> set[int]:
    """Return the process ids of all children, of every thread, ended ones that nobody waited for included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()  # mostly there is none, and looking for them takes a file for each thread
    found: set[int] = set()
    with os.scandir("/proc/self/task") as tasks:
        for task in tasks:
            with suppress(OSError):  # a thread that has just ended
                found.update(map(int, Path(task.path, "children").read_bytes().split()))
    return found


def environment_value(process: int, variable: str) -> str | None:
    """Return the value that a process was started with; None if unknown (ended, wiped, another user's)."""
    try:
        content = Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return None
    prefix = variable.encode() + b"="
    return next((os.fsdecode(e[len(prefix) :]) for e in content.split(b"\0") if e.startswith(prefix)), None)


def session_of(process: int) -> int:
    """Return a process's session; 0 if it is gone."""
    try:
        return os.getsid(process)
    except OSError:
        return 0


def started_at(process: int) -> int:
    """Return when a process was started, in the kernel's ticks; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 0


def ticks_now() -> int:
    """Return what time it is, as `started_at` tells it."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_A_SECOND)


def find_by_environment(variable: str, value: str) -> set[int]:
    """Return the processes of this user that were started with the variable set to the value."""
    processes = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {process for process in processes if environment_value(process, variable) == value}


def find_below(variable: str, folder: Path) -> set[int]:
    """Return the processes of this user that were started with the variable set to a path in the folder."""
    processes = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {
        one
        for one in processes
        if (value := environment_value(one, variable)) and Path(value).parent == folder
    }


def reap(processes: Collection[int]) -> set[int]:
    """Wait for those that have ended; return the others."""
    alive = set()
    for process in processes:
        with suppress(ChildProcessError):
            if os.waitpid(process, os.WNOHANG) == (0, 0):
                alive.add(process)
    return alive


def kill(processes: Collection[int]) -> None:
    """Send SIGKILL to each; one that became another user's can't be reached, and is left."""
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)
