"""Durations and sizes as people write them."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spooler.units import Duration, Keep, Size, format_duration, format_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("90s", 90), ("1.5m", 90), ("15m", 900), ("12h", 43200), ("30d", 2592000), ("0s", 0)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "90", "s", "-1s", "1 s", "1S", "1e3s", "1h30m", "1w", "1s\n", ".5s", "never", 90, 1.5, None, ["1s"]],
)
def test_what_is_no_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="is no duration; write for example") as raised:
        Duration.parse(text)
    assert str(raised.value).startswith(repr(text))


@given(st.integers(0, 10**12), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_every_duration_that_is_accepted_can_be_added_to_a_date(number: int, unit: str) -> None:
    try:
        duration = Duration.parse(f"{number}{unit}")
    except ValueError as error:
        assert str(error) == f"'{number}{unit}' is longer than a hundred years"  # noqa: PT017 - either way is right
    else:
        now = datetime(2026, 11, 23, tzinfo=UTC)
        assert now - timedelta(seconds=duration) <= now <= now + timedelta(seconds=duration)


def test_how_long_to_keep_may_be_for_ever() -> None:
    assert math.isinf(Keep.parse("never"))
    assert Keep.parse("30d") == 30.0 * 86400
    with pytest.raises(ValueError, match="is no duration"):
        Keep.parse("always")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("100", 100),
        ("5B", 5),
        ("64KiB", 65536),
        ("1MiB", 1 << 20),
        ("2GiB", 2 << 30),
        ("1TiB", 1 << 40),
    ],
)
def test_a_size_is_a_number_and_a_binary_unit(text: str, size: int) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize("text", ["", "1.5MiB", "1MB", "1kb", "-1", "1 MiB", "MiB", 1048576, None])
def test_what_is_no_size_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match="is no size; write for example") as raised:
        Size.parse(text)
    assert str(raised.value).startswith(repr(text))


@given(st.text(max_size=20))
def test_any_other_text_is_refused_and_nothing_else_happens(text: str) -> None:
    for unit in (Duration, Size, Keep):
        try:
            assert unit.parse(text) >= 0
        except ValueError as error:
            assert repr(text) in str(error)  # noqa: PT017 - either way is right


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1.5 * (1 << 20), "1.5 MiB"),
        (3 << 40, "3.0 TiB"),
    ],
)
def test_a_size_is_written_in_the_largest_unit_that_fits(size: float, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "250ms"), (59, "59s"), (60, "1m"), (90, "1.5m"), (5400, "1.5h"), (86400, "1d")],
)
def test_a_duration_is_written_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(1, 10**9))
def test_what_is_written_is_about_what_was_meant(seconds: int) -> None:
    assert Duration.parse(format_duration(seconds)) == pytest.approx(seconds, rel=0.05)
