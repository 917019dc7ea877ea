"""A very large `incoming/`: only the first are remembered, and nobody's place in line suffers from that."""

from datetime import timedelta

import pytest
from conftest import FakeClock, examples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_any_listing import ahead
from test_intake import put, put_back, put_back_and_take, set_aside, store, take
from whole_spool import WholeSpool

from spooler.foremost import Foremost
from spooler.intake import STILL_SECONDS, Intake
from spooler.state import State

MOST = 4


@pytest.fixture
def intake(spool: WholeSpool) -> Intake:
    return Intake(spool, by_contact=True, most=MOST)


def fill(spool: WholeSpool, clock: FakeClock, contacts: list[int]) -> list[str]:
    """Store one for each of the contacts, a second apart; return their names."""
    names = []
    for contact in contacts:
        clock.advance(1)
        names.append(store(spool, contact, f"id-{clock.now().timestamp():.0f}"))
    clock.advance(1)
    return names


def drain(spool: WholeSpool, intake: Intake, clock: FakeClock, looks: int = 100) -> list[str]:
    """Look whenever few are left, as the processor does, and finish whatever is given; return the names."""
    given = []
    for _ in range(looks):
        intake.look()
        while (
            not intake.is_short and not intake.is_moving and (name := take(intake, clock.now().timestamp()))
        ):
            spool.claim(State.INCOMING, name)
            spool.finish(name)
            intake.backlog.settle(name)
            given.append(name)
        if not intake.is_short and not intake.is_moving and not spool.listing(State.INCOMING).names:
            break
    return given


def test_all_have_their_turn_in_order_and_only_the_first_are_remembered(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    names = fill(spool, clock, list(range(30)))
    intake.look()
    assert (intake.backlog.counts[0], intake.beyond) == (MOST, 26)
    assert drain(spool, intake, clock) == names
    assert intake.beyond == 0


def test_more_are_wanted_when_half_are_left_and_none_when_all_are_known(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    fill(spool, clock, list(range(MOST + 1)))
    intake.look()
    assert not intake.is_short
    for _ in range(MOST // 2):
        take(intake)
    assert intake.is_short
    intake.look()
    intake.look()
    assert (intake.beyond, intake.is_short) == (0, False)


def test_those_that_are_held_keep_nobody_from_being_remembered(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    first, *_held, other = fill(spool, clock, [7] * 20 + [8])
    intake.look()
    assert take(intake) == first
    spool.claim(State.INCOMING, first)
    for _ in range(20):
        if (found := take(intake)) is not None:
            break
        assert intake.is_short
        intake.look()
    assert found == other


def test_what_cannot_be_read_keeps_nobody_from_being_remembered(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    *odd, last = fill(spool, clock, list(range(2 * MOST + 1)))
    for name in odd:
        path = spool.path(State.INCOMING, name)
        path.write_bytes(b"")
        with path.open("r+b") as file:
            file.truncate(65 << 20)  # larger than what is read
    for _ in range(10):
        intake.look()
        if (found := take(intake)) is not None:
            break
    assert found == last


def test_a_due_retry_does_not_overtake_an_older_one_of_its_contact_that_lies_far_back(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    *names, older, waiting = fill(spool, clock, [*range(10), 77, 77])
    spool.claim(State.INCOMING, waiting)
    spool.postpone(waiting, clock.now() - timedelta(seconds=1))
    intake.look()
    given = []
    for _ in range(40):
        if found := intake.backlog.peek(clock.now().timestamp()):
            intake.backlog.take(found[2])
            spool.claim(found[1], found[2])
            spool.finish(found[2])
            intake.backlog.settle(found[2])
            given.append(found[2])
        else:
            intake.look()
    assert given == [*names, older, waiting]


def test_one_that_a_person_put_there_is_known_wherever_its_name_sorts_and_has_the_place_of_its_age(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    names = fill(spool, clock, list(range(20)))
    put(spool, "z by hand.json", age=3600)
    put(spool, "a by hand.json")
    for _ in range(2):
        intake.look()
        clock.advance(STILL_SECONDS)
    assert drain(spool, intake, clock) == ["z by hand.json", *names, "a by hand.json"]


def test_of_two_that_are_put_back_far_behind_the_older_goes_first_though_it_was_missed_at_first(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    names = fill(spool, clock, [*range(MOST), 77, 77, *range(100, 120)])
    older, younger = names[MOST : MOST + 2]
    set_aside(spool, older, younger)
    intake.look()
    for _ in range(MOST):
        take(intake)
    put_back(spool, younger)
    intake.look()  # a listing that shows the younger one and has missed the older
    assert take(intake) is None
    put_back_and_take(spool, intake, older)


def test_what_lay_behind_the_last_limit_is_not_taken_for_put_back(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    names = fill(spool, clock, list(range(3 * MOST)))
    given: list[str] = []
    for _ in names:
        intake.look()
        assert not intake.is_moving
        given += iter(lambda: take(intake), None)
    assert given == names


def test_one_that_is_held_far_behind_vouches_for_nothing_that_lies_before_it(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    first = store(spool, 7)
    last = ahead(spool, 400, contact=7)
    clock.advance(1)
    intake.look()
    intake.look()
    assert [take(intake), take(intake)] == [first, None]
    spool.claim(State.INCOMING, first)
    *names, older, younger = fill(spool, clock, [*range(100, 100 + MOST), 77, 77])
    fill(spool, clock, list(range(200, 220)))
    set_aside(spool, older, younger)
    intake.look()
    assert [take(intake) for _ in names] == names
    put_back(spool, younger)
    intake.look()  # a listing that shows the younger one and has missed the older
    assert last in intake.backlog.names()
    assert take(intake) is None


def test_what_is_put_back_before_those_that_are_held_has_none_of_them_read_again(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    back = fill(spool, clock, list(range(100, 101 + MOST)))
    set_aside(spool, *back)
    first, *held = fill(spool, clock, [7] * MOST)
    intake.look()
    assert [take(intake), take(intake)] == [first, None]
    spool.claim(State.INCOMING, first)
    put_back(spool, *back)
    for _ in range(3):
        intake.look()
        assert all(map(intake.backlog.is_read, held))
    assert [take(intake) for _ in range(MOST)] == back[:MOST]


def test_what_is_put_back_before_all_that_is_remembered_goes_first(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    names = fill(spool, clock, [*range(10), *range(10), *range(10)])
    set_aside(spool, *names[:10])
    intake.look()
    put_back(spool, *names[:10])
    assert drain(spool, intake, clock) == names


def test_what_is_put_back_before_all_that_is_remembered_does_not_hide_that_more_are_wanted(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    names = fill(spool, clock, list(range(20)))
    set_aside(spool, *names[:MOST])
    intake.look()
    put_back(spool, *names[:MOST])
    intake.look()
    intake.look()
    for _ in range(MOST // 2):
        take(intake)
    assert intake.is_short


@settings(max_examples=examples(100))
@given(st.lists(st.text("abc", max_size=4), max_size=60), st.integers(1, 8))
def test_the_foremost_are_those_that_sort_first(names: list[str], most: int) -> None:
    foremost = Foremost(most)
    for name in names:
        foremost.add(name)
    assert foremost.names() == sorted(names)[:most]
    assert foremost.passed_over == max(0, len(names) - most)
