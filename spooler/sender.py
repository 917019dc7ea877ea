"""The sender: signs notifications and delivers them as the platform would.

Owns: the order of attempts, and the account of what became of them. When to repeat and when to give up
are `spooler.delivery`'s; the request is `spooler.callback`'s, the body `spooler.outgoing`'s. Clock and
network come in as arguments, so that a week of outages is delivered in seconds by the very same code.
Promises: a repeat carries the same bytes and the same signature. New notifications keep going out while
others wait for their repeat; what is due first goes first.
Does not promise: more than one request at a time, so a rate that the receiver can't follow is not
reached: what is late then goes out as fast as replies come in.
"""

import heapq
import itertools
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from spooler.algorithm import Algorithm
from spooler.callback import Reply, check_url, post
from spooler.delivery import REPLY_WAIT_SECONDS, Webhook, is_received, next_attempt
from spooler.latency import quantile
from spooler.outgoing import Batch, NewNotifications, Outgoing, make_body
from spooler.signature import sign

__all__ = [
    "Attempt",
    "Batch",
    "NewNotifications",
    "Outcome",
    "Outgoing",
    "Post",
    "Reply",
    "ScaledClock",
    "ScheduleClock",
    "Sender",
    "Summary",
    "make_body",
    "post",
]

# A wait is cut into days: the system's own sleep refuses centuries, which a tiny rate asks for.
_LONGEST_SLEEP_SECONDS = 86400.0


class Post(Protocol):
    """The network: one request and what came of it; `spooler.callback.post` is the real one."""

    def __call__(self, url: str, body: bytes, signature: str, timeout_seconds: float, /) -> Reply:
        """Deliver once. What goes wrong on the way is a Reply without a status."""
        ...


class ScheduleClock(Protocol):
    """The seconds that the schedule is counted in."""

    def now(self) -> float:
        """Return seconds since some fixed instant; they never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let up to so many of these seconds pass."""
        ...


class ScaledClock:
    """Real time, run through `speed` times as fast: at 60, a minute of the schedule takes a second."""

    def __init__(self, speed: float = 1.0) -> None:
        self._speed = speed
        self._started = time.monotonic()

    def now(self) -> float:
        return (time.monotonic() - self._started) * self._speed

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds / self._speed, _LONGEST_SLEEP_SECONDS))


