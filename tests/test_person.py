"""What a person moves by a command, against the processor and other persons."""

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from commands import make_spool, put, run_line
from conftest import FakeClock, durable_calls, write_config

from spooler import durable, history
from spooler.claiming import ProcessorsSpool
from spooler.finished import FinishedIds
from spooler.history import Progress
from spooler.name import Name, log_name
from spooler.person import PersonsSpool
from spooler.recovery import recover
from spooler.state import MOVES, State

IN, RETRY, DONE, FAILED, REJECTED = State.INCOMING, State.RETRY, State.DONE, State.FAILED, State.REJECTED
MOVED: dict[str, Callable[[PersonsSpool, State, str], str]] = {
    "retry": lambda spool, state, name: spool.retry(state, name, spool.today if state is DONE else ""),
    "drop": lambda spool, state, name: spool.drop(state, name),
    "readmit": lambda spool, _state, name: spool.readmit(name, Name(spool.clock.now(), "proper", "t")),
}
LEGAL = [(verb, state) for verb in MOVED for state in State if state in MOVES[verb].sources]


class EndOfDay(FakeClock):
    """The last moment of a day, until it was looked at so many times; then the next day."""

    def __init__(self, looks: int) -> None:
        super().__init__(datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC))
        self._looks = looks

    def now(self) -> datetime:
        if self._looks == 0:
            self.advance(60)
        self._looks -= 1
        return super().now()


@pytest.fixture
def spool(tmp_path: Path) -> PersonsSpool:
    return make_spool(write_config(tmp_path))


def files(spool: PersonsSpool) -> dict[str, int]:
    """Return where all files are, with the number of lines of the logs."""
    found = (path for path in spool.base.rglob("*") if path.is_file())
    return {str(path.relative_to(spool.base)): len(history.read(path)) for path in found}


def target(spool: PersonsSpool, verb: str) -> Path:
    state = MOVES[verb].target
    assert state
    return spool.folder(state) / (spool.today if state is DONE else "")


@pytest.mark.parametrize(("verb", "source"), LEGAL)
@pytest.mark.parametrize("with_log", [True, False])
def test_file_and_log_go_where_the_table_says_and_the_log_names_the_person(
    spool: PersonsSpool, verb: str, source: State, with_log: bool
) -> None:
    path = put(spool, source, lines=[run_line()] if with_log else [])
    name = MOVED[verb](spool, source, path.name)
    lines = history.read(target(spool, verb) / log_name(name))
    assert (target(spool, verb) / name).exists()
    assert len(files(spool)) == 2
    assert [line.get("exit") for line in lines] == ([75] if with_log else []) + [None]
    assert "by anna" in lines[-1]["note"]


@pytest.mark.parametrize(("verb", "source"), LEGAL)
def test_what_somebody_else_took_is_gone_and_nothing_is_left_of_the_try(
    spool: PersonsSpool, verb: str, source: State
) -> None:
    with pytest.raises(FileNotFoundError):
        MOVED[verb](spool, source, "20261123T190001.123456Z_a_t.json")
    assert files(spool) == {}


@pytest.mark.parametrize("verb", MOVED)
def test_no_move_starts_anywhere_else(spool: PersonsSpool, verb: str) -> None:
    for state in set(State) - MOVES[verb].sources:
        path = put(spool, state)
        with pytest.raises((ValueError, FileNotFoundError)):
            MOVED[verb](spool, state, path.name)
        assert path.exists()


def test_a_retry_is_taken_as_from_the_first_attempt_and_for_no_repeat(spool: PersonsSpool) -> None:
    path = put(spool, FAILED, lines=[run_line(0), run_line(75, attempt=5)])
    spool.retry(FAILED, path.name)
    assert Progress.of(spool.log_lines(IN, path.name)) == Progress(1, frozenset(), by_person=True)


