"""The processor's lock: one processor per spool.

Owns: a kernel lock on the spool's folder itself.
Promises: it ends with the process that holds it, however that ends; nothing goes stale, and there is no
file that somebody could remove.
Does not promise: anything between machines.
"""

import fcntl
import os
from pathlib import Path

from spooler.durable import FOLDER_MODE
from spooler.errors import SpoolLockedError, SpoolUnusableError


class ProcessorLock:
    """Held from construction until `close` or the end of the process and of its forks."""

    def __init__(self, spool: Path) -> None:
        """Take the lock. Raises: SpoolLockedError if another processor holds it, SpoolUnusableError."""
        try:
            spool.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
            self._descriptor = os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SpoolUnusableError(f"{spool}: can't be used as the spool: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise SpoolLockedError(
                f"{spool}: another processor works on this spool (there can be one); stop that one first"
            ) from None

    def close(self) -> None:
        """Let go of this process's hold."""
        os.close(self._descriptor)


def is_held(spool: Path) -> bool:
    """Say whether a processor works on a spool, without touching the lock. Raises: OSError.

    Source: proc_locks(5). It shows the locks of this machine (or container) only.
    """
    status = spool.stat()
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    locks = [line.split() for line in Path("/proc/locks").read_text(encoding="ascii").splitlines()]
    return any("FLOCK" in fields and "->" not in fields and device in fields for fields in locks)
