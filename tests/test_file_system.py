"""The file system of a folder, on real ones."""

import subprocess
from pathlib import Path

import disks
import pytest

from spooler.file_system import FileSystem


@pytest.mark.power
@pytest.mark.parametrize(
    ("kind", "options", "doubt"),
    [
        ("ext4", (), ""),
        ("xfs", (), ""),
        ("ext4", ("-O", "^has_journal"), "this ext4 has no journal: a power cut may take what was answered"),
    ],
    ids=["ext4", "xfs", "ext4 without a journal"],
)
def test_what_power_cuts_were_tried_on_is_not_doubted_and_an_ext4_without_a_journal_is(
    kind: str, options: tuple[str, ...], doubt: str, tmp_path: Path
) -> None:
    if reason := disks.why_not(kind):
        pytest.skip(reason)
    image = disks.make_image(tmp_path / "image", kind, *options)
    # The kernel writes such a name in another way.
    with disks.mounted(image, tmp_path / "a disk\\040"):
        found = FileSystem.of(tmp_path / "a disk\\040" / "to be made")
    assert (found.kind, found.has_journal) == (kind, not options)
    assert found.doubt.startswith(doubt)
    assert bool(found.doubt) == bool(doubt)


@pytest.mark.power
def test_one_that_leaves_what_was_synced_in_the_disks_own_memory_is_doubted(tmp_path: Path) -> None:
    if reason := disks.why_not("ext4"):
        pytest.skip(reason)
    place = tmp_path / "mount"
    with disks.mounted(disks.make_image(tmp_path / "image", "ext4"), place):
        subprocess.run(["mount", "-o", "remount,nobarrier", place], check=True, timeout=10)
        assert FileSystem.of(place) == FileSystem("ext4", has_barriers=False)
    assert FileSystem("ext4", has_barriers=False).doubt.startswith("mounted with nobarrier: a power cut")


def test_a_link_that_leads_to_itself_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    assert FileSystem.of(tmp_path / "link") == FileSystem("")


def test_any_other_is_doubted() -> None:
    assert FileSystem.of(Path("/proc/self")) == FileSystem("proc")
    assert FileSystem("proc").doubt == (
        "proc: power cuts were tried on ext4 and XFS only; put the spool on one of these"
    )


def test_nothing_is_said_of_what_the_kernel_does_not_tell() -> None:
    assert FileSystem("").doubt == ""
