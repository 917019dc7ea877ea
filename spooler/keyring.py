"""A keyring: the public keys of one webhook, kept up to date with their files.

Owns: when a changed key file is read again.
Promises: a running keyring never loses its last good keys. Logs `key loaded`, `key warning`, `key kept`.
Does not promise: to forget a key whose file is removed; that is the configuration's to say.
"""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from spooler.errors import KeyFileError
from spooler.keys import Key, load_key
from spooler.log import get_logger

_Stamp = tuple[int, ...]  # equal for equal content; of one number (the errno) where there is no file
_CLOCK_TICK_NS = 2_000_000_000  # two writes closer than this may bear the same times


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)  # noqa: PTH116 - for each notification
    except OSError as error:
        return (error.errno or 0,)
    # st_ctime_ns too: `chmod` mends an unreadable file without touching the other three.
    return (found.st_ctime_ns, found.st_mtime_ns, found.st_size, found.st_ino)


class _WatchedFile:
    """One file of a keyring: its last good key, and what it looked like then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._where = str(path)
        self._refused: _Stamp | None = None
        self._take(_stamp(self._where), load_key(path))

    def refresh(self, force: bool, quietly: bool) -> None:
        """Read the file again if it may have changed; keep the last good key if it is none any more."""
        # RACE: stat before reading, so that what is written after the stat is seen the next time.
        stamp = _stamp(self._where)
        if stamp == self._taken and self._settled and not force:
            self._refused = None  # what was refused is gone: a link or a folder was put back
            return
        try:
            key = load_key(self._path)
        except KeyFileError as error:
            # Tried again at every call, for the reason may lie outside of the file; reported once.
            if quietly:
                return
            if force or stamp != self._refused:
                kept = self.key.fingerprint
                get_logger().error("key kept", file=self._where, reason=str(error), fingerprint=kept)
            self._refused = stamp
            return
        known = key == self.key and stamp == self._taken and not force
        self._take(stamp, key, quietly=quietly or known)

    def _take(self, stamp: _Stamp, key: Key, quietly: bool = False) -> None:
        self.key = key
        self._taken = stamp
        self._refused = None
        # RACE: a file written twice within one tick of the clock, and read in between, keeps its stamp.
        self._settled = time.time_ns() - stamp[0] > _CLOCK_TICK_NS
        if quietly:
            return
        log = get_logger()
        log.info("key loaded", file=key.name, kind=key.kind, bits=key.bits, fingerprint=key.fingerprint)
        for warning in key.warnings:
            log.warning("key warning", file=key.name, reason=warning)


class Keyring:
    """The keys of one webhook, kept up to date with their files while requests come in.

    A key whose file is removed stays: to withdraw a key, take it out of the configuration. Any thread may
    call anything at any time.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Load every file. Raises: KeyFileError for the first that can't be used."""
        self._lock = threading.Lock()
        self._files = [_WatchedFile(path) for path in paths]
        self._keys = tuple(file.key for file in self._files)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The last good key of each file, in the order of the paths."""
        return self._keys

    def refresh(self, force: bool = False, quietly: bool = False) -> None:
        """Read the files that changed (with `force`: all); costs one `stat` a file when none did.

        quietly: log nothing, for somebody else does. What is refused now is told by the next call that isn't.
        """
        with self._lock:
            for file in self._files:
                file.refresh(force, quietly)
            self._keys = tuple(file.key for file in self._files)
