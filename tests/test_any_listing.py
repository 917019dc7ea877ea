"""Whatever a listing misses: nobody overtakes an older one, and everybody has a turn.

A listing shows what was there before it, and may or may not show what is put there while it is made. To have
missed a file is the same as to have been made before it: so real folders show each way in which that can go.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import combinations_with_replacement, product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import FakeClock
from test_intake import body, give, put, store, take
from whole_spool import WholeSpool

from spooler import latest
from spooler.folders import Listing
from spooler.intake import AHEAD_SECONDS, MOVING_SECONDS, STILL_SECONDS, Intake
from spooler.name import Name
from spooler.state import State

MEMORY = Path("/dev/shm")  # tens of thousands of files, and no sync is tested here
LOOKS = 2  # so many in which files come
FILES = 3
ENOUGH_LOOKS = 10  # for each to have its turn


class Coming(NamedTuple):
    """How a file comes into `incoming/`, while which of the looks is made, and whether that one shows it.

    day: a person put it there, named a day behind the clock or ahead of it; 0: a receiver stored it.
    """

    look: int
    is_seen: bool
    day: int

    def name(self, begun: datetime, number: int) -> str:
        """Return its name, later than the look's beginning, if a receiver gave it."""
        return str(Name(begun + timedelta(days=self.day, milliseconds=number + 1), "n", "t"))


@pytest.fixture
def memory(clock: FakeClock) -> Iterator[WholeSpool]:
    """Folders for very many files."""
    root = Path(tempfile.mkdtemp(prefix="any-listing-", dir=MEMORY if MEMORY.is_dir() else None))
    spool = WholeSpool(root, "crm", clock)
    spool.prepare()
    yield spool
    shutil.rmtree(root)


@pytest.mark.parametrize("most", [1, 2, 100])
@pytest.mark.parametrize("hours_behind", [0, 1])
def test_whatever_listings_miss_nobody_is_overtaken_and_nobody_left(
    memory: WholeSpool, clock: FakeClock, most: int, hours_behind: int
) -> None:
    for looks in combinations_with_replacement(range(LOOKS), FILES):
        for ways in product(product((True, False), (-1, 0, 1)), repeat=FILES):
            files = [Coming(look, *way) for look, way in zip(looks, ways, strict=True)]
            watch(memory, clock, Intake(memory, by_contact=True, most=most), files, 3600 * hours_behind)


def watch(
    spool: WholeSpool, clock: FakeClock, intake: Intake, files: list[Coming], behind_seconds: float
) -> None:
    """Look again and again while files come, all of one contact, and take what is given.

    behind_seconds: by so much the clock is set back; receivers' names go on as if it were not.
    """
    waiting: list[str] = []  # in the order in which they came
    intake.look()
    for look in range(ENOUGH_LOOKS):
        if look >= LOOKS and not waiting:
            break
        clock.advance(1)
        begun = clock.now()
        latest.write(spool.folder(State.REJECTED), begun - timedelta(microseconds=1))
        coming = {file.name(begun, number): file for number, file in enumerate(files) if file.look == look}
        waiting += coming
        missed = [name for name, file in coming.items() if not file.is_seen]
        for name in coming.keys() - missed:
            put(spool, name, body(7))
        clock.set_back(behind_seconds)
        intake.look()
        clock.set_back(-behind_seconds)
        for name in missed:
            put(spool, name, body(7))
        while not intake.is_moving and (given := take(intake)):
            # What a person puts there and the listing misses comes too late for what had come before it.
            too_late = [name for name in missed if waiting.index(name) > waiting.index(given)]
            assert given == min(set(waiting).difference(too_late)), (files, look, given, waiting)
            spool.path(State.INCOMING, given).unlink()
            intake.backlog.settle(given)
            waiting.remove(given)
    assert waiting == [], files


def ahead(spool: WholeSpool, days: float, contact: object = 7) -> str:
    """Put a file there, as a person does, whose name lies ahead of the clock; return that."""
    name = str(Name(spool.clock.now() + timedelta(days=days), "ahead", "t"))
    put(spool, name, body(contact))
    return name


