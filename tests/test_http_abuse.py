"""The short version of the abuse that `http_abuse.py` does at length."""

import resource
from pathlib import Path

from bad_requests import ALL
from http_abuse import Amounts, abuse_a_service
from running_service import make_site

# Time is judged by the sender's patience: the machine may be busy with other tests.
SHORT = Amounts(idle=1500, holds=240, large=24, forged=400, resets=60, hold_seconds=1.0, max_seconds=15.0)


def test_whatever_is_sent_it_stays_up_and_within_bounds_and_honest_notifications_are_stored(
    tmp_path: Path,
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        figures = abuse_a_service(make_site(tmp_path / "site"), SHORT)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert figures.violations == []
    assert figures.bad_inputs > len(ALL) + SHORT.forged
    assert figures.honest > 20
    assert figures.rejected_files > 200
