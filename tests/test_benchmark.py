"""The benchmark: a real receiver and the real disk take turns, and nothing is left."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from mounts import mounted

from spooler import benchmark
from spooler.benchmark import Reserve, Round, ScarceRoomError, Summary
from spooler.errors import SpoolerError
from spooler.latency import Latencies
from spooler.room import Room


def test_each_round_has_figures_of_both(tmp_path: Path) -> None:
    with benchmark.workplace(tmp_path) as place:
        rounds = list(benchmark.run(place, 2, 2, 0.2))
        stored = len(list(place.glob("1/spool/bench/incoming/*.json")))
    assert stored == rounds[1].receiver.count + 1  # the first one is not measured
    assert all(one.receiver.count and one.disk.count and one.processor_ms > 0 for one in rounds)
    assert len(rounds) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_ratio_is_that_of_what_was_measured_one_after_the_other() -> None:
    def figures(per_second: float) -> Latencies:
        return Latencies(1, per_second, 1.0, 2.0, 3.0)

    rounds = [
        Round(figures(mine), mine / 1000, figures(the_disks))
        for mine, the_disks in ((100, 200), (10, 100), (900, 1000))
    ]
    found = Summary.of(rounds)
    assert (found.receiver.per_second, found.disk.per_second) == (100, 200)
    assert found.processor_ms == 0.1
    assert found.share_of_disk == 0.5


def test_a_folder_that_cannot_be_written_to_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpoolerError, match=r"can't be measured: .*; name a folder that you may write to"):
        benchmark.workplace(tmp_path / "nowhere").__enter__()


def test_nothing_is_left_of_one_that_fails(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with contextlib.suppress(KeyboardInterrupt), benchmark.workplace(tmp_path) as place:
        (place / "file").touch()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@contextlib.contextmanager
def small_disk(tmp_path: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory, and watch that nothing is left there."""
    with mounted(tmp_path / "disk", options):
        yield tmp_path / "disk"
        assert list((tmp_path / "disk").iterdir()) == []


def others_take(folder: Path, files: int, size_bytes: int) -> None:
    for number in range(files):
        (folder / f"others-{number}").write_bytes(bytes(size_bytes))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("size=190m", r"^too little room to begin: 190.0 MiB free, 192.0 MiB are needed; name a folder "),
        (
            "size=400m,nr_inodes=19000",
            r"^too little room to begin: 18,9\d\d inodes free, 20,000 are needed; ",
        ),
    ],
    ids=["bytes", "inodes"],
)
def test_a_disk_with_too_little_room_is_told_before_anything_is_measured(
    tmp_path: Path, options: str, words: str
) -> None:
    with small_disk(tmp_path, options) as disk, pytest.raises(ScarceRoomError, match=words):
        benchmark.workplace(disk).__enter__()


@pytest.mark.parametrize(
    ("options", "taken", "words"),
    [
        ("size=194m", (62, 1 << 20), r" 1\d\d\.\d MiB free, 128.0 MiB are left to others; measure for a "),
        ("size=400m,nr_inodes=21000", (10_500, 0), r" 9,\d\d\d inodes free, 10,000 are left to others; "),
    ],
    ids=["bytes", "inodes"],
)
def test_what_others_need_of_the_disk_is_never_taken(
    tmp_path: Path, options: str, taken: tuple[int, int], words: str
) -> None:
    with small_disk(tmp_path, options) as disk, benchmark.workplace(disk) as place:
        others_take(place, *taken)
        with pytest.raises(ScarceRoomError, match=words):
            list(benchmark.run(place, 2, 1, 60))
        room = Room.of(disk)
    assert room.free_bytes > 127 << 20
    assert room.free_inodes is not None
    assert room.free_inodes > 9000


@pytest.mark.parametrize(
    ("size", "kept_bytes"), [("400m", 128 << 20), ("4000m", 200 << 20), ("40g", 1 << 30)]
)
def test_a_twentieth_of_the_disk_is_left_to_others(tmp_path: Path, size: str, kept_bytes: int) -> None:
    with small_disk(tmp_path, f"size={size}") as disk:
        assert Reserve(disk).kept_bytes == kept_bytes
