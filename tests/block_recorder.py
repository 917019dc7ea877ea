"""A disk that writes down what happens to it: every write, every flush, and what others say meanwhile.

    python tests/block_recorder.py FOLDER IMAGE RECORD

mounts FOLDER with two files in it. `disk` holds the image's bytes; put a loop device over it, and what the
kernel writes to the device comes by here. What is written to `marks` stands in the record between the
writes, one mark for each call. It ends when FOLDER is unmounted.

Owns: that file system, and the record's format.
Promises: one entry after another, in the order in which the calls came; a mark's writer waits until it is
in the record.
"""

import contextlib
import errno
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from running_service import PATIENCE_SECONDS, wait_until

try:
    import mfusepy

    WHY_NOT = "" if Path("/dev/fuse").exists() else "needs /dev/fuse"
except (ImportError, OSError) as error:  # OSError: its library isn't there
    mfusepy, WHY_NOT = None, f"needs mfusepy and libfuse: {error}"

WRITE, FLUSH, MARK = b"W", b"F", b"M"
_HEADER = struct.Struct("<cQI")


class Entry(NamedTuple):
    """One entry of a record: what happened; for writes where, and the bytes (also a mark's)."""

    kind: bytes
    offset: int
    content: bytes


def read_record(path: Path) -> Iterator[Entry]:
    """Yield what happened, in order. Raises: ValueError, struct.error for a record that isn't whole."""
    with path.open("rb") as file:
        while header := file.read(_HEADER.size):
            kind, offset, length = _HEADER.unpack(header)
            content = file.read(length)
            if kind not in {WRITE, FLUSH, MARK} or len(content) != length:
                raise ValueError(f"{path} isn't whole: there was no room for it, or its writer was ended")
            yield Entry(kind, offset, content)


@contextlib.contextmanager
def recording(folder: Path, image: Path, record: Path) -> Iterator[Path]:
    """Run the recorder over an image, which is changed; gives the path of the disk."""
    folder.mkdir()
    process = subprocess.Popen([sys.executable, __file__, str(folder), str(image), str(record)])
    try:
        wait_until(lambda: folder.is_mount() or process.poll() is not None, "the recorder is mounted")
        yield folder / "disk"
        # A loop device lets go of its file when everybody has let go of the device: a moment later.
        wait_until(lambda: _unmount(folder), "nobody has the disk open")
        process.wait(PATIENCE_SECONDS)
    finally:
        if process.poll() is None:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)
            process.kill()
            process.wait()


def _unmount(folder: Path) -> bool:
    return not subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode


def serve(folder: Path, image: Path, record: Path) -> None:
    """Serve the two files until the folder is unmounted."""
    disk = os.open(image, os.O_RDWR)
    log = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    class Files(mfusepy.Operations):  # type: ignore[misc]
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            if path not in {"/disk", "/marks"}:
                raise mfusepy.FuseOSError(errno.ENOENT)
            size = os.fstat(disk).st_size if path == "/disk" else 0
            return {"st_mode": stat.S_IFREG | 0o666, "st_nlink": 1, "st_size": size}

        def truncate(self, path: str, length: int, fh: int | None = None) -> int:
            return 0  # who writes a mark may open the file so

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(disk, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            if path == "/disk":
                os.pwrite(disk, data, offset)
            kind = WRITE if path == "/disk" else MARK
            os.write(log, _HEADER.pack(kind, offset, len(data)) + data)
            return len(data)

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            os.write(log, _HEADER.pack(FLUSH, 0, 0))
            return 0

    mfusepy.FUSE(Files(), str(folder), foreground=True, nothreads=True, allow_other=True)


if __name__ == "__main__":
    serve(*map(Path, sys.argv[1:]))
