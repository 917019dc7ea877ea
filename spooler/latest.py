"""The latest stamp: what was named last in `incoming/`, so that nothing later sorts before it.

Owns: the hidden file `.stamp` in a webhook's `rejected/`; its modification time is the latest stamp.
Promises: as long as a notification waits, a later one's stamp is above its own, by whichever process, after
a restart, and whatever the clock has done meanwhile. A clock that is right costs one stat and one utime.
Does not promise: the right time. While something waits whose stamp lies ahead of the clock, stamps go on
from there in microseconds; when nothing does, they follow the clock again.

The callers hold the lock of `incoming/`. Stamps are in whole microseconds of the epoch.
CRASH: nothing syncs the file. What a power cut takes of it, the receiver's start finds in the names.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spooler.durable import MODE
from spooler.name import HIDDEN

FILE_NAME = HIDDEN + "stamp"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
END = datetime(2400, 1, 1, tzinfo=UTC)  # file systems know no time that is much later


def read(folder: Path) -> datetime | None:
    """Return the latest stamp, as the file in `folder` tells; None if nothing does, or nobody may look."""
    with suppress(OSError, OverflowError):
        nanoseconds = os.lstat(f"{folder}/{FILE_NAME}").st_mtime_ns
        moment = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
        return moment if moment < END else None
    return None


def next_stamp(latest: datetime | None, now: datetime) -> datetime:
    """Return the stamp to give next: the clock's, unless the latest one is ahead of it."""
    return now if latest is None or now > latest else latest + MICROSECOND


def write(folder: Path, moment: datetime) -> bool:
    """Note that a stamp is given, or that the clock is to be followed again.

    Returns whether that is noted. If not (the folder is gone, or nobody may write in it), that's no reason
    not to store.
    """
    nanoseconds = (moment - _EPOCH) // MICROSECOND * 1000
    try:
        _set(f"{folder}/{FILE_NAME}", nanoseconds)
    except (FileNotFoundError, PermissionError):  # not there yet, or somebody else's; the folder is ours
        path = folder / FILE_NAME
        try:
            path.unlink(missing_ok=True)
            path.touch(MODE)
            _set(str(path), nanoseconds)
        except OSError:
            return False
    except OSError:
        return False
    return True


def _set(path: str, nanoseconds: int) -> None:
    os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)
