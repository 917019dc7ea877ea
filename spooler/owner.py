"""The spool's owner: the user that the services run as, whose rights count for what is made and moved.

Owns: acting as that user where root gives a command, and what a user may do with a file.
Promises: what root's commands make belongs to the service. TRUST: nor can whoever writes into the spool use
root's rights through it.
Does not promise: what access lists, security modules and mount options add to owner, group and mode.
"""

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

READ, WRITE, EXECUTE = 4, 2, 1


@dataclass(frozen=True, slots=True)
class User:
    """A user with all groups."""

    uid: int
    gid: int
    groups: frozenset[int]
    name: str

    @classmethod
    def of(cls, uid: int) -> "User":
        """Look a user up; one without an entry has a number for a name, and no more groups."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return cls(uid, uid, frozenset({uid}), str(uid))
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        return cls(uid, entry.pw_gid, frozenset(groups), entry.pw_name)

    @property
    def is_caller(self) -> bool:
        """Whether it is the user whom this process acts as."""
        return self.uid == os.geteuid()

    def may(self, path: Path, rights: int) -> bool:
        """Say whether owner, group and mode give all of `rights`, on the file itself. Raises: OSError."""
        status = path.stat()
        if self.uid == 0:
            any_run_bit = status.st_mode & 0o111 or stat.S_ISDIR(status.st_mode)
            return not rights & EXECUTE or bool(any_run_bit)
        if status.st_uid == self.uid:
            granted = status.st_mode >> 6
        elif status.st_gid in self.groups:
            granted = status.st_mode >> 3
        else:
            granted = status.st_mode
        return granted & rights == rights

    def barrier(self, path: Path, rights: int) -> Path | None:
        """Return what keeps this user from `rights` on a path: it, or a folder above; None if nothing does.

        Raises: OSError, for a path that isn't there.
        """
        path = path.resolve(strict=True)
        for folder in reversed(path.parents):
            if not self.may(folder, EXECUTE):
                return folder
        return None if self.may(path, rights) else path


def service_user(folder: Path) -> User:
    """Return who the services run as, judging by a folder of the spool: its owner, if root asks.

    Everybody else can only be the one who looks. Raises: OSError, where nothing of the path is there.
    """
    if os.geteuid() != 0:
        return User.of(os.geteuid())
    while not folder.exists():
        folder = folder.parent
    return User.of(folder.stat().st_uid)


@contextmanager
def acting_for(folder: Path) -> Iterator[None]:
    """Do what follows as the owner of a folder, if root asks and somebody else owns it. Raises: OSError."""
    owner = service_user(folder)
    if owner.uid == os.geteuid():
        yield
        return
    groups, gid, uid = os.getgroups(), os.getegid(), os.geteuid()
    os.setgroups(sorted(owner.groups))
    os.setegid(owner.gid)
    os.seteuid(owner.uid)
    try:
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)