class Outcome(StrEnum):
    """What an attempt means for its notification."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"  # failed; another attempt is due by the schedule
    ABANDONED = "abandoned"  # failed for the last time
    LOST = "lost"  # failed, and the webhook is switched off: there will be no other attempt


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request of one notification: `number` from 1; where `status` is `None`, `error` says why."""

    id: str
    type: str
    number: int
    status: int | None
    error: str
    seconds: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of all notifications so far. Latencies are those of replies of any status, in ms.

    sent: notifications of which at least one attempt was made; the rest of `attempts` are `repeats`.
    waiting: sent, not accepted yet, and due for a repeat (only while sending, or when interrupted).
    lost_by_deactivation: waiting when the webhook was switched off, or never sent because of it.
    """

    sent: int
    accepted: int
    attempts: int
    repeats: int
    waiting: int
    abandoned: int
    lost_by_deactivation: int
    deactivated: bool
    seconds: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    latency_max_ms: float | None

    @property
    def everything_accepted(self) -> bool:
        """Tell whether all of it was answered with 200 in the end."""
        return self.accepted == self.sent and not self.lost_by_deactivation


@dataclass(slots=True)
class _Pending:
    notification: Outgoing
    signature: str
    attempts: int = 0


class Sender:
    """Deliver notifications to one callback URL, in the order in which their attempts fall due."""

    def __init__(
        self,
        url: str,
        private_key: RSAPrivateKey,
        algorithm: Algorithm,
        *,
        speed: float = 1.0,
        clock: ScheduleClock | None = None,
        post: Post = post,
        reply_wait_seconds: float = REPLY_WAIT_SECONDS,
    ) -> None:
        """Prepare to send. `speed` compresses the schedule, not the wait for a reply: the receiver is real.

        Raises: ValueError, when the URL can't be one.
        """
        check_url(url)
        self.webhook = Webhook()
        self._url, self._private_key, self._algorithm = url, private_key, algorithm
        self._speed = speed
        self._clock = clock or ScaledClock(speed)
        self._post = post
        self._reply_wait_seconds = reply_wait_seconds
        self._started = time.monotonic()
        self._sent = self._attempts = 0
        self._accepted = self._abandoned = self._waiting = self._lost = 0
        self._latencies_seconds = array("d")

    def deliver(self, notifications: Batch, *, rate: float | None = None) -> Iterator[Attempt]:
        """Send each, repeat by the schedule, and yield every attempt as soon as it ended.

        `rate` is how many new notifications go out per second of real time, whatever the speed; without
        it one follows the other. A body is asked for only when it is due. Ends when nothing is waiting
        any more, or when the webhook is switched off: the rest is then counted as lost.
        """
        fresh, unsent = iter(notifications), len(notifications)
        # No pending one stands for the next new one. The numbers keep equal times in their order.
        due: list[tuple[float, int, _Pending | None]] = [(self._clock.now(), 0, None)] if unsent else []
        order = itertools.count(1)
        while due and self.webhook.active:
            due_at, _, pending = heapq.heappop(due)
            self._wait_until(due_at)
            if pending is None:
                pending, unsent = self._sign(next(fresh)), unsent - 1
                if unsent:
                    new_at = due_at + self._speed / rate if rate else self._clock.now()
                    heapq.heappush(due, (new_at, next(order), None))
            attempt, repeat_at = self._attempt(pending)
            if repeat_at is not None:
                heapq.heappush(due, (repeat_at, next(order), pending))
            yield attempt
        if not self.webhook.active:
            self._lost += self._waiting + unsent
            self._waiting = 0

    def _sign(self, notification: Outgoing) -> _Pending:
        return _Pending(notification, sign(notification.body, self._private_key, self._algorithm))

    def _wait_until(self, instant: float) -> None:
        while (left_seconds := instant - self._clock.now()) > 0:
            self._clock.sleep(left_seconds)

    def _attempt(self, pending: _Pending) -> tuple[Attempt, float | None]:
        pending.attempts += 1
        self._attempts += 1
        if pending.attempts == 1:
            self._sent += 1
            self._waiting += 1
        what = pending.notification
        reply = self._post(self._url, what.body, pending.signature, self._reply_wait_seconds)
        if reply.status is not None:
            self._latencies_seconds.append(reply.seconds)
        now = self._clock.now()
        self.webhook.record(reply.status, now)
        outcome, repeat_at = self._judge(reply.status, next_attempt(pending.attempts, now))
        self._accepted += outcome is Outcome.ACCEPTED
        self._abandoned += outcome is Outcome.ABANDONED
        self._waiting -= outcome in (Outcome.ACCEPTED, Outcome.ABANDONED)
        number, status = pending.attempts, reply.status
        return Attempt(what.id, what.type, number, status, reply.error, reply.seconds, outcome), repeat_at

    def _judge(self, status: int | None, repeat_at: float | None) -> tuple[Outcome, float | None]:
        if is_received(status):
            return Outcome.ACCEPTED, None
        if repeat_at is None:
            return Outcome.ABANDONED, None
        if not self.webhook.active:
            return Outcome.LOST, None
        return Outcome.REPEATED, repeat_at

    def summary(self) -> Summary:
        """Return the account so far; it may be asked for at any time, also after an interruption."""
        return Summary(
            sent=self._sent,
            accepted=self._accepted,
            attempts=self._attempts,
            repeats=self._attempts - self._sent,
            waiting=self._waiting,
            abandoned=self._abandoned,
            lost_by_deactivation=self._lost,
            deactivated=not self.webhook.active,
            seconds=round(time.monotonic() - self._started, 3),
            latency_p50_ms=self._latency_ms(0.5),
            latency_p99_ms=self._latency_ms(0.99),
            latency_max_ms=self._latency_ms(1.0),
        )

    def _latency_ms(self, share: float) -> float | None:
        if not self._latencies_seconds:
            return None
        return round(quantile(sorted(self._latencies_seconds), share) * 1000, 3)
