"""What the processor does in the spool: every move that is its own."""

import shutil
from collections.abc import Callable
from datetime import timedelta

import pytest
from conftest import FakeClock, MakeSpool, durable_calls
from spool_files import BODY, LINES, files, put

from spooler import history
from spooler.claiming import ProcessorsSpool
from spooler.name import Name, log_name
from spooler.spool import sync_moved
from spooler.state import MOVES, State

HOUR = 3600

TRIALS: dict[str, Callable[[ProcessorsSpool, State, str], str]] = {
    "claim": lambda spool, source, name: spool.claim(source, name),
    "release": lambda spool, _source, name: spool.release(name),
    "postpone": lambda spool, _source, name: spool.postpone(name, spool.clock.now() + timedelta(minutes=1)),
    "finish": lambda spool, _source, name: spool.finish(name),
    "give_up": lambda spool, _source, name: spool.give_up(name),
}
PAIRS = [(verb, source) for verb in TRIALS for source in State]
LEGAL = [(verb, source) for verb, source in PAIRS if source in MOVES[verb].sources]


@pytest.mark.parametrize("is_marked", [False, True])
@pytest.mark.parametrize("more", [False, True])
def test_a_log_whose_last_line_was_synced_is_not_synced_again_and_one_that_grew_since_is(
    make_spool: MakeSpool, *, more: bool, is_marked: bool
) -> None:
    spool = make_spool()
    name = spool.claim(State.INCOMING, put(spool, State.INCOMING))
    before = str(spool.path(State.PROCESSING, log_name(name)))
    after = str(spool.path(State.DONE, log_name(name), spool.today))
    spool.record(State.PROCESSING, name, LINES[0], sync=True)
    if more:
        spool.record(State.PROCESSING, name, LINES[1])
    with durable_calls() as calls:
        if is_marked:
            sync_moved([spool.finish_marked(name)])
        else:
            spool.finish(name)
    synced = [path for what, path in calls if what == "sync" and path in {before, after}]
    assert synced == ([after if is_marked else before] if more else [])


def test_every_move_of_the_table_is_tried() -> None:
    by_person = {"retry", "drop", "readmit", "prune"}
    assert set(TRIALS) | {"store", "refuse"} | by_person == set(MOVES)


@pytest.mark.parametrize(("verb", "source"), LEGAL)
@pytest.mark.parametrize("lines", [None, LINES], ids=["without a log", "with a log"])
def test_a_legal_move_brings_file_and_log_into_the_folder_that_the_table_names(
    make_spool: MakeSpool, clock: FakeClock, verb: str, source: State, lines: list[history.Line] | None
) -> None:
    spool = make_spool()
    name = put(spool, source, lines=lines)
    with durable_calls() as calls:
        assert TRIALS[verb](spool, source, name) == name
    move = MOVES[verb]
    day = f"/{clock.now():%Y-%m-%d}" if move.target is State.DONE else ""
    target = f"{move.target}{day}"
    log = {} if lines is None else {f"{target}/{log_name(name)}": b"".join(map(history._encode, lines))}
    assert files(spool) == {f"{target}/{name}": BODY, **log}

    names = [name] if lines is None else [name, log_name(name)]
    renames = [("rename", f"{spool.base}/{target}/{moved}") for moved in names]
    before: list[tuple[str, str]] = []
    after: list[tuple[str, str]] = []
    if move.synced:
        before += [("sync", f"{spool.base}/{source}/{name}")] if verb == "postpone" else []  # its due time
        before += [("sync", f"{spool.base}/{move.target}")] if day else []  # the day's folder is new
        # Before the renames, for no mark tells after a power cut in between what the log has lost.
        before += [] if lines is None else [("sync", f"{spool.base}/{source}/{log_name(name)}")]
        after += [("sync", f"{spool.base}/{target}")]
    if (verb, source) == ("claim", State.INCOMING):  # its name, which the receiver may not have synced yet
        before += [("sync", f"{spool.base}/{source}")]
    assert calls == [*before, *renames, *after]


@pytest.mark.parametrize(("verb", "source"), [pair for pair in PAIRS if pair not in LEGAL])
def test_any_other_move_is_refused_and_changes_nothing(
    make_spool: MakeSpool, verb: str, source: State
) -> None:
    spool = make_spool()
    name = put(spool, source, lines=LINES)
    before = files(spool)
    with pytest.raises((ValueError, FileNotFoundError)):
        TRIALS[verb](spool, source, name)
    assert files(spool) == before


