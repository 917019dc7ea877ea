"""`spooler resume`; with a processor in test_cli_pause.py."""

from pathlib import Path

from commands import make_spool, spooler
from conftest import write_config


def test_what_is_paused_goes_on_and_what_is_not_is_said(tmp_path: Path) -> None:
    config = write_config(tmp_path, webhooks=["crm", "shop"])
    spool = make_spool(config)
    make_spool(config, "shop")
    spool.pause()
    ended = spooler(config, "resume")
    assert (ended.status, ended.out) == (0, "crm: goes on\nshop: was not paused\n")
    assert not spool.paused
    assert spooler(config, "resume", "x").status == 2
