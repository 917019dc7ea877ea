"""Whole deliveries: real HTTP and real signatures, and the schedule on a clock of the test's own."""

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA512
from scripted_receiver import ScriptedReceiver

from spooler.algorithm import Algorithm
from spooler.sender import Outcome, Outgoing, Sender, make_body

SHA256_PKCS1 = Algorithm(hash="sha256", padding="pkcs1v15")
MINUTE = 60.0
HOUR = 3600.0


@dataclass
class FakeClock:
    """Time that passes only by sleeping, at once."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture
def closed_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/"


def notifications(number: int) -> list[Outgoing]:
    ids = [f"n{position}" for position in range(number)]
    return [Outgoing(id_, "contact_modified", make_body("contact_modified", id_, 1)) for id_ in ids]


@dataclass
class MadeWhenAsked:
    """A batch that notes when each was asked for, and takes its time to make it."""

    clock: FakeClock
    number: int
    seconds_each: float = 0.0
    asked_at: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[Outgoing]:
        for outgoing in notifications(self.number):
            self.asked_at.append(self.clock.now())
            self.clock.seconds += self.seconds_each
            yield outgoing


def sent_ids(receiver: ScriptedReceiver) -> list[str]:
    return [json.loads(request.body)["EventUniqueID"] for request in receiver.received]


def test_each_notification_is_signed_and_accepted_at_the_first_attempt(key: RSAPrivateKey) -> None:
    with ScriptedReceiver() as receiver:
        sender = Sender(receiver.url, key, SHA256_PKCS1, clock=FakeClock())
        attempts = list(sender.deliver(notifications(3)))
    assert sent_ids(receiver) == ["n0", "n1", "n2"]
    assert all(request.is_signed_by(key.public_key()) for request in receiver.received)
    assert [(a.id, a.number, a.status, a.outcome) for a in attempts] == [
        (id_, 1, 200, Outcome.ACCEPTED) for id_ in ("n0", "n1", "n2")
    ]
    summary = sender.summary()
    assert summary.everything_accepted
    assert (summary.sent, summary.accepted, summary.attempts, summary.repeats) == (3, 3, 3, 0)


def test_another_hash_and_padding_sign_too(key: RSAPrivateKey) -> None:
    with ScriptedReceiver() as receiver:
        list(Sender(receiver.url, key, Algorithm("sha512", "pss")).deliver(notifications(1)))
    padding = PSS(MGF1(SHA512()), PSS.AUTO)
    assert receiver.received[0].is_signed_by(key.public_key(), SHA512(), padding)


@pytest.mark.parametrize("status", [201, 202, 204, 302, 503])
def test_what_was_not_answered_with_200_is_sent_again_with_the_same_bytes_and_signature(
    key: RSAPrivateKey, status: int
) -> None:
    clock = FakeClock()
    with ScriptedReceiver([status, 200]) as receiver:
        sender = Sender(receiver.url, key, Algorithm("sha256", "pss"), clock=clock)
        attempts = list(sender.deliver(notifications(1)))
    assert [(a.number, a.status, a.outcome) for a in attempts] == [
        (1, status, Outcome.REPEATED),
        (2, 200, Outcome.ACCEPTED),
    ]
    first, second = receiver.received
    assert first.body == second.body
    assert first.headers["X-DI-Signature"] == second.headers["X-DI-Signature"]
    assert clock.now() == MINUTE
    assert sender.summary().everything_accepted


def test_a_notification_that_never_works_is_tried_by_the_schedule_and_abandoned(
    key: RSAPrivateKey, closed_url: str
) -> None:
    clock = FakeClock()
    sender = Sender(closed_url, key, SHA256_PKCS1, clock=clock)
    seen = [(clock.now() / MINUTE, a.number, a.outcome) for a in sender.deliver(notifications(1))]
    again, given_up = Outcome.REPEATED, Outcome.ABANDONED
    assert seen == [(0, 1, again), (1, 2, again), (16, 3, again), (46, 4, again), (106, 5, given_up)]
    summary = sender.summary()
    assert (summary.sent, summary.accepted, summary.abandoned, summary.repeats) == (1, 0, 1, 4)
    assert not summary.everything_accepted
    assert summary.latency_max_ms is None


def test_new_notifications_keep_going_out_while_one_waits_for_its_repeat(key: RSAPrivateKey) -> None:
    clock = FakeClock()
    with ScriptedReceiver([503, 200]) as receiver:
        sender = Sender(receiver.url, key, SHA256_PKCS1, clock=clock)
        list(sender.deliver(notifications(5), rate=1 / 25))
    assert sent_ids(receiver) == ["n0", "n1", "n2", "n0", "n3", "n4"]
    assert clock.now() == 100.0


def test_a_repeat_that_is_due_is_not_kept_back_by_a_burst_of_new_ones(key: RSAPrivateKey) -> None:
    clock = FakeClock()
    with ScriptedReceiver([503, 200]) as receiver:
        sender = Sender(receiver.url, key, SHA256_PKCS1, clock=clock)
        list(sender.deliver(MadeWhenAsked(clock, 9, seconds_each=20)))
    assert sent_ids(receiver).index("n0", 1) == 4


def test_a_body_is_made_only_when_it_is_due_and_the_end_is_not_waited_for(key: RSAPrivateKey) -> None:
    clock = FakeClock()
    batch = MadeWhenAsked(clock, 3)
    with ScriptedReceiver() as receiver:
        list(Sender(receiver.url, key, SHA256_PKCS1, clock=clock).deliver(batch, rate=0.5))
    assert batch.asked_at == [0, 2, 4]
    assert clock.now() == 4


def test_nothing_to_send_ends_at_once(key: RSAPrivateKey, closed_url: str) -> None:
    sender = Sender(closed_url, key, SHA256_PKCS1)
    assert list(sender.deliver([])) == []
    assert sender.summary().everything_accepted


def test_the_webhook_is_switched_off_by_the_rule_and_the_rest_is_lost(
    key: RSAPrivateKey, closed_url: str
) -> None:
    clock = FakeClock()
    sender = Sender(closed_url, key, SHA256_PKCS1, clock=clock)
    attempts = list(sender.deliver(notifications(30), rate=1 / (30 * MINUTE)))
    assert clock.now() > 8 * HOUR
    assert len(attempts) == 100
    assert attempts[-1].outcome is Outcome.LOST
    summary = sender.summary()
    assert summary.deactivated
    assert summary.waiting == 0
    assert summary.lost_by_deactivation == 30 - summary.abandoned
    assert summary.lost_by_deactivation > 30 - summary.sent > 0


def test_many_errors_in_a_short_outage_switch_nothing_off(key: RSAPrivateKey) -> None:
    with ScriptedReceiver([503] * 240 + [200]) as receiver:
        sender = Sender(receiver.url, key, SHA256_PKCS1, clock=FakeClock())
        list(sender.deliver(notifications(120)))
    summary = sender.summary()
    assert (summary.accepted, summary.repeats, summary.deactivated) == (120, 240, False)


def test_nothing_goes_out_while_the_webhook_is_switched_off(key: RSAPrivateKey) -> None:
    with ScriptedReceiver() as receiver:
        sender = Sender(receiver.url, key, SHA256_PKCS1)
        sender.webhook.active = False
        assert list(sender.deliver(notifications(3))) == []
        assert sender.summary().lost_by_deactivation == 3
        sender.webhook.switch_on()
        assert len(list(sender.deliver(notifications(2)))) == 2
    assert sender.summary().lost_by_deactivation == 3


def test_an_interrupted_delivery_still_has_its_account(key: RSAPrivateKey) -> None:
    with ScriptedReceiver([200, 503]) as receiver:
        sender = Sender(receiver.url, key, SHA256_PKCS1, clock=FakeClock())
        delivery = sender.deliver(notifications(9))
        next(delivery)
        next(delivery)
        summary = sender.summary()
    assert (summary.sent, summary.accepted, summary.waiting, summary.attempts) == (2, 1, 1, 2)
    assert not summary.everything_accepted


def test_the_speed_compresses_the_schedule(key: RSAPrivateKey) -> None:
    with ScriptedReceiver([503, 503, 200]) as receiver:
        sender = Sender(receiver.url, key, SHA256_PKCS1, speed=3000)
        list(sender.deliver(notifications(1)))
    gaps = [later.at - earlier.at for earlier, later in pairwise(receiver.received)]
    assert 60 / 3000 <= gaps[0] < 60 / 3000 + 0.2
    assert 900 / 3000 <= gaps[1] < 900 / 3000 + 0.5


def test_the_speed_does_not_compress_the_rate(key: RSAPrivateKey) -> None:
    started = time.monotonic()
    with ScriptedReceiver() as receiver:
        list(Sender(receiver.url, key, SHA256_PKCS1, speed=6000).deliver(notifications(11), rate=50))
    assert 0.2 <= time.monotonic() - started < 2


def test_the_speed_does_not_compress_the_wait_for_a_reply(key: RSAPrivateKey) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        sender = Sender(url, key, SHA256_PKCS1, speed=1e6, reply_wait_seconds=0.05)
        attempts = list(sender.deliver(notifications(1)))
    assert [a.number for a in attempts] == [1, 2, 3, 4, 5]
    assert all(a.status is None and 0.05 <= a.seconds < 1 for a in attempts)
    assert attempts[0].error == "no whole reply within 0.05 s"


def test_latencies_are_in_milliseconds_and_in_order(key: RSAPrivateKey) -> None:
    with ScriptedReceiver() as receiver:
        sender = Sender(receiver.url, key, SHA256_PKCS1)
        seconds = [attempt.seconds for attempt in sender.deliver(notifications(101))]
    summary = sender.summary()
    expected = [sorted(seconds)[at] * 1000 for at in (50, 99, 100)]
    found = [summary.latency_p50_ms, summary.latency_p99_ms, summary.latency_max_ms]
    assert found == [pytest.approx(value, abs=0.001) for value in expected]


def test_a_url_that_cannot_be_one_is_refused_at_once(key: RSAPrivateKey) -> None:
    with pytest.raises(ValueError, match="http://"):
        Sender("localhost:8080", key, SHA256_PKCS1)