@pytest.mark.parametrize(("verb", "source"), LEGAL)
def test_a_move_of_what_a_person_took_away_is_refused(
    make_spool: MakeSpool, verb: str, source: State
) -> None:
    spool = make_spool()
    with pytest.raises(FileNotFoundError):
        TRIALS[verb](spool, source, "gone.json")
    assert files(spool) == {}


@pytest.mark.parametrize(("verb", "source"), LEGAL)
@pytest.mark.parametrize("name", ["by-hand.json", "20261123T190001.123456Z_7c1f4a52_contact_modified.json"])
def test_a_move_never_replaces_a_file(make_spool: MakeSpool, verb: str, source: State, name: str) -> None:
    spool = make_spool()
    put(spool, source, name, LINES)
    target = MOVES[verb].target
    assert target
    put(spool, target, name, [{"at": "other"}])
    there = {path: content for path, content in files(spool).items() if path.startswith(f"{target}/")}
    moved = TRIALS[verb](spool, source, name)
    parsed = Name.parse(name)
    assert moved == (str(parsed.next()) if parsed else "by-hand-again-2.json")
    assert files(spool).items() > there.items()
    assert len(files(spool)) == 4
    assert {path.rpartition("/")[2] for path in files(spool) if path not in there} == {moved, log_name(moved)}


def test_a_third_of_the_same_name_finds_its_place_too(make_spool: MakeSpool) -> None:
    spool = make_spool()
    names = []
    for _ in range(3):
        put(spool, State.PROCESSING, "by-hand.json")
        names.append(spool.give_up("by-hand.json"))
    assert names == ["by-hand.json", "by-hand-again-2.json", "by-hand-again-3.json"]


def test_a_copy_of_a_finished_file_can_be_brought_back_and_finished_again(make_spool: MakeSpool) -> None:
    spool = make_spool()
    name = put(spool, State.PROCESSING, lines=LINES)
    spool.finish(name)
    (done,) = spool.folder(State.DONE).iterdir()
    shutil.copy(done / name, spool.path(State.INCOMING, name))
    spool.claim(State.INCOMING, name)
    spool.record(State.PROCESSING, name, {"at": "second"})
    again = spool.finish(name)
    assert again != name
    assert {path.name for path in done.iterdir()} == {name, log_name(name), again, log_name(again)}
    assert history.read(done / log_name(name)) == LINES
    assert history.read(done / log_name(again)) == [{"at": "second"}]


def test_a_file_that_comes_back_without_its_log_finds_it_in_the_end(make_spool: MakeSpool) -> None:
    spool = make_spool()
    name = put(spool, State.PROCESSING, lines=LINES)
    spool.give_up(name)
    spool.path(State.FAILED, name).rename(spool.path(State.PROCESSING, name))
    spool.record(State.PROCESSING, name, {"at": "second"})
    assert spool.give_up(name) == name
    assert spool.log_lines(State.FAILED, name) == [*LINES, {"at": "second"}]
    assert len(files(spool)) == 2


def test_when_a_retry_is_due_stands_in_the_files_own_time(make_spool: MakeSpool, clock: FakeClock) -> None:
    spool = make_spool()
    name = put(spool, State.PROCESSING)
    due = clock.now() + timedelta(minutes=15, microseconds=7)
    spool.postpone(name, due)
    assert spool.due(name) == pytest.approx(due.timestamp(), abs=1e-5)
    assert spool.path(State.RETRY, name).stat().st_mtime == spool.due(name)
    assert spool.path(State.RETRY, name).read_bytes() == BODY


def test_finished_files_are_in_the_folder_of_the_day_in_utc(make_spool: MakeSpool, clock: FakeClock) -> None:
    spool = make_spool()
    days = []
    for _ in range(2):
        spool.finish(put(spool, State.PROCESSING))
        days.append(f"{clock.now():%Y-%m-%d}")
        clock.advance(24 * HOUR)
    assert [path.name for path in sorted(spool.folder(State.DONE).iterdir())] == days


def test_a_day_that_another_made_and_may_not_have_synced_is_synced_once(make_spool: MakeSpool) -> None:
    spool = make_spool()
    (spool.folder(State.DONE) / spool.today).mkdir()
    with durable_calls() as calls:
        for name in ("1.json", "2.json"):
            spool.finish(put(spool, State.PROCESSING, name))
    named = ("sync", str(spool.folder(State.DONE)))
    assert calls.count(named) == 1
    assert calls.index(named) == 0
