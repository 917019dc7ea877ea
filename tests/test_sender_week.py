"""The sender's contract, on a virtual clock: what an outage costs, and that nothing else is lost.

The long version is `python tests/sender_week.py`.
"""

import itertools
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_service import KEY, SHA256
from sender_week import DAY, HARMLESS_SECONDS, HOUR, MINUTE, Plan, deactivating_seconds, play
from virtual_spooler import Kind, Outage

from spooler import delivery
from spooler.callback import Reply
from spooler.outgoing import Outgoing
from spooler.sender import Sender

QUIET = (Kind.REFUSED, Kind.UNAVAILABLE, Kind.OFF)  # they fail at once; a silent one takes the whole wait
SHORT = [MINUTE, 15 * MINUTE, HOUR, 101 * MINUTE, HARMLESS_SECONDS]


def plan(kind: Kind, length: float, interval: float = 10 * MINUTE, seconds: float = 8 * HOUR) -> Plan:
    """An outage that begins with a notification, two hours after the start: the worst moment."""
    return Plan(interval, [Outage(2 * HOUR, 2 * HOUR + length, kind)], seconds=seconds)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("length", SHORT)
def test_an_outage_that_is_over_before_the_last_attempt_loses_nothing(kind: Kind, length: float) -> None:
    account = play(plan(kind, length))
    assert account.violations == []
    assert (account.lost, account.deactivated) == (0, False)
    assert account.attempts > account.planned


@pytest.mark.parametrize("kind", QUIET)
@pytest.mark.parametrize("more", [1.0, 21 * MINUTE, 3 * HOUR])
def test_a_longer_one_loses_exactly_those_whose_last_attempt_falls_into_it(kind: Kind, more: float) -> None:
    account = play(plan(kind, HARMLESS_SECONDS + more))
    first_attempts = (number * 10 * MINUTE for number in range(account.planned))
    lost = [at for at in first_attempts if 2 * HOUR <= at < 2 * HOUR + more]
    assert account.violations == []
    assert account.lost == account.abandoned == len(lost) > 0
    assert not account.deactivated


@pytest.mark.parametrize("interval", [10 * MINUTE, 30 * MINUTE, HOUR])
def test_how_long_it_takes_to_be_switched_off_depends_on_the_traffic(interval: float) -> None:
    limit = deactivating_seconds(interval)
    assert limit >= delivery.DEACTIVATION_SECONDS
    seconds = 3 * HOUR + limit + 2 * HOUR
    at_the_limit = play(plan(Kind.REFUSED, limit, interval, seconds))
    beyond = play(plan(Kind.REFUSED, limit + 1, interval, seconds))
    assert [at_the_limit.deactivated, beyond.deactivated] == [False, True]
    assert beyond.lost > at_the_limit.lost > 0
    assert at_the_limit.violations == beyond.violations == []


def test_a_quiet_webhook_outlives_twelve_hours_and_a_busy_one_is_switched_off_after_eight() -> None:
    assert deactivating_seconds(10 * MINUTE) == delivery.DEACTIVATION_SECONDS
    assert deactivating_seconds(HOUR) > 12 * HOUR


def test_slow_and_lost_answers_are_repeats_that_run_nothing() -> None:
    account = play(Plan(10 * MINUTE, trouble=0.5, seconds=2 * DAY, seed=5))
    assert account.violations == []
    assert (account.lost, account.run_twice, account.deactivated) == (0, 0, False)
    assert account.repeats_recognised > 20


def test_a_burst_keeps_each_contacts_order_though_some_are_repeated_and_some_retried() -> None:
    outage = Outage(10 * MINUTE, 30 * MINUTE, Kind.OFF)
    account = play(Plan(20.0, [outage], trouble=0.1, seconds=HOUR, seed=3))
    assert account.violations == []
    assert account.lost == 0
    assert account.repeats_recognised > 0


OUTAGES = st.lists(
    st.tuples(st.floats(1, 6 * HOUR), st.floats(1, 3 * HOUR), st.sampled_from(Kind)), min_size=1, max_size=4
)


@given(pauses=OUTAGES, trouble=st.sampled_from([0.0, 0.1, 0.6]), seed=st.integers(0, 1 << 32))
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_the_outages_who_is_sent_once_while_it_is_up_runs_once_and_in_order(
    pauses: list[tuple[float, float, Kind]], trouble: float, seed: int
) -> None:
    outages, end = [], 0.0
    for pause, length, kind in pauses:
        begin, end = end + pause, end + pause + length
        outages.append(Outage(begin, end, kind))
    account = play(Plan(17 * MINUTE, outages, trouble, seconds=min(DAY, end + HOUR), seed=seed))
    assert account.violations == []
    if not trouble and all(length <= HARMLESS_SECONDS for _, length, _ in pauses) and len(pauses) == 1:
        assert account.lost == 0


def test_compressed_time_makes_the_same_attempts_as_virtual_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
    batch = [Outgoing(f"n{number}", "t", b"{}") for number in range(3)]

    class Still:
        seconds = 0.0

        def now(self) -> float:
            return self.seconds

        def sleep(self, seconds: float) -> None:
            self.seconds += seconds

    def refuse(_url: str, _body: bytes, _signature: str, _timeout_seconds: float, /) -> Reply:
        return Reply(None, "Connection refused", 0.0)

    def told(sender: Sender) -> Iterator[tuple[str, int, str]]:
        return ((a.id, a.number, a.outcome.value) for a in sender.deliver(batch))

    compressed = sorted(told(Sender(url, KEY, SHA256, speed=12_000)))
    virtual = sorted(told(Sender(url, KEY, SHA256, clock=Still(), post=refuse)))
    assert compressed == virtual
    assert len(virtual) == len(list(itertools.product(batch, range(delivery.MAX_ATTEMPTS))))
