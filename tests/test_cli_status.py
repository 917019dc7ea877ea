"""`spooler status`: counts, ages and the disk, services up or down."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from commands import STATUS, make_spool, put, run_line, spooler
from conftest import write_config
from running_service import make_body, make_site, post, running, wait_until

from spooler.state import State


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, webhooks=["crm", "shop"])


def test_before_the_first_start_everything_is_nothing_and_nothing_is_made(config: Path) -> None:
    (config.parent / "spool").mkdir()  # as `init` and `install` make it
    ended = spooler(config, "status", "--json")
    (found,) = ended.lines(STATUS)
    assert (ended.status, ended.err) == (0, "")
    assert found["webhooks"].keys() == {"crm", "shop"}
    assert found["webhooks"]["crm"] == {
        "states": dict.fromkeys(State, 0),
        "oldest_seconds": None,
        "last_received": None,
        "received_last_hour": 0,
        "failures_today": 0,
        "paused": False,
        "held": None,
    }
    assert list((config.parent / "spool").iterdir()) == []


def test_each_webhook_is_told_with_counts_ages_and_what_holds_it(config: Path) -> None:
    spool = make_spool(config)
    put(spool, State.INCOMING, "a", age=100)
    put(spool, State.RETRY, "b", age=200)
    put(spool, State.DONE, "c", age=7200, day="2026-11-23")
    put(spool, State.FAILED, "d", age=50, lines=[run_line()])
    (spool.base / "paused").touch()
    (found,) = spooler(config, "status", "--json").lines(STATUS)
    crm = found["webhooks"]["crm"]
    assert crm["states"] == dict.fromkeys(map(str, State), 0) | {
        "incoming": 1,
        "retry": 1,
        "done": 1,
        "failed": 1,
    }
    assert 200 <= crm["oldest_seconds"] < 260
    assert (crm["received_last_hour"], crm["failures_today"]) == (3, 1)
    assert (crm["paused"], crm["held"]) == (True, "paused")
    assert found["disk"]["shortage"] is None

    shown = spooler(config, "status").out
    assert "crm is held back: paused" in shown
    assert "disk: " in shown
    assert len({line.split()[0] for line in shown.splitlines()} & {"crm", "shop"}) == 2
    assert "\x1b" not in shown


def test_a_missing_folder_of_scripts_is_said_to_hold_the_webhook_back(config: Path) -> None:
    (config.parent / "processors").rmdir()
    make_spool(config)
    (found,) = spooler(config, "status", "--json").lines(STATUS)
    assert found["webhooks"]["shop"]["held"].endswith("processors, doesn't exist")


def test_it_tells_the_same_beside_running_services(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with running(site) as service:
        assert post(service.address, make_body()).status == 200
        wait_until(lambda: site.files("done"))
        (found,) = spooler(site.config_file, "status", "--json").lines(STATUS)
    assert found["webhooks"]["crm"]["states"]["done"] == 1
    assert found["webhooks"]["crm"]["received_last_hour"] == 1


def test_a_folder_that_cannot_be_read_is_one_line(config: Path) -> None:
    spool = make_spool(config)
    spool.folder(State.FAILED).rmdir()
    spool.folder(State.FAILED).touch()
    ended = spooler(config, "status")
    assert (ended.status, ended.err.count("\n")) == (1, 1)
    assert ended.err == f"spooler: {spool.folder(State.FAILED)}: Not a directory\n"


@pytest.mark.parametrize("columns", [30, 60, 80, 100, 120, 200])
def test_no_number_and_no_heading_is_broken_however_narrow_the_terminal(config: Path, columns: int) -> None:
    spool = make_spool(config)
    for number in range(1234):
        (spool.folder(State.FAILED) / f"{number}.json").touch()
    put(spool, State.DONE)
    shown = on_a_terminal_of(config, columns)
    for whole in (
        "1,234",
        "processing",
        "failed today",
        "oldest waiting",
        "last received",
        "in the last hour",
    ):
        assert whole in shown
    assert all(len(line) <= max(columns, 60) for line in shown.splitlines() if not line.startswith("disk"))
    assert {"crm", "shop"} <= {line.split()[0] for line in shown.splitlines() if line.split()}


def on_a_terminal_of(config: Path, columns: int) -> str:
    """Return what `status` shows on a terminal of so many columns, without colours."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (40, columns))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    line = [sys.executable, "-m", "spooler", "status", "--config", str(config)]
    with subprocess.Popen(line, stdin=slave, stdout=slave, env=environment | {"TERM": "xterm"}):
        os.close(slave)
        shown = b""
        with suppress(OSError):  # Linux' way to say that nobody has the other end any more
            while piece := os.read(master, 4096):
                shown += piece
    os.close(master)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())


def test_a_webhook_that_cannot_be_looked_at_hides_no_other(config: Path) -> None:
    put(make_spool(config, "shop"), State.FAILED, "a")
    odd = make_spool(config).folder(State.RETRY)
    odd.rmdir()
    odd.touch()
    for arguments in (["status", "--json"], ["status"]):
        ended = spooler(config, *arguments)
        assert (ended.status, ended.err) == (1, f"spooler: {odd}: Not a directory\n")
        assert "shop" in ended.out
    assert json.loads(spooler(config, "status", "--json").out)["webhooks"]["shop"]["states"]["failed"] == 1
