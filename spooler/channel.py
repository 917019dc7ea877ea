"""The channel: what spooler and a script that stays alive tell each other, one line each in turn.

Owns: the socket; the line with a status that comes in, the line of JSON that goes out.
Promises: never waits for the other side, and keeps a few bytes of what it sends at most. What isn't exactly
one status when one is due is refused. It can tell whether the last line out was ever read.
Does not promise: that a status is true.
TRUST: a script may write anything, at any time, and may hand its end to others.
Source: unix(7), SIOCOUTQ; socket(7).
"""

import fcntl
import json
import os
import re
import socket
import struct
import termios
from collections.abc import Mapping
from contextlib import suppress

VARIABLE = "SPOOLER_FD"  # tells the script the number of its end
_STATUS = re.compile(rb"[0-9]{1,3}\n")
_STATUS_BYTES = 4
_HIGHEST_STATUS = 255
_READ_AT_THE_END = 1 << 12
_READ_BYTES = 64  # a status and enough of what is none to show


class NoStatusError(Exception):
    """What came is no status; the argument says what it was."""


class Channel:
    """One script's channel. Opened before its script is started; `started` must be called after that."""

    def __init__(self) -> None:
        self._own, self._scripts = socket.socketpair()
        self._line = b""
        self._was_reset = False
        self._has_told = False
        self.is_open = True  # False: the script has closed its end, and will never tell

    @property
    def number(self) -> int:
        """The descriptor's number, the script's own at first and ours from `started` on.

        So no two scripts that live at once are told the same number, and it tells whose a process is.
        """
        return self._scripts.fileno()

    def started(self) -> None:
        """Keep nothing of the script's end but its number."""
        os.dup2(self._own.fileno(), self._scripts.fileno(), inheritable=False)
        self._own.close()
        self._own = self._scripts
        self._own.setblocking(False)

    def fileno(self) -> int:
        return self._own.fileno()

    def read(self) -> int | None:
        """Return the status that was told, None as long as none is complete. Raises: NoStatusError."""
        try:
            came = self._own.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            self._was_reset = True
            came = b""
        if not came:
            self.is_open = False
            return None
        line = self._line + came
        self._line = line[:_STATUS_BYTES]
        if b"\n" not in line and len(line) < _STATUS_BYTES:
            return None
        shown = ascii(line[:_READ_BYTES])[1:]
        if not _STATUS.fullmatch(line) or int(line) > _HIGHEST_STATUS:
            raise NoStatusError(f"it wrote {shown} to {VARIABLE}, which isn't one line with a status")
        if self._is_unread():
            raise NoStatusError(f"it wrote {shown} to {VARIABLE} before it had read the next line")
        self._line = b""
        return int(line)

    @property
    def is_quiet(self) -> bool:
        """Whether the script may wait for its next line: it has read the last one, and said nothing since."""
        try:
            self._own.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return self.is_open and not self._line and not self._is_unread()
        except ConnectionResetError:
            self._was_reset = True
        return False  # a further status, or the end

    def was_left_unread(self) -> bool:
        """Say whether a script that has ended didn't read the last line to its end: nobody acted on it."""
        if not self._has_told:
            return False
        with suppress(BlockingIOError):
            try:
                # What it wrote in the end comes before what became of our line.
                for _ in range(_READ_AT_THE_END):  # one that couldn't be ended may write on
                    if not self._own.recv(_READ_AT_THE_END):
                        break
            except ConnectionResetError:
                self._was_reset = True
        return self._was_reset or self._is_unread()

    def _is_unread(self) -> bool:
        (waiting,) = struct.unpack("i", fcntl.ioctl(self._own.fileno(), termios.TIOCOUTQ, bytes(4)))
        return bool(waiting)

    def tell(self, file: str, environment: Mapping[str, str]) -> bool:
        """Send a notification; False if it can't be: the script is gone, or no text of JSON says it."""
        line = json.dumps({"file": file, "environment": dict(environment)}, ensure_ascii=False) + "\n"
        self._has_told = True
        try:
            message = line.encode()  # a file's name may be no UTF-8
            return self._own.send(message) == len(message)
        except (UnicodeEncodeError, OSError):
            return False

    def end(self) -> None:
        """Tell the script that no further line comes, and listen no more."""
        self.is_open = False
        with suppress(OSError):
            self._own.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._own.close()
        self._scripts.close()
