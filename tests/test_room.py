"""Room on the disk."""

import os
from pathlib import Path

import pytest
from mounts import mounted, take_inodes

from spooler import durable, room
from spooler.room import Room


def test_it_is_what_the_file_system_says(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    assert Room.of(tmp_path).free_bytes == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.05)


@pytest.mark.parametrize(
    ("room", "limit", "shortage"),
    [
        (Room(1 << 20, 1000), 1 << 20, ""),
        (Room((1 << 20) - 1, 1000), 1 << 20, "only 1024.0 KiB free, min_free is 1.0 MiB"),
        (Room(1 << 30, 99), 1 << 20, "only 99 inodes free"),
        (Room(1 << 30, 100), 1 << 20, ""),
        (Room(1 << 30, None), 1 << 20, ""),  # btrfs counts none
        (Room(0, 0), 0, ""),  # no limit
    ],
)
def test_what_is_too_little_is_named(room: Room, limit: int, shortage: str) -> None:
    assert room.shortage(limit) == shortage


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a file system")
def test_where_no_further_file_can_be_made_there_is_no_ample_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64m,nr_inodes=200"):
        with durable.opened_folder(tmp_path / "disk") as folder:
            assert room.is_ample(folder)
        take_inodes(tmp_path / "disk")
        with durable.opened_folder(tmp_path / "disk") as folder:
            assert not room.is_ample(folder)
