"""Whoever reads a command's output may stop at any line: that ends the reading, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import make_spool, put, spooler
from conftest import write_config
from running_service import KEY, OTHER_KEY, call, make_body, make_site, public_pem, signed

from spooler.receiver import Receiver
from spooler.state import State


def unread(config: Path, *arguments: str, errors: bool = False) -> int:
    """Run a command whose output nobody reads, nor its errors if `errors`; return its exit status."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run(
        [sys.executable, "-m", "spooler", *arguments],
        env={**os.environ, "SPOOLER_CONFIG": str(config)},
        stdout=write_end,
        stderr=write_end if errors else subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write_end)
    if not errors:
        assert ended.stderr == ""
    return ended.returncode


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, webhooks=["crm", "erp"])


@pytest.mark.parametrize("command", ["status", "check", "metrics", "--help", "list --help", "list failed"])
def test_a_command_that_reads_ends_in_order(config: Path, command: str) -> None:
    make_spool(config)
    assert unread(config, *command.split()) == 0


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_all_webhooks_are_held_back_and_let_go_all_the_same(config: Path, command: str) -> None:
    spools = [make_spool(config, webhook) for webhook in ("crm", "erp")]
    if command == "resume":
        spooler(config, "pause")
    assert unread(config, command) == 0
    assert [spool.paused for spool in spools] == [command == "pause"] * 2


@pytest.mark.parametrize("errors", [False, True])
def test_on_a_full_disk_all_is_done_though_nothing_can_be_said_of_it(config: Path, *, errors: bool) -> None:
    spools = [make_spool(config, webhook) for webhook in ("crm", "erp")]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "spooler", "pause", "--config", str(config)],
            stdout=full,
            stderr=full if errors else subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 0
    assert [spool.paused for spool in spools] == [True, True]
    if not errors:
        said = "spooler: standard output can't be written, and is left out: No space left on device\n"
        assert ended.stderr == said


def test_what_cannot_be_moved_and_what_is_told_of_it_stops_nothing(config: Path) -> None:
    spool = make_spool(config)
    put(spool, State.FAILED, "a", age=9).with_suffix(".log").mkdir()
    put(spool, State.FAILED, "b")
    assert unread(config, "retry", "a", "b", "nobody", errors=True) == 1
    assert len(list(spool.folder(State.INCOMING).glob("*.json"))) == 1


def test_what_is_authentic_is_readmitted_though_nobody_reads_what_stays(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    site.key_file.write_bytes(public_pem(OTHER_KEY))
    forged, authentic = make_body(1), make_body(2)
    receiver = Receiver(site.configuration())
    call(receiver, forged, signed(make_body(3)))
    call(receiver, authentic, signed(authentic, KEY))
    site.key_file.write_bytes(public_pem(KEY))
    assert unread(site.config_file, "readmit", "--yes") == 0
    assert [path.read_bytes() for path in site.files("incoming")] == [authentic]
    assert [path.read_bytes() for path in site.files("rejected")] == [forged]
