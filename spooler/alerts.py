"""Alerts: what is worth a mail, and what was told already. The rules.

Owns: the steps (1st, 10th, 100th, …), what counts as bad and as well again, and the memory of both.
Promises: pure: facts and the moment in, mails out, and the memory changed; a day of failures is tested
without waiting for it. One mail for what is bad, however long, and one when it is well again. What jumps over
several steps at once gives one mail. A mail that isn't sent yet is replaced by the next of its kind.
Does not promise: sending or keeping anything; that is `spooler.alerter`'s.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import msgspec

from spooler import alert_texts
from spooler.alert_texts import Failure, Text
from spooler.refusals import Refused

FAILURE_STEPS = (1, 10, 100, 1000, 10000)
REFUSAL_STEPS = tuple(10**power for power in range(10))
WAITING_TOO_LONG = timedelta(hours=1)
WAITING_WELL = timedelta(minutes=30)  # below the limit, so that what hovers there isn't told again and again

Moment = Annotated[datetime, msgspec.Meta(tz=True)]  # a file with another kind isn't ours


class Kind(StrEnum):
    """What a mail is about."""

    FAILED = "failures"
    REFUSED = "refusals"
    SILENCE = "silence"
    WAITING = "waiting"
    DISK = "disk"


class Mail(msgspec.Struct):
    """What is to be sent. `id` stays the same however often it is tried.

    refused_since, again_at: if the server refused this very mail: since when, and when it is tried again.
    """

    id: str
    subject: str
    body: str
    refused_since: Moment | None = None
    again_at: Moment | None = None

    def waits(self, now: datetime, longest: timedelta) -> bool:
        """Say whether it is not to be tried yet; a clock that was wrong holds it up no longer than that."""
        return self.again_at is not None and now < self.again_at <= now + longest


class Told(msgspec.Struct):
    """What is remembered of one webhook.

    failed, failures: how many failed on the day, and the latest of them.
    failed_step, refused_step: the highest step of the day that there was a mail for.
    errors: a mail told of refusals, and no 200 has come since; silent_since, waiting_since: a mail told so.
    since: when the webhook was first looked after; silence is counted from there where nothing ever came.
    """

    failed: int = 0
    failures: list[Failure] = []
    failed_step: int = 0
    refused_step: int = 0
    errors: bool = False
    silent_since: Moment | None = None
    waiting_since: Moment | None = None
    received: Moment | None = None
    since: Moment | None = None


class Memory(msgspec.Struct):
    """All that has to survive a restart. Moments are aware, in UTC.

    since: when alerts were first looked after; stands in where a webhook's own isn't known.
    counted_to: failures up to that moment are counted.
    due: mails that are not sent yet, by what they are about.
    """

    since: Moment
    counted_to: Moment
    day: str = ""
    webhooks: dict[str, Told] = {}
    disk_low_since: Moment | None = None
    due: dict[str, Mail] = {}


@dataclass(frozen=True, slots=True)
class WebhookFacts:
    """How a webhook is.

    surveyed: its folders were looked into; else `received` and `oldest_waiting` (None: none) aren't known.
    """

    failures: tuple[Failure, ...] = ()  # new ones
    refused: Refused = field(default_factory=Refused)
    received: datetime | None = None
    oldest_waiting: datetime | None = None
    paused: bool = False
    surveyed: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """How everything is.

    shortage: what the disk has too little of, empty for nothing. roomy: and it isn't close to that.
    unwritable: why nothing can be written to it, however much room there is; empty if something can.
    """

    webhooks: Mapping[str, WebhookFacts]
    shortage: str = ""
    roomy: bool = True
    unwritable: str = ""


def review(
    memory: Memory, facts: Facts, now: datetime, *, host: str, silence: timedelta | None
) -> list[Mail]:
    """Take in how things are; return the mails that this gives, which are in `memory.due` too."""
    _begin_day(memory, now)
    mails = []
    for (kind, webhook), text in _look(memory, facts, now, silence):
        subject = f"spooler {host}{f' {webhook}' if webhook else ''}: {text.subject}"
        mail = Mail(f"{now:%Y%m%dT%H%M%S.%f}-{kind.value}-{webhook}", subject, text.body)
        memory.due[f"{kind.value} {webhook}"] = mail
        mails.append(mail)
    return mails


def _begin_day(memory: Memory, now: datetime) -> None:
    day = f"{now:%Y-%m-%d}"
    if memory.day == day:
        return
    memory.day = day  # also where a clock that was wrong had written a day to come
    memory.since = min(memory.since, now)
    for told in memory.webhooks.values():
        told.failed = told.failed_step = told.refused_step = 0
        told.failures = []
        told.since = told.since and min(told.since, now)


def _look(
    memory: Memory, facts: Facts, now: datetime, silence: timedelta | None
) -> Iterator[tuple[tuple[Kind, str], Text]]:
    for name, seen in facts.webhooks.items():
        told = memory.webhooks.setdefault(name, Told(since=now))
        for kind, text in _look_at(name, told, seen, now):
            yield (kind, name), text
        if seen.surveyed:
            since = told.since or memory.since
            if silence and (silent := _silence(name, told, seen, now, since=since, longest=silence)):
                yield (Kind.SILENCE, name), silent
            if waiting := _waiting(name, told, seen, now):
                yield (Kind.WAITING, name), waiting
    is_bad = bool(facts.unwritable or facts.shortage)
    if is_bad and memory.disk_low_since is None:
        memory.disk_low_since = now
        tell = alert_texts.disk_low if facts.shortage else alert_texts.disk_unwritable
        yield (Kind.DISK, ""), tell(facts.shortage or facts.unwritable)
    elif memory.disk_low_since and facts.roomy and not is_bad:
        yield (Kind.DISK, ""), alert_texts.disk_well(memory.disk_low_since, now)
        memory.disk_low_since = None


def _look_at(name: str, told: Told, seen: WebhookFacts, now: datetime) -> Iterator[tuple[Kind, Text]]:
    told.failed += len(seen.failures)
    told.failures = [*told.failures, *seen.failures][-alert_texts.FILES_SHOWN :]
    step = _step(told.failed, FAILURE_STEPS)
    if step > told.failed_step:
        told.failed_step = step
        yield Kind.FAILED, alert_texts.failed(name, told.failed, told.failures)
    refused = seen.refused.count_on(f"{now:%Y-%m-%d}")
    step = _step(refused, REFUSAL_STEPS)
    if step > told.refused_step:
        told.refused_step = step
        told.errors = True
        yield Kind.REFUSED, alert_texts.refused(name, refused, seen.refused, now)
    if told.errors and seen.refused.day and seen.refused.errors == 0:
        # Also where the 200 came before anybody looked: then one mail tells both.
        told.errors = False
        yield Kind.REFUSED, alert_texts.accepted_again(name, refused, seen.refused)


def _step(count: int, steps: tuple[int, ...]) -> int:
    return max((step for step in steps if step <= count), default=0)


def _silence(
    name: str, told: Told, seen: WebhookFacts, now: datetime, *, since: datetime, longest: timedelta
) -> Text | None:
    # A clock that was wrong, or a name that somebody gave, must not hide silence till then.
    told.received = told.received and min(told.received, now)
    if seen.received and seen.received <= now and (told.received is None or seen.received > told.received):
        told.received = seen.received
    last = told.received
    if told.silent_since is None and now - (last or since) > longest:
        told.silent_since = last or since
        return alert_texts.silent(name, last, since, now)
    if told.silent_since is not None and last and now - last <= longest:
        began, told.silent_since = told.silent_since, None
        return alert_texts.received_again(name, last, began)
    return None


def _waiting(name: str, told: Told, seen: WebhookFacts, now: datetime) -> Text | None:
    waited = now - seen.oldest_waiting if seen.oldest_waiting else timedelta()
    if told.waiting_since is None and seen.oldest_waiting and waited > WAITING_TOO_LONG:
        told.waiting_since = seen.oldest_waiting
        return alert_texts.waiting(name, seen.oldest_waiting, now, paused=seen.paused)
    if told.waiting_since is not None and waited < WAITING_WELL:
        began, told.waiting_since = told.waiting_since, None
        return alert_texts.waiting_well(name, began)
    return None
