"""A script's output: standard output and error together, read as it comes.

Owns: the near end of the pipe, and how much of what came is kept.
Promises: reading never waits. At most 16 KiB of the end are kept, whatever is written.
"""

import contextlib
import os
import subprocess

OUTPUT_BYTES = 16 * 1024
_READ_BYTES = 64 * 1024
_DRAIN_BYTES = 1 << 20  # more than a pipe holds: a grandchild that writes on can't hold us up


class Output:
    """The end of what a script writes, read as it comes."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None  # noqa: S101 - it was started with a pipe
        self._pipe = process.stdout
        os.set_blocking(self._pipe.fileno(), False)
        self._end = bytearray()
        self._has_ended = False  # nobody can write any more

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
        self._has_ended = not chunk
        return len(chunk)

    def drain(self) -> None:
        """Take what is in the pipe."""
        if self._has_ended:
            return
        with contextlib.suppress(BlockingIOError):
            for _ in range(_DRAIN_BYTES // _READ_BYTES):
                chunk = os.read(self._pipe.fileno(), _READ_BYTES)
                if not chunk:
                    break
                self._end += chunk
                del self._end[:-OUTPUT_BYTES]

    def close(self) -> None:
        self._pipe.close()

    def note(self, words: str) -> None:
        """Add a line of spooler's own."""
        if self._end and not self._end.endswith(b"\n"):
            self._end += b"\n"
        self._end += f"spooler: {words}\n".encode()

    def take(self) -> str:
        """Return what there is, and begin anew."""
        text = self.text()
        self._end.clear()
        return text

    def text(self) -> str:
        """Return at most 16 KiB (as UTF-8); bytes that are no UTF-8 stand there as `\\xff`."""
        text = bytes(self._end[-OUTPUT_BYTES:]).decode("utf-8", "backslashreplace")
        return text.encode()[-OUTPUT_BYTES:].decode("utf-8", "ignore")
