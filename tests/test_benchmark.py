"""The benchmark: a real receiver and the real disk take turns, and nothing is left."""

import contextlib
from pathlib import Path

import pytest

from spooler import benchmark
from spooler.benchmark import Round, Summary
from spooler.errors import SpoolerError
from spooler.latency import Latencies


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
