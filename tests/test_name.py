"""Names of files, both ways."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spooler.name import Name, is_notification, log_name, stamp, stamp_of

EXAMPLE = "20261123T190001.123456Z_7c1f4a52-9d2e-4c44-8f0e-1b2d3c4e5f60_contact_modified.json"

moments = st.datetimes(
    datetime.fromisoformat("1000-01-01"),
    datetime.fromisoformat("2999-12-31T23:59:59.999999"),
    timezones=st.just(UTC),
)
names = st.builds(
    Name,
    moments,
    st.from_regex(r"[A-Za-z0-9-]{1,64}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
)
# Close to the pattern, and not always of it: other digits, dates that there are not, other lengths.
nearly = st.from_regex(r"\d{8}T\d{6}\.\d{6}Z_[A-Za-z0-9-]{1,70}_[\w-]{1,70}\.json\n?", fullmatch=True)


def test_a_name_is_time_id_and_type() -> None:
    name = Name.parse(EXAMPLE)
    assert name == Name(
        datetime(2026, 11, 23, 19, 0, 1, 123456, UTC),
        "7c1f4a52-9d2e-4c44-8f0e-1b2d3c4e5f60",
        "contact_modified",
    )
    assert str(name) == EXAMPLE


@given(names)
def test_a_name_that_was_made_can_be_read(name: Name) -> None:
    assert Name.parse(str(name)) == name


@given(st.text() | nearly | names.map(str))
def test_a_name_that_was_read_is_written_the_same(text: str) -> None:
    parsed = Name.parse(text)
    assert parsed is None or str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE.upper(),
        EXAMPLE + "\n",
        "x" + EXAMPLE,
        EXAMPLE.removesuffix(".json"),
        EXAMPLE.replace(".json", ".log"),
        EXAMPLE.replace("20261123", "20260231"),
        EXAMPLE.replace("T190001", "T250001"),
        EXAMPLE.replace("T190001", "T190060"),
        EXAMPLE.replace("20261123", "٢٠٢٦١١٢٣"),
        EXAMPLE.replace("20261123", "00011123"),
        EXAMPLE.replace("20261123", "99991123"),
        EXAMPLE.replace(".123456", ".123"),
        EXAMPLE.replace("7c1f4a52", "7c1f4a52" + "0" * 29),
        EXAMPLE.replace("contact_modified", "c" * 65),
        EXAMPLE.replace("contact_modified", "contact modified"),
        EXAMPLE.replace("contact_modified", ""),
        EXAMPLE.replace("contact_modified", "../../etc/cron"),
        EXAMPLE.replace("7c1f4a52", "7c1f~a52"),
        "",
        "a.json",
    ],
)
def test_other_names_are_not_of_the_pattern(text: str) -> None:
    assert Name.parse(text) is None


@given(names, names)
def test_names_sort_by_time_of_receipt(one: Name, other: Name) -> None:
    if one.received != other.received:
        assert (str(one) < str(other)) == (one.received < other.received)


@given(names)
def test_the_next_name_is_a_microsecond_younger_and_can_be_read(name: Name) -> None:
    later = name.next()
    assert later == Name(name.received + timedelta(microseconds=1), name.id, name.type)
    assert str(later) > str(name)
    assert len(str(later)) == len(str(name))


def test_stamps_are_in_utc_wherever_the_clock_is() -> None:
    montreal = timezone(timedelta(hours=-5))
    assert stamp(datetime(2026, 11, 23, 14, 0, 1, 5, montreal)) == "20261123T190001.000005Z"


@given(names)
def test_a_stamp_sorts_before_every_name_of_its_instant_and_after_all_older_ones(name: Name) -> None:
    assert stamp(name.received) < str(name) < stamp(name.received + timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        (EXAMPLE, True),
        ("by-hand.json", True),
        ("-.json", True),
        (".json", False),
        (".new-1234.json", False),
        (".x.json", False),
        ("x.log", False),
        ("x.JSON", False),
        ("x.json~", False),
        ("json", False),
        ("", False),
    ],
)
def test_a_notification_ends_in_json_and_is_not_hidden(name: str, is_one: bool) -> None:
    assert is_notification(name) is is_one


def test_the_log_has_the_same_name_with_another_ending() -> None:
    assert log_name(EXAMPLE) == EXAMPLE.removesuffix("json") + "log"
    assert log_name("a.json.json") == "a.json.log"


@given(names)
def test_the_stamp_of_a_name_is_that_of_its_moment(name: Name) -> None:
    assert stamp_of(str(name)) == stamp(name.received)


@pytest.mark.parametrize("date", ["20260231T000000", "20261301T000000", "20260101T240000", "20260101T006000"])
def test_a_name_with_a_moment_that_is_none_is_not_of_the_pattern(date: str) -> None:
    name = f"{date}.000000Z_a_t.json"
    assert (Name.parse(name), stamp_of(name)) == (None, "")