def test_nothing_is_replaced_and_the_log_stays_with_its_file(spool: PersonsSpool) -> None:
    path = put(spool, FAILED, lines=[run_line()])
    copy = put(spool, IN)
    copy.write_text("another")
    name = spool.retry(FAILED, path.name)
    assert name != copy.name == path.name
    assert copy.read_text() == "another"
    assert len(spool.log_lines(IN, name)) == 2
    assert spool.log_lines(IN, copy.name) == []


def test_a_file_is_never_in_incoming_before_its_log(
    spool: PersonsSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed: list[str] = []
    rename = durable.rename

    def watched(source: str, to: str) -> None:
        renamed.append(source)
        rename(source, to)

    monkeypatch.setattr(durable, "rename", watched)
    path = put(spool, FAILED, lines=[run_line()])
    spool.retry(FAILED, path.name)
    assert renamed == [str(path.with_suffix(".log")), str(path)]


def _die_in(spool: PersonsSpool, verb: str, state: State, name: str, call: int) -> None:
    """Make the move in a process that is killed right before its n-th rename."""
    count, rename = 0, durable.rename

    def deadly(*arguments: Any, **more: Any) -> None:
        nonlocal count
        count += 1
        if count == call:
            os._exit(9)
        rename(*arguments, **more)

    durable.rename = deadly
    MOVED[verb](spool, state, name)


@pytest.mark.parametrize(("verb", "source"), LEGAL)
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("processor_starts", [True, False])
def test_a_crash_leaves_the_file_in_one_state_and_the_command_given_again_ends_well(
    spool: PersonsSpool, verb: str, source: State, call: int, processor_starts: bool
) -> None:
    path = put(spool, source, lines=[run_line()])
    process = get_context("fork").Process(target=_die_in, args=(spool, verb, source, path.name, call))
    process.start()
    process.join()
    assert process.exitcode == 9
    bodies = list(spool.base.rglob("*.json"))
    assert len(bodies) == 1
    if processor_starts:
        recover(ProcessorsSpool(spool.root, spool.webhook, spool.clock))
    if bodies[0] == path:
        name = MOVED[verb](spool, source, path.name)
        bodies = [target(spool, verb) / name]
        lines = history.read(bodies[0].with_suffix(".log"))
        assert "by anna" in lines[-1]["note"]
    if verb != "drop" or source is FAILED or processor_starts:
        assert [line["exit"] for line in history.read(bodies[0].with_suffix(".log")) if "exit" in line] == [
            75
        ]
        assert len(files(spool)) == 2


def test_of_processor_and_person_one_gets_the_file_and_the_other_finds_it_gone(spool: PersonsSpool) -> None:
    processors = ProcessorsSpool(spool.root, spool.webhook, spool.clock)
    won = {"drop": 0, "claim": 0}
    for number in range(150):
        path = put(spool, RETRY, f"id-{number}", lines=[run_line()])
        barrier = threading.Barrier(2)
        lost: list[str] = []

        def compete(verb: str, act: Callable[[State, str], str], name: str = path.name) -> None:
            barrier.wait()  # noqa: B023 - joined before the next one is made
            try:
                act(RETRY, name)
            except FileNotFoundError:
                lost.append(verb)  # noqa: B023

        threads = [
            threading.Thread(target=compete, args=("drop", spool.drop)),
            threading.Thread(target=compete, args=("claim", processors.claim)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(lost) == 1
        winner = ({"drop", "claim"} - set(lost)).pop()
        won[winner] += 1
        if winner == "claim":
            assert spool.log_lines(State.PROCESSING, path.name) == [run_line()]
    assert len(files(spool)) == 300


def test_two_persons_who_want_the_same_make_one_move(spool: PersonsSpool) -> None:
    for number in range(50):
        path = put(spool, FAILED, f"id-{number}", lines=[run_line()])
        results: list[str] = []

        def retry(name: str = path.name) -> None:
            try:
                results.append(spool.retry(FAILED, name))  # noqa: B023 - joined before the next
            except FileNotFoundError:
                results.append("")  # noqa: B023

        threads = [threading.Thread(target=retry) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == ["", "", path.name]
        assert len(spool.log_lines(IN, path.name)) == 2
    assert len(files(spool)) == 100


@pytest.mark.parametrize("source", [FAILED, RETRY])
def test_a_processor_that_runs_knows_what_was_dropped_so_that_its_repeat_is_none_to_run(
    spool: PersonsSpool, source: State
) -> None:
    finished = FinishedIds(spool, 86400)
    finished.load()
    path = put(spool, source, "a", age=60, lines=[run_line()])
    repeat = str(Name(spool.clock.now(), "a", "contact_modified"))
    assert finished.original(repeat) is None
    name = spool.drop(source, path.name)
    assert finished.original(repeat) == spool.path(DONE, name, spool.today)


def test_a_readmitted_one_waits_as_one_that_never_ran_and_may_repeat_what_is_younger(
    spool: PersonsSpool,
) -> None:
    path = put(spool, REJECTED, "x-1", type_="unknown", age=60, lines=[{"note": "refused", "headers": {}}])
    younger = put(spool, DONE, "a")
    name = spool.readmit(path.name, Name(spool.received(REJECTED, path.name), "a", "contact_modified"))
    progress = Progress.of(spool.log_lines(IN, name))
    assert progress == Progress(1, frozenset(), by_person=False, readmitted=True)
    assert history.is_open(spool.log_lines(IN, name)[-1])
    finished = FinishedIds(spool, 86400)
    finished.load()
    assert finished.original(name) is None
    assert finished.original(name, of_any_age=True) == younger


def test_a_readmitted_body_is_synced_before_it_moves_and_its_folder_after(spool: PersonsSpool) -> None:
    from conftest import durable_calls

    path = put(spool, REJECTED, "x-1", type_="unknown", lines=[{"note": "refused"}])
    with durable_calls() as calls:
        name = spool.readmit(path.name, Name(spool.clock.now(), "a", "t"))
    moved = calls.index(("rename", str(spool.path(IN, name))))
    assert calls.index(("sync", str(path))) < moved < calls.index(("sync", str(spool.folder(IN))))


@pytest.mark.parametrize("source", [FAILED, RETRY])
@pytest.mark.parametrize("looks", range(1, 4))
def test_what_is_dropped_at_midnight_is_noted_and_synced_where_it_went(
    tmp_path: Path, source: State, looks: int
) -> None:
    path = put(make_spool(write_config(tmp_path)), source)
    clock = EndOfDay(looks)
    spool = PersonsSpool(tmp_path / "spool", "crm", clock, who="anna")
    with durable_calls() as calls:
        name = spool.drop(source, path.name)
    (day,) = spool.days()
    assert [line["note"].split(":")[0] for line in spool.log_lines(DONE, name, day)] == ["dropped, by anna"]
    assert ("sync", str(spool.folder(DONE) / day)) in calls


def test_a_pruned_day_is_gone_but_what_is_no_file_stays(spool: PersonsSpool) -> None:
    for number in range(3):
        put(spool, DONE, f"id-{number}", day="2026-01-02", lines=[run_line()])
    assert spool.prune_day("2026-01-02") == 3
    assert spool.days() == []
    put(spool, DONE, day="2026-01-03", lines=[run_line()])
    folder = spool.folder(DONE) / "2026-01-03" / "folder"
    folder.mkdir()
    assert [spool.prune_day("2026-01-03"), spool.prune_day("2026-01-03")] == [1, 0]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_pause_is_a_file_and_says_whether_it_changed_anything(spool: PersonsSpool) -> None:
    assert [spool.pause(), spool.paused, spool.pause()] == [True, True, False]
    assert [spool.resume(), spool.paused, spool.resume()] == [True, False, False]


def test_a_pause_and_its_end_survive_a_power_cut(spool: PersonsSpool) -> None:
    with durable_calls() as calls:
        spool.pause()
    assert calls == [("sync", str(spool.base)), ("sync", str(spool.root))]
    with durable_calls() as calls:
        spool.resume()
    assert calls == [("sync", str(spool.base))]
