"""Confinement: what the receiver's processes give up before they hear from strangers.

Owns: Landlock, through its three system calls; there is no well-kept library for it.
Promises: afterwards this process and the threads that it starts can write beneath the given folders and
nowhere else, run no program, open no connection, and signal no other process. Reading stays as it was.
Does not promise: anything where the kernel has no Landlock (before 5.13, or off): `restrict` says so.
Source: landlock(7), linux/landlock.h.
"""

import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_VERSION_WANTED = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _REMOVE_FILE, _MAKE_FILE = 1 << 0, 1 << 1, 1 << 5, 1 << 8
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_TRUNCATE = 1 << 14  # since version 3
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1  # since version 4
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1  # since version 6

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


class Confinement:
    """The folders that stay writable. They are held open, so that it can be told when one was replaced."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Open the folders that are there. Raises: OSError."""
        self._folders: dict[Path, int] = {}
        self._identities: dict[str, tuple[int, int]] = {}  # as long as a folder is open no other one has it
        self._missing: list[Path] = []
        for folder in folders:
            try:
                self._folders[folder] = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                self._missing.append(folder)
            else:
                self._identities[str(folder)] = _identity(os.fstat(self._folders[folder]))

    def restrict(self) -> bool:
        """Give everything else up, for good; False if the kernel can't do that. Raises: OSError.

        Threads that run already keep what they have: to be called before there are any.
        """
        try:
            version = _call(_CREATE_RULESET, None, 0, _VERSION_WANTED)
        except OSError as error:
            if error.errno not in {errno.ENOSYS, errno.EOPNOTSUPP}:
                raise
            return False
        allowed = _WRITE_FILE | _REMOVE_FILE | _MAKE_FILE | (_TRUNCATE if version >= 3 else 0)
        rules = _Ruleset(
            files=allowed | _EXECUTE | _REMOVE_AND_MAKE,
            network=_BIND_TCP | _CONNECT_TCP if version >= 4 else 0,
            scoped=_SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= 6 else 0,
        )
        # An older kernel refuses what it doesn't know, but takes zeros for it.
        ruleset = _call(_CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0)
        try:
            for folder in self._folders.values():
                beneath = _Beneath(allowed=allowed, folder=folder)
                _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(beneath), 0)
            if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
            _call(_RESTRICT_SELF, ruleset, 0)
        finally:
            os.close(ruleset)
        return True

    @property
    def is_outdated(self) -> bool:
        """Whether a folder was replaced by another one, or is there at last, which can't be written to."""
        for folder, held in self._identities.items():
            try:
                found = os.stat(folder)  # noqa: PTH116 - each second
            except OSError:  # not there for now
                continue
            if _identity(found) != held:
                return True
        return any(folder.is_dir() for folder in self._missing)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"landlock: {os.strerror(ctypes.get_errno())}")
    return result
