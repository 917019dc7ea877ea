"""A file system that was mounted is gone when that is said: its image is nobody else's any more."""

import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import disks
import pytest
from running_service import wait_until

pytestmark = [
    pytest.mark.skipif(bool(disks.why_not("ext4")), reason=disks.why_not("ext4")),
    pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare"),
]


def mounts_of(process: int | str) -> str:
    return str(Path(f"/proc/{process}/ns/mnt").readlink())


@contextlib.contextmanager
def copy_of_the_mounts(seconds: float) -> Iterator[int]:
    """Have a process with mounts of its own, a copy of ours, as a container's start has; gives its number."""
    own, command = (
        mounts_of("self"),
        ["unshare", "--mount", "--propagation", "private", "sleep", str(seconds)],
    )
    with subprocess.Popen(command) as process:
        try:
            wait_until(lambda: mounts_of(process.pid) != own, "it has them")
            yield process.pid
        finally:
            process.kill()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_nobody_writes_to_an_image_any_more_that_was_unmounted(tmp_path: Path) -> None:
    image = disks.make_image(tmp_path / "image", "ext4")
    with contextlib.ExitStack() as stack:
        with disks.mounted(image, tmp_path / "mount") as mount:
            process = stack.enter_context(copy_of_the_mounts(1.0))
            (mount / "file").write_bytes(b"late")
        left = digest(image)
        wait_until(lambda: not Path(f"/proc/{process}/ns/mnt").exists(), "they are gone")
        assert digest(image) == left


def test_who_keeps_a_file_system_for_good_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "_RELEASE_SECONDS", 0.2)
    image = disks.make_image(tmp_path / "image", "ext4")
    with contextlib.ExitStack() as stack:
        with (
            pytest.raises(OSError, match="is still in use") as raised,
            disks.mounted(image, tmp_path / "mount"),
        ):
            process = stack.enter_context(copy_of_the_mounts(60.0))
        assert f"process {process} (sleep)" in str(raised.value)
