"""Every process's numbers, on the disk and added up."""

import json
import threading
import time
from pathlib import Path

import pytest
from conftest import full_disk, wait_until

from spooler import measures, shared_measures
from spooler.measures import Counter, Labels
from spooler.shared_measures import Sharing, read_all


@pytest.fixture(autouse=True)
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """The only counter, with nothing counted."""
    known = Counter("spooler_things_total", "Things.", ("webhook",))
    monkeypatch.setattr(measures, "ALL", (known,))
    monkeypatch.setattr(shared_measures, "_KNOWN", {known.name: known})
    return known


def total(spool: Path) -> float:
    return sum(numbers[0] for _labels, numbers in read_all(spool)["spooler_things_total"])


def test_all_processes_are_added_up(tmp_path: Path, counter: Counter) -> None:
    for process in ("receiver-1", "receiver-2"):
        counter.series.clear()
        with Sharing(tmp_path, process):
            counter.count("crm")
    assert total(tmp_path) == 2


def test_a_process_that_is_started_again_goes_on_and_leaves_one_file(
    tmp_path: Path, counter: Counter
) -> None:
    for _start in range(3):
        counter.series.clear()
        with Sharing(tmp_path, "receiver-1"):
            counter.count("crm")
    assert total(tmp_path) == 3
    assert [path.name for path in (tmp_path / ".metrics").iterdir()] == ["receiver-1.json"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"spooler_things_total": [[["a", "b"], [1]], [["a"], [1, 2]]], "old": []}']
)
def test_what_is_torn_or_counted_otherwise_is_passed_over(
    tmp_path: Path, counter: Counter, content: str
) -> None:
    (tmp_path / ".metrics").mkdir()
    (tmp_path / ".metrics" / "receiver-1.json").write_text(content)
    assert total(tmp_path) == 0
    with Sharing(tmp_path, "receiver-1"):
        counter.count("crm")
    assert total(tmp_path) == 1
    assert json.loads((tmp_path / ".metrics" / "receiver-1.json").read_text())


def test_what_cannot_be_written_is_nobodys_failure(tmp_path: Path, counter: Counter) -> None:
    with full_disk(), Sharing(tmp_path, "receiver-1"):
        counter.count("crm")
    assert counter.copy() == [(("crm",), [1.0])]


def test_a_label_that_is_not_utf8_is_counted_escaped(tmp_path: Path, counter: Counter) -> None:
    with Sharing(tmp_path, "receiver-1"):
        counter.count("20-caf\udce9")
        counter.count("20-caf\udce9")
    assert read_all(tmp_path)["spooler_things_total"] == [(("20-caf\\udce9",), [2.0])]


def test_numbers_that_cannot_be_written_stop_neither_the_thread_nor_the_process(
    tmp_path: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_measures, "_AFTER_SECONDS", 0.02)
    counter.series["\udce9",] = [1.0]
    with Sharing(tmp_path, "receiver-1"):
        counter.count("crm")
        time.sleep(0.2)
        del counter.series["\udce9",]
        wait_until(lambda: total(tmp_path) == 1)  # though nothing more was counted


def test_while_nothing_is_counted_its_thread_sleeps(
    tmp_path: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_measures, "_AFTER_SECONDS", 0.01)
    with Sharing(tmp_path, "receiver-1"):
        counter.count("crm")
        wait_until(lambda: total(tmp_path) == 1)
        (thread,) = (one for one in threading.enumerate() if one.name == "metrics")
        time.sleep(0.1)
        before = times_run(thread)
        time.sleep(0.3)
        assert times_run(thread) == before


def times_run(thread: threading.Thread) -> int:
    return int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[2])


class CountedMeanwhile(Counter):
    """Somebody counts one more right after the numbers were copied, as it stands in `more`."""

    more = 0

    def copy(self) -> list[tuple[Labels, list[float]]]:
        copied = super().copy()
        if self.more:
            self.more -= 1
            self.count("crm")
        return copied


def test_what_is_counted_while_the_numbers_are_written_is_written_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = CountedMeanwhile("spooler_things_total", "Things.", ("webhook",))
    monkeypatch.setattr(measures, "ALL", (known,))
    monkeypatch.setattr(shared_measures, "_AFTER_SECONDS", 0.01)
    with Sharing(tmp_path, "receiver-1"):
        known.more = 1
        known.count("crm")
        wait_until(lambda: total(tmp_path) == 2)
