"""`spooler pause` and, in test_cli_resume.py, `spooler resume`."""

from pathlib import Path

import pytest
from commands import make_spool, put, spooler
from conftest import write_config
from running_service import make_site, running, wait_until

from spooler.state import State


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, webhooks=["crm", "shop"])


def test_all_webhooks_are_paused_where_none_is_named_and_it_says_what_it_did(config: Path) -> None:
    for webhook in ("crm", "shop"):
        make_spool(config, webhook)
    assert spooler(config, "pause", "shop").out == "shop: paused\n"
    assert not make_spool(config).paused
    ended = spooler(config, "pause")
    assert (ended.status, ended.out) == (0, "crm: paused\nshop: was paused already\n")


def test_an_unknown_webhook_is_told_with_the_known_ones(config: Path) -> None:
    ended = spooler(config, "pause", "x")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "there is no webhook 'x'; the configuration has: crm, shop" in ended.err


def test_a_running_processor_is_held_and_goes_on(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with running(site, "process") as service:
        assert spooler(site.config_file, "pause", "crm").status == 0
        put(make_spool(site.config_file), State.INCOMING, "a")
        service.wait_for("reason=paused")
        assert len(site.files("incoming")) == 1
        assert spooler(site.config_file, "resume").out == "crm: goes on\n"
        wait_until(lambda: site.files("done"))
