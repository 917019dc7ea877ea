"""The platform's rules, as its help pages state them."""

import pytest

from spooler.delivery import MAX_ATTEMPTS, REPLY_WAIT_SECONDS, Webhook, is_received, next_attempt

MINUTE = 60.0
HOUR = 3600.0


def fail(webhook: Webhook, errors: int, *, begin: float, end: float) -> None:
    """Record so many errors, evenly from `begin` to `end`, both included."""
    for number in range(errors):
        webhook.record(503, begin + (end - begin) * number / max(errors - 1, 1))


def test_the_sender_waits_15_seconds() -> None:
    assert REPLY_WAIT_SECONDS == 15.0


def test_200_counts_and_nothing_else() -> None:
    assert [status for status in (None, *range(1000)) if is_received(status)] == [200]


def test_a_notification_that_always_fails_is_sent_0_1_16_46_and_106_minutes_after_the_action() -> None:
    action = 1234.5
    times = [action]
    while (due := next_attempt(len(times), times[-1])) is not None:
        times.append(due)
    assert [(at - action) / MINUTE for at in times] == [0, 1, 16, 46, 106]


def test_the_fifth_attempt_is_the_last() -> None:
    assert MAX_ATTEMPTS == 5
    assert next_attempt(4, 0.0) is not None
    assert next_attempt(5, 0.0) is None
    assert next_attempt(6, 0.0) is None


def test_a_repeat_counts_from_the_failure_and_not_from_the_planned_time() -> None:
    assert next_attempt(1, 15.0) == 75.0


def test_attempts_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        next_attempt(0, 0.0)


def test_a_webhook_begins_switched_on_and_without_errors() -> None:
    webhook = Webhook()
    assert (webhook.active, webhook.consecutive_errors, webhook.first_error_at) == (True, 0, None)


def test_99_errors_over_9_hours_do_not_switch_it_off_and_the_100th_does() -> None:
    webhook = Webhook()
    fail(webhook, 99, begin=0, end=9 * HOUR)
    assert webhook.active
    webhook.record(None, 9 * HOUR + 1)
    assert not webhook.active


def test_100_errors_within_7_hours_59_do_not_switch_it_off_and_one_more_at_8_hours_does() -> None:
    webhook = Webhook()
    fail(webhook, 100, begin=0, end=7 * HOUR + 59 * MINUTE)
    assert webhook.active
    webhook.record(503, 8 * HOUR)
    assert not webhook.active


@pytest.mark.parametrize("begin", [0.0, 1e9])
def test_100_errors_over_8_hours_switch_it_off(begin: float) -> None:
    webhook = Webhook()
    fail(webhook, 100, begin=begin, end=begin + 8 * HOUR)
    assert not webhook.active
    assert (webhook.consecutive_errors, webhook.first_error_at) == (100, begin)


def test_a_thousand_errors_within_an_hour_do_not_switch_it_off() -> None:
    webhook = Webhook()
    fail(webhook, 1000, begin=0, end=HOUR)
    assert webhook.active


def test_a_success_makes_both_conditions_begin_anew() -> None:
    webhook = Webhook()
    fail(webhook, 99, begin=0, end=8 * HOUR)
    webhook.record(200, 8 * HOUR + 1)
    assert (webhook.consecutive_errors, webhook.first_error_at) == (0, None)
    fail(webhook, 100, begin=9 * HOUR, end=16 * HOUR)
    assert webhook.active
    webhook.record(503, 17 * HOUR)
    assert not webhook.active


@pytest.mark.parametrize("status", [None, 201, 202, 204, 301, 404, 500, 503])
def test_everything_but_200_is_an_error(status: int | None) -> None:
    webhook = Webhook()
    webhook.record(status, 5.0)
    assert (webhook.consecutive_errors, webhook.first_error_at) == (1, 5.0)


def test_only_a_person_switches_it_on_again() -> None:
    webhook = Webhook()
    fail(webhook, 100, begin=0, end=8 * HOUR)
    webhook.record(200, 9 * HOUR)
    assert not webhook.active
    webhook.switch_on()
    assert (webhook.active, webhook.consecutive_errors, webhook.first_error_at) == (True, 0, None)
