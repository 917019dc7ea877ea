"""Real file systems on loop devices, which lose what wasn't synced: by a shut-down, or with their power.

Owns: images, loop devices and mounts, and whether this machine has them.
Promises: what was mounted or attached is undone when its `with` is left, and nobody writes to the image any
more; or an error says who may.
Needs root, and the programs that make the file systems.
"""

import contextlib
import errno
import fcntl
import functools
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from running_service import PATIENCE_SECONDS

# The least that each takes; an image is a sparse file.
SIZES = {"ext4": 32 << 20, "xfs": 300 << 20}
_MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
_SHUT_DOWN = 0x8004587D  # FS_IOC_SHUTDOWN
_RELEASE_SECONDS = 5 * PATIENCE_SECONDS  # longer than a container lives
_NO_LOG_FLUSH = struct.pack("I", 2)


def why_not(file_system: str) -> str:
    """Say why such a file system can't be had here; empty if it can. Nothing but a real mount tells."""
    if os.geteuid() != 0:
        return "needs root, to mount a file system"
    for program in (_MAKE[file_system][0], "losetup", "mount"):
        if not shutil.which(program):
            return f"needs {program}"
    return _why_no_mount(file_system)


@functools.cache
def _why_no_mount(file_system: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            with mounted(make_image(root / "image", file_system), root / "mount"):
                return ""
        except (OSError, subprocess.CalledProcessError) as error:
            said = getattr(error, "stderr", b"") or str(error).encode()
            return f"{file_system} can't be mounted from a loop device here: {said.decode().strip()}"


def make_image(path: Path, file_system: str, *options: str) -> Path:
    """Make a file with an empty file system in it. Raises: CalledProcessError."""
    with path.open("wb") as file:
        file.truncate(SIZES[file_system])
    _run(*_MAKE[file_system], *options, str(path))
    _run("fallocate", "--dig-holes", str(path))
    return path


def make_image_without_blocks(path: Path) -> Path:
    """Make an ext4 that counts free blocks and, when it comes to write, finds none: their map is spoilt.

    What is written to it is taken into memory, and lost; of the first file that is said, once. Raises:
    CalledProcessError.
    """
    block_bytes = 4096  # so large that there is one group of blocks, whose description is in the second
    make_image(path, "ext4", "-b", str(block_bytes))
    with path.open("r+b") as image:
        image.seek(block_bytes)
        (map_block,) = struct.unpack("<I", image.read(4))
        image.seek(map_block * block_bytes)
        image.write(b"\xaa" * block_bytes)
    return path


@contextlib.contextmanager
def attached(image: Path) -> Iterator[Path]:
    """Make a block device of a file, which stays meanwhile; gives the device.

    Raises: CalledProcessError; OSError if the device is still in use long after the `with` was left.
    """
    device = Path(_run("losetup", "--find", "--show", str(image)).strip())
    backing = _backing(device)
    try:
        yield device
    finally:
        _run("losetup", "--detach", str(device))
    # RACE: whoever starts a container gets a copy of all mounts, and throws it away a moment later. Until
    # then a file system lives on that is unmounted here, and writes to the image at its end. (After a failure
    # that is not waited for: the failure is what is to be told.)
    end = time.monotonic() + _RELEASE_SECONDS
    while backing and _backing(device) == backing:
        if time.monotonic() > end:
            who = ", ".join(_holders(device)) or "nobody who can be found"
            raise OSError(errno.EBUSY, f"{device} is still in use, with {image}: mounted for {who}")
        time.sleep(0.01)


def _backing(device: Path) -> str:
    """Return what the kernel says is behind a loop device; empty if nothing is, or it doesn't tell."""
    with contextlib.suppress(OSError):
        return Path("/sys/block", device.name, "loop", "backing_file").read_text().strip()
    return ""


def _holders(device: Path) -> Iterator[str]:
    """Yield the processes that have a file system on this device among their mounts: number and name."""
    number = device.stat().st_rdev
    mounted_there = f" {os.major(number)}:{os.minor(number)} "
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if mounted_there in (process / "mountinfo").read_text():
                yield f"process {process.name} ({(process / 'comm').read_text().strip()})"


@contextlib.contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    """Mount the file system in a file; gives the folder. Raises: CalledProcessError."""
    folder.mkdir(exist_ok=True)
    with attached(image) as device, mounted_device(device, folder):
        yield folder


@contextlib.contextmanager
def mounted_device(device: Path, folder: Path) -> Iterator[None]:
    """Mount a device. Raises: CalledProcessError."""
    # Each image is a copy with the id of the first: XFS would refuse two at once.
    options = "nouuid" if _type_of(device) == "xfs" else "defaults"
    _run("mount", "-o", options, str(device), str(folder))
    try:
        yield
    finally:
        try:
            _run("umount", str(folder))
        except subprocess.CalledProcessError:
            _run("umount", "--lazy", str(folder))  # somebody still works in it; it goes when they do
            raise


def cut(folder: Path) -> None:
    """Stop a mounted file system at once: what it hasn't on the disk yet is lost. Raises: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, _SHUT_DOWN, _NO_LOG_FLUSH)
    finally:
        os.close(descriptor)


def _type_of(device: Path) -> str:
    with device.open("rb") as file:
        return "xfs" if file.read(4) == b"XFSB" else "ext4"


def _run(*command: str) -> str:
    """Run a program that others may keep from succeeding for a moment. Raises: CalledProcessError."""
    # Others take loop devices at the same moment, or still look at one.
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        ended = subprocess.run(command, capture_output=True, check=False)
        said = ended.stderr.decode().lower()
        is_busy = "busy" in said or "cannot find an unused" in said
        if ended.returncode == 0 or not is_busy or time.monotonic() > end:
            break
        time.sleep(0.1)
    ended.check_returncode()
    return ended.stdout.decode()
