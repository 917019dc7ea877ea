"""The status as values; as it is printed in test_cli_status.py."""

from datetime import timedelta
from pathlib import Path

from commands import make_spool, put
from conftest import write_config

from spooler import config, status
from spooler.cli import moving
from spooler.state import State


def test_ages_count_from_the_look_and_a_stamp_that_is_yet_to_come_makes_none_negative(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    spool = make_spool(path)
    put(spool, State.INCOMING, age=90.5)
    one = status.of_webhook(config.load(path), spool, moving.Unreadable())
    assert (one.oldest_seconds, one.last_received_seconds) == (90.5, 90.5)
    put(spool, State.DONE, age=-timedelta(hours=1).total_seconds())
    one = status.of_webhook(config.load(path), spool, moving.Unreadable())
    assert one.last_received_seconds == 90.5


def test_a_full_disk_is_said_in_so_many_words(tmp_path: Path) -> None:
    path = write_config(tmp_path, '[receiver]\nmin_free = "999TiB"\n')
    assert "min_free is 999.0 TiB" in status.of_disk(config.load(path))["shortage"]
