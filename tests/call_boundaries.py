"""The boundaries between system calls: counting them in an undisturbed run, and killing at one.

Owns: strace, attached to threads that are there already: what it is told, and what it writes.
Promises: a kill counts as one at a boundary only if the thread had made exactly the calls that lead up to it
(reads apart, of which there may be one more or less).
Does not promise: calls that nobody outside the process can tell of (memory, waiting, signal masks, where a
descriptor stands) as boundaries: what is on the disk is the same before and after them.
"""

import contextlib
import re
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from running_service import PATIENCE_SECONDS, wait_until

_PRIVATE = (
    "brk,clock_gettime,clock_nanosleep,fcntl,futex,getpid,getppid,getrandom,gettid,ioctl,lseek,madvise,mmap,"
    "mprotect,munmap,poll,prlimit64,restart_syscall,rseq,rt_sigaction,rt_sigprocmask,sched_yield,"
    "set_robust_list,sigaltstack,uname"
)
_CALL = re.compile(r"(?:(?P<thread>\d+) +)?(?P<name>[a-z]\w*)\((?P<rest>.*)")
# How often a script's output is read depends on how fast the script ends.
_UNSTEADY = frozenset({"read"})
_DETACH_SECONDS = 0.1


@dataclass(frozen=True)
class Call:
    """A system call as it was traced: by which thread, and the rest of its line."""

    thread: str
    name: str
    rest: str


@dataclass(frozen=True)
class Boundary:
    """The place right before the `count`-th call of that name, which is the `index`-th of its thread."""

    name: str
    count: int
    index: int

    @property
    def injection(self) -> str:
        """What strace is told: the signal comes at the entry, and the call is never made."""
        return f"inject={self.name}:signal=SIGKILL:when={self.count}"

    def __str__(self) -> str:
        return f"before {self.name} number {self.count}"


def read_calls(output: Path) -> list[Call]:
    """Return the calls in a trace, by when they began."""
    found = map(_CALL.match, output.read_text(errors="replace").splitlines())
    return [Call(match["thread"] or "", match["name"], match["rest"]) for match in found if match]


def boundaries(calls: Sequence[Call]) -> list[Boundary]:
    """Return all boundaries in one thread's calls. The one after a call is the one before the next."""
    counts: Counter[str] = Counter()
    found = []
    for index, call in enumerate(calls):
        counts[call.name] += 1
        found.append(Boundary(call.name, counts[call.name], index))
    return found


def was_hit(boundary: Boundary, calls: Sequence[Call], reference: Sequence[Call]) -> bool:
    """Say whether some thread ended with the boundary's call, having made the calls that lead up to it."""
    expected = _steady(reference[: boundary.index])
    by_thread: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_thread[call.thread].append(call)
    return any(
        made[-1].name == boundary.name and _steady(made[:-1]) == expected for made in by_thread.values()
    )


def _steady(calls: Sequence[Call]) -> list[str]:
    return [call.name for call in calls if call.name not in _UNSTEADY]


@contextlib.contextmanager
def attached(
    threads: Sequence[int], output: Path, boundary: Boundary | None = None, *, paths: Sequence[Path] = ()
) -> Iterator[None]:
    """Trace threads, and kill their process at the boundary where one is given.

    paths: only calls on one of these count, for who looks at all processes makes as many as there are.
    """
    output.unlink(missing_ok=True)
    command = ["strace", "-qq", "-s", "400", "-o", str(output), "-e", f"trace=!{_PRIVATE}"]
    command += ["-e", boundary.injection] if boundary else []
    command += [f"--trace-path={path}" for path in paths]
    command += [f"--attach={thread}" for thread in threads]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
        try:
            wait_until(lambda: strace.poll() is not None or all(map(_is_traced, threads)), "strace attaches")
            time.sleep(0.05)  # until the threads, which wait, have been stopped once
            yield
        finally:
            _end(strace)


def _end(strace: "subprocess.Popen[bytes]") -> None:
    """End the tracer, which lets go of what still lives; after a kill it may wait for threads in vain."""
    strace.terminate()
    try:
        strace.wait(_DETACH_SECONDS)
    except subprocess.TimeoutExpired:
        strace.kill()
        strace.wait(PATIENCE_SECONDS)


def _is_traced(thread: int) -> bool:
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{thread}/status").read_text()
        return re.search(r"^TracerPid:\s*0$", status, re.MULTILINE) is None
    return False