def test_one_that_lies_ahead_of_the_clock_vouches_for_nothing_that_comes_before_it(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    last = ahead(spool, 400, contact=8)
    intake.look()
    intake.look()
    older, younger = (str(Name(clock.now() + timedelta(milliseconds=n), "n", "t")) for n in (5, 6))
    put(spool, younger, body(7))
    assert give(intake) is None  # a listing that shows the younger one and has missed the older
    put(spool, older, body(7))
    clock.advance(1)
    assert give(intake) == older
    assert [take(intake), take(intake)] == [last, None]
    intake.backlog.settle(older)
    assert take(intake) == younger


def test_a_due_retry_that_lies_ahead_of_the_clock_does_not_overtake_one_that_is_not_sure_yet(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    last = ahead(spool, 400)
    spool.claim(State.INCOMING, last)
    spool.postpone(last, clock.now())
    older = ahead(spool, 0.001)
    assert give(intake, clock.now().timestamp() + 1) is None
    assert give(intake, clock.now().timestamp() + 1) == older


def test_one_of_a_foreign_name_and_a_time_to_come_does_not_overtake_one_that_is_not_sure_yet(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    put(spool, "by hand.json", body(7), age=-400)
    intake.look()
    clock.advance(STILL_SECONDS)
    older = ahead(spool, 0.001)
    assert give(intake) is None
    assert give(intake) == older


def test_what_keeps_coming_does_not_hold_up_for_long_what_lies_ahead_of_the_clock(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    last = ahead(spool, 400, contact="last")
    intake.look()
    held_seconds = 0
    for number in range(100):
        coming = str(Name(clock.now() + timedelta(milliseconds=1), f"n{number}", "t"))
        put(spool, coming, body(number))  # each listing shows one that came while it was made
        intake.look()
        given = list(iter(lambda: take(intake), None))
        if last in given:
            break
        assert coming not in given
        clock.advance(1)
        held_seconds += 1
    assert held_seconds == AHEAD_SECONDS
    assert coming not in given


def rename(spool: WholeSpool, name: str, now_named: str) -> None:
    """Give what waits in `incoming/` another name, as a person does: its time stays that of its receipt."""
    received = spool.received(State.INCOMING, name).timestamp()
    path = spool.path(State.INCOMING, name).rename(spool.path(State.INCOMING, now_named))
    os.utime(path, (received, received))


def test_what_gets_a_name_of_a_persons_own_while_it_waits_is_not_overtaken(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    before = store(spool, 8)
    clock.advance(1)
    older = store(spool, 7)
    clock.advance(1)
    younger = store(spool, 7)
    clock.advance(1)
    intake.look()
    rename(spool, older, "please first.json")
    given = []
    for _ in range(6):
        intake.look()
        while not intake.is_moving and (name := take(intake)):
            given.append(name)
            spool.path(State.INCOMING, name).unlink()
            intake.backlog.settle(name)
        assert younger not in given or "please first.json" in given
        clock.advance(0.5)
    assert given == [before, "please first.json", younger]


def test_a_copy_that_keeps_its_originals_time_gets_its_place_by_that(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    younger = store(spool, 7)
    clock.advance(1)
    intake.look()
    spool.claim(State.INCOMING, younger)
    spool.postpone(younger, clock.now() + timedelta(hours=1))
    put(spool, "copy.json", body(7))
    intake.look()
    put(spool, "copy.json", body(7), age=60)  # `cp -p` sets the time at the end
    for _ in range(2):
        clock.advance(STILL_SECONDS)
        intake.look()
    assert take(intake) == "copy.json"


def test_a_copy_of_hours_holds_up_for_two_seconds_what_is_younger(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    path = put(spool, "copy.json", body(7))
    clock.advance(0.5)
    younger = store(spool, 7)
    held_seconds = 0.0
    while (given := give(intake)) is None:
        clock.advance(0.5)
        held_seconds += 0.5
        path.write_bytes(path.read_bytes() + b" ")
    assert (given, held_seconds) == (younger, STILL_SECONDS)


def test_one_who_copies_one_after_another_holds_up_what_is_younger_for_a_while_only(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    clock.advance(10)
    younger = store(spool, 7)
    put(spool, "copy 0.json", body(100), age=200)
    held_seconds = 0
    for number in range(1, 100):
        clock.advance(1)
        intake.look()
        given = list(iter(lambda: take(intake), None))
        if younger in given:
            break
        put(spool, f"copy {number}.json", body(100 + number), age=200)
        held_seconds += 1
    assert held_seconds == MOVING_SECONDS


@dataclass(frozen=True)
class MovedMeanwhile(WholeSpool):
    """A person moves files right after a folder was listed: (which folder, from, to)."""

    moves: list[tuple[State, Path, Path]] = field(default_factory=list)

    def listing(self, state: State, **options: Any) -> Listing:
        found = super().listing(state, **options)
        for after, source, target in self.moves:
            if state is after:
                source.rename(target)
        return found


@pytest.mark.parametrize("after", [State.INCOMING, State.RETRY])
@pytest.mark.parametrize("source", [State.INCOMING, State.RETRY])
def test_what_a_person_moves_between_the_two_folders_meanwhile_is_not_overtaken(
    spool: WholeSpool, clock: FakeClock, source: State, after: State
) -> None:
    spool = MovedMeanwhile(spool.root, spool.webhook, clock)
    intake = Intake(spool, by_contact=True)
    older = store(spool, 7)
    clock.advance(1)
    younger = store(spool, 7)
    if source is State.RETRY:
        spool.claim(State.INCOMING, older)
        spool.postpone(older, clock.now() + timedelta(hours=1))
    clock.advance(1)
    intake.look()
    target = State.INCOMING if source is State.RETRY else State.RETRY
    spool.moves.append((after, spool.path(source, older), spool.path(target, older)))
    intake.look()
    spool.moves.clear()
    now = clock.now().timestamp()
    while intake.is_moving:
        intake.look()
    assert take(intake, now) == older
    assert younger in intake.backlog.names()


@dataclass(frozen=True)
class MovedWhileRead(WholeSpool):
    """A person moves a file (from, to) right before it is read, and again before it is read again.

    ages: moved right before its age is asked for in `retry/`.
    """

    moves: list[tuple[Path, Path]] = field(default_factory=list)
    ages: list[tuple[Path, Path]] = field(default_factory=list)

    def read(self, state: State, file_name: str, day: str = "") -> bytes:
        move_next(self.moves)
        return super().read(state, file_name, day)

    def received(self, state: State, file_name: str, day: str = "") -> datetime:
        if state is State.RETRY:
            move_next(self.ages)
        return super().received(state, file_name, day)


def move_next(moves: list[tuple[Path, Path]]) -> None:
    """Carry out the next of the moves that are left."""
    for source, target in moves[:1]:
        source.rename(target)
    del moves[:1]


@pytest.mark.parametrize("moves", [1, 2])
@pytest.mark.parametrize("source", [State.INCOMING, State.RETRY])
def test_what_a_person_moves_between_the_two_folders_before_it_is_read_is_not_overtaken(
    spool: WholeSpool, clock: FakeClock, source: State, moves: int
) -> None:
    spool = MovedWhileRead(spool.root, spool.webhook, clock)
    older = store(spool, 7)
    clock.advance(1)
    younger = store(spool, 7)
    due = clock.now() + timedelta(hours=1)
    spool.claim(State.INCOMING, older)
    spool.postpone(older, due)
    here, there = spool.path(State.RETRY, older), spool.path(State.INCOMING, older)
    if source is State.INCOMING:
        here.rename(there)
        here, there = there, here
    clock.advance(1)
    spool.moves.extend([(here, there), (there, here)][:moves])
    intake = Intake(spool, by_contact=True)
    intake.look()
    assert take(intake) == (older if source is State.INCOMING else None)
    assert take(intake) is None
    assert spool.moves == []
    if source is State.INCOMING:  # as of one that can't be claimed there
        intake.backlog.settle(older)
    intake.look()
    while intake.is_moving:
        intake.look()
    assert take(intake, due.timestamp()) == older
    assert take(intake, due.timestamp()) is None
    intake.backlog.settle(older)
    assert take(intake) == younger


def test_what_is_gone_when_it_is_read_and_comes_back_gets_its_place(
    spool: WholeSpool, clock: FakeClock
) -> None:
    spool = MovedWhileRead(spool.root, spool.webhook, clock)
    intake = Intake(spool, by_contact=True)
    older = store(spool, 7)
    clock.advance(1)
    store(spool, 7)
    spool.claim(State.INCOMING, older)
    spool.postpone(older, clock.now())
    clock.advance(1)
    away = spool.path(State.FAILED, older)
    spool.moves.append((spool.path(State.RETRY, older), away))
    intake.look()
    away.rename(spool.path(State.RETRY, older))
    intake.look()
    now = clock.now().timestamp()
    assert [take(intake, now), take(intake, now)] == [older, None]


def test_one_of_a_foreign_name_that_a_person_moves_while_its_age_is_asked_for_keeps_its_place(
    spool: WholeSpool, clock: FakeClock
) -> None:
    spool = MovedWhileRead(spool.root, spool.webhook, clock)
    put(spool, "by hand.json", body(7), age=60)
    older = spool.path(State.INCOMING, "by hand.json").rename(spool.path(State.RETRY, "by hand.json"))
    store(spool, 7)
    clock.advance(1)
    spool.ages.append((older, spool.path(State.INCOMING, older.name)))
    intake = Intake(spool, by_contact=True)
    intake.look()
    assert spool.ages == []
    now = clock.now().timestamp()
    assert [take(intake, now), take(intake, now)] == [older.name, None]
