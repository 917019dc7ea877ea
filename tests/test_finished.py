"""Which ids were finished lately."""

import os
import resource
import shutil
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import FakeClock, examples
from hypothesis import given, settings
from hypothesis import strategies as st
from whole_spool import WholeSpool

from spooler import history
from spooler.finished import REPEATS, FinishedIds
from spooler.name import Name, log_name
from spooler.state import State

DAY = 86400.0
BODY = b'{"EventUniqueID": "same"}'
TEST = b'{"EventUniqueID": "same", "isTest": true}'


def name_of(spool: WholeSpool, identifier: str = "same", kind: str = "t", *, age: float = 0) -> str:
    return str(Name(spool.clock.now() - timedelta(seconds=age), identifier, kind))


def finish(spool: WholeSpool, finished: FinishedIds | None, name: str, body: bytes = BODY) -> Path:
    """Finish a notification, as a turn does."""
    spool.path(State.PROCESSING, name).write_bytes(body)
    spool.finish(name)
    if finished:
        finished.add(name)
    return spool.folder(State.DONE) / f"{spool.clock.now():%Y-%m-%d}" / name


def test_an_id_that_was_finished_is_a_repeat_when_it_comes_again(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    original = finish(spool, finished, name_of(spool))
    clock.advance(60)
    assert finished.original(name_of(spool)) == original
    assert finished.original(name_of(spool, "other")) is None


def test_it_is_known_after_a_restart(spool: WholeSpool, clock: FakeClock) -> None:
    original = finish(spool, None, name_of(spool))
    history.append(original.with_name(log_name(original.name)), [{"exit": 0}])
    clock.advance(60)
    finished = FinishedIds(spool, DAY)
    assert finished.original(name_of(spool)) is None
    assert finished.load() == 1
    assert finished.original(name_of(spool)) == original


def test_a_file_that_went_or_came_by_hand_has_no_say(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    original = finish(spool, finished, name_of(spool))
    clock.advance(60)
    original.rename(spool.path(State.INCOMING, original.name))
    assert finished.original(name_of(spool)) is None
    assert finished.original("by hand.json") is None


def test_the_window_ends_after_its_time(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    original = finish(spool, finished, name_of(spool))
    age = clock.now().timestamp() - original.stat().st_ctime
    clock.advance(DAY - age - 1)
    assert finished.original(name_of(spool)) == original
    clock.advance(2)
    assert finished.original(name_of(spool)) is None


def test_what_counts_is_when_it_was_finished_and_not_when_it_came(
    spool: WholeSpool, clock: FakeClock
) -> None:
    finished = FinishedIds(spool, DAY)
    original = finish(spool, finished, name_of(spool, age=10 * DAY))
    clock.advance(60)
    assert finished.original(name_of(spool)) == original


def test_it_was_finished_when_its_log_says_so_though_the_disk_is_newer(
    spool: WholeSpool, clock: FakeClock
) -> None:
    finished = FinishedIds(spool, DAY)
    original = finish(spool, finished, name_of(spool))
    log = original.with_name(log_name(original.name))
    clock.advance(60)
    for age, expected in ((DAY - 1, original), (DAY + 1, None)):
        log.unlink(missing_ok=True)
        history.append(log, [{"at": history.iso(clock.now() - timedelta(seconds=age)), "exit": 0}])
        assert finished.original(name_of(spool)) == expected


def test_the_files_own_time_says_nothing(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    original = finish(spool, finished, name_of(spool))
    os.utime(original, (0, 0))  # it was in retry/
    clock.advance(60)
    assert finished.original(name_of(spool)) == original


def test_without_a_window_nothing_is_a_repeat(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, 0)
    finish(spool, finished, name_of(spool))
    finished.load()
    clock.advance(1)
    assert finished.original(name_of(spool)) is None


def test_the_days_that_the_window_does_not_reach_are_not_read(spool: WholeSpool, clock: FakeClock) -> None:
    finish(spool, None, name_of(spool))
    clock.advance(2 * DAY)
    finish(spool, None, name_of(spool))
    (spool.folder(State.DONE) / "2026-notes.txt").touch()
    assert FinishedIds(spool, DAY).load() == 1
    assert FinishedIds(spool, 3 * DAY).load() == 2


def test_what_is_no_regular_file_is_no_original_and_is_not_waited_for(
    spool: WholeSpool, clock: FakeClock
) -> None:
    done = finish(spool, None, name_of(spool))
    done.rename(done.with_suffix(".saved"))
    os.mkfifo(done)
    clock.advance(60)
    finished = FinishedIds(spool, DAY)
    assert finished.load() == 0
    assert finished.original(name_of(spool)) is None


def test_a_test_is_no_original(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    finish(spool, finished, name_of(spool), TEST)
    clock.advance(1)
    assert finished.original(name_of(spool)) is None


def test_a_repeat_is_no_original_but_what_it_repeats_stays_one(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    original = finish(spool, finished, name_of(spool))
    clock.advance(1)
    repeat = finish(spool, finished, name_of(spool))
    history.append(
        repeat.with_name(log_name(repeat.name)), [{"at": "a", "note": "n", REPEATS: original.name}]
    )
    clock.advance(1)
    assert finished.original(name_of(spool)) == original
    original.unlink()
    assert finished.original(name_of(spool)) is None


def test_what_makes_a_repeat_is_the_id_alone(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    original = finish(spool, finished, name_of(spool))
    clock.advance(1)
    assert finished.original(name_of(spool, kind="u")) == original


def test_ids_that_have_left_the_window_take_no_memory(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    finished.load()
    tracemalloc.start()
    used = []
    for _ in range(6):
        for number in range(3000):
            finished.add(str(Name(clock.now(), f"id-{clock.monotonic()}-{number}", "t")))
        finish(spool, finished, name_of(spool))
        clock.advance(DAY)
        finished.original(name_of(spool))
        used.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert used[-1] < 1.5 * used[1]


def test_one_that_cannot_be_read_any_more_was_finished_all_the_same(
    spool: WholeSpool, clock: FakeClock
) -> None:
    finished = FinishedIds(spool, DAY)
    original = finish(spool, finished, name_of(spool))
    original.unlink()
    original.mkdir()  # whoever opens it gets an error
    clock.advance(1)
    assert finished.original(name_of(spool)) == original


def test_a_repeat_that_is_brought_back_without_its_log_runs(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    finish(spool, finished, name_of(spool))
    clock.advance(1)
    repeat = finish(spool, finished, name_of(spool))
    history.append(repeat.with_name(log_name(repeat.name)), [history.note(clock.now(), "a repeat")])
    repeat.unlink()  # to incoming/, by hand
    again = FinishedIds(spool, DAY)
    again.load()
    assert again.original(repeat.name) is None


def test_a_copy_of_a_finished_file_is_no_repeat_of_it(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    original = finish(spool, finished, name_of(spool))
    clock.advance(1)
    shutil.copy(original, spool.path(State.INCOMING, original.name))
    assert finished.original(original.name) is None


def test_a_repeat_that_a_person_brings_back_is_none_any_more(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    finish(spool, finished, name_of(spool))
    clock.advance(1)
    repeat = finish(spool, finished, name_of(spool))
    clock.advance(1)
    repeat.unlink()
    assert finished.original(repeat.name) is None


def test_an_older_one_that_a_person_brings_back_is_no_repeat_of_a_younger_one(
    spool: WholeSpool, clock: FakeClock
) -> None:
    finished = FinishedIds(spool, DAY)
    failed = name_of(spool)
    clock.advance(60)
    finish(spool, finished, name_of(spool))
    assert finished.original(failed) is None


def test_what_another_program_put_into_done_may_come_back_too(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, DAY)
    finish(spool, finished, name_of(spool))
    clock.advance(1)
    dropped = finish(spool, None, name_of(spool))
    assert finished.original(dropped.name) is None


def test_the_oldest_original_is_the_one_that_is_named(spool: WholeSpool, clock: FakeClock) -> None:
    finished = FinishedIds(spool, 3 * DAY)
    names = []
    for _ in range(3):
        names.append(name_of(spool))
        clock.advance(1)
    paths = [finish(spool, finished, name) for name in reversed(names)]
    assert finished.original(name_of(spool)) == paths[-1]


@pytest.mark.parametrize("year", [1000, 1969, 1970, 2999])
def test_odd_dates_are_names_like_others(spool: WholeSpool, year: int) -> None:
    path = finish(spool, None, f"{year}1231T235959.999999Z_same_t.json")
    finish(spool, None, "by hand.json")
    finished = FinishedIds(spool, DAY)
    assert finished.load() == 2
    assert finished.original(name_of(spool)) == (path if year < 2999 else None)


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10**6)), max_size=60))
def test_every_id_that_was_added_is_found_whatever_the_order(added: list[tuple[int, int]]) -> None:
    spool = WholeSpool(Path("/nowhere"), "crm", FakeClock())
    finished = FinishedIds(spool, DAY)
    names = [
        Name(spool.clock.now() + timedelta(microseconds=moment), f"id-{number}", "t")
        for number, moment in added
    ]
    for name in names:
        finished.add(str(name))
    epoch = Name.parse("19700101T000000.000000Z_a_b.json")
    assert epoch is not None
    for name in names:
        expected = sorted(
            {
                (other.received - epoch.received) // timedelta(microseconds=1)
                for other in names
                if other.id == name.id
            }
        )
        assert [received for received, _day in finished._known(name)] == expected


def test_the_index_is_small(spool: WholeSpool) -> None:
    finished = FinishedIds(spool, DAY)
    names = [f"20261123T190001.{number:06}Z_id-{number}_t.json" for number in range(30_000)]
    tracemalloc.start()
    for name in names:
        finished.add(name)
    used, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / len(names) < 50
    parsed = [parsed for name in names[::50] if (parsed := Name.parse(name))]
    assert [len(finished._known(name)) for name in parsed] == [1] * 600


def test_after_an_error_that_cut_the_reading_short_all_of_it_is_read_again(
    spool: WholeSpool, clock: FakeClock
) -> None:
    finished = FinishedIds(spool, DAY)
    finished.load()
    original = finish(spool, finished, name_of(spool))
    clock.advance(60)
    os.utime(spool.folder(State.DONE))  # as when a day begins
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            finished.original(name_of(spool))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert finished.original(name_of(spool)) == original
