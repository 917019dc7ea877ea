"""The rules of alerts, over days that take no time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from spooler.alert_texts import Failure
from spooler.alerts import Facts, Mail, Memory, Told, WebhookFacts, review
from spooler.refusals import Refused

MORNING = datetime(2026, 11, 24, 0, 0, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
QUIET = WebhookFacts(received=MORNING)


class Desk:
    """A memory, and the subjects of the mails that it gave, by when."""

    def __init__(self, silence: timedelta | None = None) -> None:
        self.now = MORNING
        self.memory = Memory(since=MORNING, counted_to=MORNING)
        self.silence = silence
        self.mails: list[Mail] = []

    def look(self, facts: WebhookFacts = QUIET, shortage: str = "", *, roomy: bool = True) -> list[str]:
        """Return the subjects of what this look gave, without host and webhook."""
        known = Facts({"crm": facts}, shortage, roomy and not shortage)
        found = review(self.memory, known, self.now, host="vm1", silence=self.silence)
        self.mails += found
        return [mail.subject.partition(": ")[2] for mail in found]

    def restart(self) -> None:
        """Forget all but what is written down."""
        self.memory = msgspec.json.decode(msgspec.json.encode(self.memory), type=Memory)


def failure(number: int) -> Failure:
    return Failure(f"20261124T000001.{number:06}Z_id-{number}_t.json", f"id-{number}", "given up: 10-x")


def refused(
    count: int, day: datetime = MORNING, *, errors: int = 0, since: datetime | None = None
) -> Refused:
    return Refused(f"{day:%Y-%m-%d}", {"wrong_signature": count}, "matches none", errors, since)


def test_of_a_days_failures_the_1st_10th_100th_1000th_and_10000th_are_told() -> None:
    desk = Desk()
    told = []
    for number in range(1, 20_001):
        desk.now = MORNING + number * 4 * SECOND
        told += [(number, subject) for subject in desk.look(replace(QUIET, failures=(failure(number),)))]
        if number in {1, 5, 10, 999, 1000}:
            desk.restart()
    assert told == [(n, f"{n} failed today") for n in (1, 10, 100, 1000, 10_000)]
    desk.now = MORNING + DAY
    assert desk.look() == []
    assert desk.look(replace(QUIET, failures=(failure(1),))) == ["1 failed today"]


def test_of_a_days_refusals_the_1st_10th_100th_and_so_on_are_told() -> None:
    desk = Desk()
    told = []
    for number in range(1, 12_346):
        desk.now = MORNING + number * SECOND
        facts = replace(QUIET, refused=refused(number, errors=number, since=MORNING))
        told += [(number, subject) for subject in desk.look(facts)]
        desk.look(facts)
    assert told == [(n, f"{n} refused today") for n in (1, 10, 100, 1000, 10_000)]


def test_what_jumps_over_several_steps_gives_one_mail_that_names_the_latest_files() -> None:
    desk = Desk()
    assert desk.look(replace(QUIET, failures=tuple(map(failure, range(150))))) == ["150 failed today"]
    (mail,) = desk.mails
    assert mail.subject == "spooler vm1 crm: 150 failed today"
    assert mail.body.count("given up: 10-x") == 10
    assert "_id-149_t.json" in mail.body
    assert "spooler show id-149\n" in mail.body
    assert "spooler retry --all\n" in mail.body
    assert desk.look(replace(QUIET, failures=(failure(150),))) == []


def test_a_refusal_says_how_close_the_webhook_is_to_being_switched_off() -> None:
    desk = Desk()
    desk.now = MORNING + 5 * HOUR
    desk.look(replace(QUIET, refused=refused(97, errors=97, since=MORNING)))
    assert "97 in a row since 2026-11-24 00:00:01 UTC (5h)" in desk.mails[-1].body
    assert "100 errors in a row over 8h or more: 3 more errors and 3h more to go" in desk.mails[-1].body
    desk.now = MORNING + 9 * HOUR
    desk.look(replace(QUIET, refused=refused(100, errors=100, since=MORNING)))
    assert "IT MAY BE OFF ALREADY" in desk.mails[-1].body


def test_the_first_200_after_refusals_gives_one_mail() -> None:
    desk = Desk()
    bad = replace(QUIET, refused=refused(3, errors=3, since=MORNING))
    assert desk.look(bad) == ["3 refused today"]
    desk.restart()
    well = replace(QUIET, refused=refused(3))
    assert desk.look(well) == ["accepts again"]
    assert desk.look(well) == []
    # A file that can't be read isn't taken for a 200.
    assert desk.look(replace(QUIET, refused=refused(10, errors=1, since=MORNING))) == ["10 refused today"]
    assert desk.look(replace(QUIET, refused=Refused())) == []


def test_silence_is_told_once_and_its_end_once() -> None:
    desk = Desk(silence=DAY)
    desk.now = MORNING + DAY
    assert desk.look() == []
    desk.now += SECOND
    assert desk.look() == ["nothing received"]
    assert "since 2026-11-24 00:00:01 UTC, for 1d" in desk.mails[-1].body
    for _ in range(3):
        desk.restart()
        desk.now += DAY
        assert desk.look() == []
    assert desk.look(replace(QUIET, received=desk.now)) == ["receives again"]
    # What was received doesn't become unreceived by being pruned.
    assert desk.look(replace(QUIET, received=None)) == []


def test_where_nothing_ever_came_silence_is_counted_from_the_first_look() -> None:
    desk = Desk(silence=HOUR)
    never = WebhookFacts()
    assert desk.look(never) == []
    desk.now += 2 * HOUR
    assert desk.look(never) == ["nothing received"]
    assert Desk().look(never) == []


@pytest.mark.parametrize("paused", [False, True])
def test_one_that_waits_for_over_an_hour_is_told_once(paused: bool) -> None:
    desk = Desk()
    waiting = replace(QUIET, oldest_waiting=MORNING, paused=paused)
    desk.now = MORNING + HOUR
    assert desk.look(waiting) == []
    desk.now += SECOND
    assert desk.look(waiting) == ["waiting for over an hour" + (" (paused)" if paused else "")]
    assert ("spooler resume crm" in desk.mails[-1].body) is paused
    assert desk.look(waiting) == []
    # Hovering about the limit isn't well.
    assert desk.look(replace(QUIET, oldest_waiting=desk.now - 50 * MINUTE)) == []
    assert desk.look(replace(QUIET, surveyed=False)) == []
    assert desk.look() == ["nothing waits long any more"]
    assert desk.look() == []


def test_a_full_disk_is_told_once_and_once_when_there_is_room() -> None:
    desk = Desk()
    assert desk.look(shortage="only 1.0 MiB free, min_free is 64.0 MiB") == ["disk full"]
    assert "only 1.0 MiB free" in desk.mails[-1].body
    assert desk.mails[-1].subject == "spooler vm1: disk full"
    desk.restart()
    assert desk.look(shortage="only 1.0 MiB free") == []
    assert desk.look(roomy=False) == []
    assert desk.look() == ["disk is well again"]
    assert desk.look() == []


def test_a_disk_that_cannot_be_written_is_told_once_and_once_when_it_can() -> None:
    desk = Desk()
    bad = Facts({}, unwritable="Read-only file system")
    subjects = []
    for facts in (bad, bad, replace(bad, shortage="only 0 B free", roomy=False), bad, Facts({}), Facts({})):
        subjects += [mail.subject for mail in review(desk.memory, facts, desk.now, host="vm1", silence=None)]
        desk.restart()
    assert subjects == ["spooler vm1: disk can't be written", "spooler vm1: disk is well again"]


def test_a_mail_that_is_not_sent_yet_is_replaced_by_the_next_of_its_kind() -> None:
    desk = Desk()
    for number in range(1, 1001):
        desk.look(replace(QUIET, failures=(failure(number),)), shortage="full" if number < 500 else "")
    subjects = sorted(mail.subject.partition(": ")[2] for mail in desk.memory.due.values())
    assert subjects == ["1000 failed today", "disk is well again"]


def test_a_day_to_come_in_the_memory_is_no_obstacle() -> None:
    desk = Desk(silence=HOUR)
    desk.memory = Memory(since=MORNING + 900 * DAY, counted_to=MORNING + 900 * DAY, day="2029-01-01")
    assert desk.look(replace(QUIET, failures=(failure(1),))) == ["1 failed today"]
    desk.memory.webhooks["crm"].received = MORNING + 900 * DAY
    assert desk.look() == []
    desk.now += 2 * HOUR
    assert desk.look(WebhookFacts(received=desk.now + 900 * DAY)) == ["nothing received"]


def test_a_stamp_that_is_yet_to_come_hides_no_silence() -> None:
    desk = Desk(silence=DAY)
    assert desk.look(WebhookFacts(received=MORNING)) == []
    desk.look(WebhookFacts(received=MORNING + 1000 * DAY))
    desk.now += DAY + SECOND
    assert desk.look(WebhookFacts(received=MORNING + 1000 * DAY)) == ["nothing received"]


def test_a_clock_that_was_set_back_a_little_is_no_silence() -> None:
    desk = Desk(silence=DAY)
    desk.now += 30 * DAY
    desk.look(WebhookFacts(received=desk.now))
    desk.now -= MINUTE
    assert desk.look(WebhookFacts(received=desk.now + MINUTE)) == []


def test_of_a_webhook_that_is_added_later_silence_is_counted_from_then() -> None:
    desk = Desk(silence=HOUR)
    desk.now += 30 * DAY
    known = Facts({"shop": WebhookFacts()})
    assert review(desk.memory, known, desk.now, host="vm1", silence=HOUR) == []
    desk.restart()
    desk.now += HOUR + SECOND
    (mail,) = review(desk.memory, known, desk.now, host="vm1", silence=HOUR)
    assert mail.subject == "spooler vm1 shop: nothing received"


def test_a_memory_that_knows_no_since_of_a_webhook_takes_that_of_all() -> None:
    desk = Desk(silence=HOUR)
    desk.memory.webhooks["crm"] = Told()
    desk.restart()
    desk.now += 2 * HOUR
    assert desk.look(WebhookFacts()) == ["nothing received"]
