"""How long others are waited for."""

from conftest import FakeClock

from spooler.patience import Patience


def test_it_lasts_for_its_seconds_on_end_and_not_for_longer(clock: FakeClock) -> None:
    patience = Patience(clock, 30)
    clock.advance(100)
    assert patience.lasts(waiting=True)
    clock.advance(29.9)
    assert patience.lasts(waiting=True)
    clock.advance(0.1)
    assert not patience.lasts(waiting=True)
    clock.advance(100)
    assert not patience.lasts(waiting=True)


def test_it_is_whole_again_as_soon_as_nobody_has_to_be_waited_for(clock: FakeClock) -> None:
    patience = Patience(clock, 30)
    assert patience.lasts(waiting=True)
    clock.advance(30)
    assert patience.lasts(waiting=False)
    assert patience.lasts(waiting=True)
    clock.advance(29.9)
    assert patience.lasts(waiting=True)


def test_a_clock_that_is_set_back_makes_it_no_longer(clock: FakeClock) -> None:
    patience = Patience(clock, 30)
    assert patience.lasts(waiting=True)
    clock.set_back(86_400)
    clock.advance(30)
    assert not patience.lasts(waiting=True)
