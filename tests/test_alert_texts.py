"""What the mails say: nothing but printable ASCII, bounded, and no stranger's text in a subject."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from spooler import alert_texts
from spooler.alert_texts import Failure
from spooler.refusals import Refused

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
anything = st.text() | st.sampled_from(["a\nBcc: x@y", "\x1b[31m", "\u202e", "\udcff", "x" * 10_000])


@given(file=anything, reason=anything)
def test_whatever_is_in_names_and_logs_stays_on_its_line(file: str, reason: str) -> None:
    failures = [Failure(file, file, reason)] * alert_texts.FILES_SHOWN
    text = alert_texts.failed("crm", 10, failures)
    assert text.subject == "10 failed today"
    assert text.body.isascii()
    assert all(line.isprintable() for line in text.body.splitlines())
    assert text.body.count("\n") == len(
        alert_texts.failed("crm", 10, [Failure("f", "i", "r")] * 10).body.splitlines()
    )
    assert len(text.body) < 8000


@given(why=anything)
def test_the_reason_of_a_refusal_stays_on_its_line(why: str) -> None:
    known = Refused("2026-11-24", {"wrong_signature": 2, "no_signature": 1}, why, 3, NOW - timedelta(hours=1))
    body = alert_texts.refused("crm", 3, known, NOW).body
    assert all(line.isascii() and line.isprintable() for line in body.splitlines())
    assert "  2 wrong signature\n  1 no signature\n" in body


def test_one_is_told_as_one() -> None:
    assert alert_texts.failed("crm", 1, []).body.startswith("1 notification of webhook crm")
