"""What needn't be kept, to the second."""

import os
import tempfile
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path

import pytest
from commands import put
from conftest import FakeClock

from spooler import pruning
from spooler.cli import moving
from spooler.person import PersonsSpool
from spooler.state import State
from spooler.units import Keep

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
def spool(tmp_path: Path, clock: FakeClock) -> PersonsSpool:
    spool = PersonsSpool(tmp_path, "crm", clock)
    spool.prepare()
    return spool


def test_a_day_is_past_when_its_last_second_is(spool: PersonsSpool, clock: FakeClock) -> None:
    put(spool, State.DONE, day="2026-11-20")
    keep = Keep(3 * 86400)
    clock.advance(12 * 3600 - 1)
    assert pruning.days(spool, keep) == []
    clock.advance(1)
    assert pruning.days(spool, keep) == ["2026-11-20"]
    assert pruning.days(spool, Keep(inf)) == []


def test_a_day_that_is_not_over_is_never_past(spool: PersonsSpool) -> None:
    for day in ("2026-11-22", "2026-11-23", "2026-11-24"):
        put(spool, State.DONE, day=day)
    assert pruning.days(spool, Keep(0)) == ["2026-11-22"]


@pytest.mark.parametrize("state", [State.FAILED, State.REJECTED])
def test_a_file_is_past_when_its_last_line_is(spool: PersonsSpool, clock: FakeClock, state: State) -> None:
    path = put(
        spool, state, age=3600, lines=[{"at": (NOON - timedelta(seconds=50)).isoformat(), "note": "x"}]
    )
    assert list(pruning.files(spool, state, Keep(60), moving.Unreadable())) == []
    clock.advance(10)
    assert [place.file_name for place in pruning.files(spool, state, Keep(60), moving.Unreadable())] == [
        path.name
    ]
    assert list(pruning.files(spool, state, Keep(inf), moving.Unreadable())) == []


def test_a_log_from_a_year_that_is_none_is_no_obstacle(clock: FakeClock) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:  # it knows dates that Python doesn't
        spool = PersonsSpool(Path(memory), "crm", clock)
        spool.prepare()
        for name, seconds in (("odd.log", 9e12), ("old.log", 0.0)):
            spool.path(State.FAILED, name).touch()
            os.utime(spool.path(State.FAILED, name), (seconds, seconds))
        assert list(pruning.logs(spool, State.FAILED, Keep(60))) == ["old.log"]


def test_a_log_is_kept_as_long_as_its_file_is_there(spool: PersonsSpool, clock: FakeClock) -> None:
    path = put(spool, State.FAILED, lines=[{"note": "x"}])
    clock._now = datetime.now(UTC) + timedelta(days=1)
    assert list(pruning.logs(spool, State.FAILED, Keep(60))) == []
    path.unlink()
    assert list(pruning.logs(spool, State.FAILED, Keep(60))) == [path.with_suffix(".log").name]
