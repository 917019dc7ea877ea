"""What exit statuses mean."""

import pytest

from spooler.outcome import Done, Exit, GiveUp, Outcome, Release, Retry, of_exit


def test_only_zero_is_success() -> None:
    assert [status for status in range(256) if isinstance(of_exit("s", status), Done)] == [0]


def test_only_65_gives_up() -> None:
    assert [status for status in range(256) if isinstance(of_exit("s", status), GiveUp)] == [65]


def test_every_other_status_means_later() -> None:
    later = [status for status in range(256) if isinstance(of_exit("s", status), Retry)]
    assert later == [status for status in range(256) if status not in {0, 65}]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0, Done()),
        (65, GiveUp("10-crm said that it will never work (exit status 65)")),
        (75, Retry("10-crm ended with exit status 75")),
        (127, Retry("10-crm ended with exit status 127")),
        ("timeout", Retry("10-crm ran into the time limit")),
        ("killed", Retry("10-crm was killed by a signal")),
        ("interrupted", Release("10-crm was stopped because spooler stops")),
    ],
)
def test_the_reason_names_script_and_status(status: Exit, outcome: Outcome) -> None:
    assert of_exit("10-crm", status) == outcome


def test_the_reason_tells_a_signal_from_what_is_no_status() -> None:
    reason = "10-crm was ended because it wrote to SPOOLER_FD what isn't one status"
    assert of_exit("10-crm", "killed", was_refused=True) == Retry(reason)
