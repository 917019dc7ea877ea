"""The power goes right after a promise: what was promised is there, and whoever syncs less is found out."""

import re

import pytest
from power_cases import CASES, Broken
from power_loss import WAYS, try_case, why_not

pytestmark = pytest.mark.power

AS_IT_IS = [case for case in CASES if not case.changes]
SLOW = [case for case in CASES if case.changes and not case.breaks]
BROKEN = [case for case in CASES if case.breaks]


def skip_where_impossible(way: str, file_system: str) -> None:
    if reason := why_not(way, file_system):
        pytest.skip(reason)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("file_system", ["ext4", "xfs"])
@pytest.mark.parametrize("case", AS_IT_IS, ids=[case.command for case in AS_IT_IS])
def test_what_was_promised_is_there_after_a_power_cut(case: Broken, file_system: str, way: str) -> None:
    skip_where_impossible(way, file_system)
    result = try_case(case, way, file_system, tick=lambda: None)
    assert result.promises > 0
    assert result.violations == {}, "\n".join(result.told)


@pytest.mark.parametrize("file_system", ["ext4", "xfs"])
@pytest.mark.parametrize("case", SLOW, ids=[case.command for case in SLOW])
def test_on_a_slow_disk_too_what_was_promised_is_there_after_a_power_cut(
    case: Broken, file_system: str
) -> None:
    skip_where_impossible("record", file_system)
    result = try_case(case, "record", file_system, tick=lambda: None)
    assert result.promises > 0
    assert result.violations == {}, "\n".join(result.told)


@pytest.mark.parametrize("case", BROKEN, ids=[case.name for case in BROKEN])
def test_a_spooler_that_leaves_out_a_sync_is_found_out(case: Broken) -> None:
    skip_where_impossible("record", "ext4")
    result = try_case(case, "record", "ext4", rounds=0, tick=lambda: None)
    assert result.as_expected
    # A failure is understood from what is told of it: which promise, when it was made, at which cut, by whom.
    told = "\n".join(result.told)
    assert all(told.count(f"\n  {kind}: ") == count for kind, count in result.violations.items())
    assert re.search(r"before flush \d+, with 0 of \d+ blocks", told)
    assert re.search(r": (ack|ran|settled) .*\(entry \d+ of the record, after flush \d+", told)
    assert "receiver ready" in told
