"""Sudden ends of any of the processes at any moment: what was answered with 200 is there, once, and whole."""

import random
from pathlib import Path

import random_kills


def test_no_kill_loses_repeats_or_tears_what_was_answered_with_200(tmp_path: Path) -> None:
    rounds = list(random_kills.play(tmp_path / "site", 6, random.Random()))[-1]
    assert rounds is not None
    assert rounds.violations == []
    assert rounds.confirmed > 50
