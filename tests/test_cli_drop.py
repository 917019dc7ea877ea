"""`spooler drop`: a person's decision that nothing is run any more."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import in_process, make_spool, put, run_line, spooler
from conftest import write_config
from running_service import make_site, running, wait_until

from spooler import history
from spooler.state import State


@pytest.mark.parametrize("state", [State.FAILED, State.RETRY])
def test_it_ends_in_done_and_the_log_says_who_did_it(tmp_path: Path, state: State) -> None:
    config = write_config(tmp_path)
    spool = make_spool(config)
    path = put(spool, state, "a", lines=[run_line()])
    ended = spooler(config, "drop", "a")
    assert (ended.status, ended.out, ended.err) == (0, f"dropped: {path.name}\n", "")
    (done,) = spool.folder(State.DONE).rglob("*.json")
    assert done.name == path.name
    assert history.read(done.with_suffix(".log"))[-1]["note"].startswith("dropped, by ")


def test_nothing_else_can_be_dropped(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    put(make_spool(config), State.INCOMING, "a")
    ended = spooler(config, "drop", "a", "b")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines() == [
        "spooler: 'a' is in incoming/; looked for in failed/, retry/",
        "spooler: no notification has an ID that begins with 'b'; looked for in failed/, retry/",
    ]


def test_several_of_standard_input_are_asked_for(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    spool = make_spool(config)
    put(spool, State.FAILED, "a")
    put(spool, State.RETRY, "b")
    assert spooler(config, "drop", "-", given="a\nb\n").err.startswith("spooler: nothing was done yet: 2 ")
    assert spooler(config, "drop", "-", "--yes", given="a\r\n \n\nb").out == "2 notifications dropped\n"


def test_a_line_of_standard_input_is_one_name_whatever_blanks_it_holds(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    spool = make_spool(config)
    bystander = put(spool, State.FAILED, "a")
    copies = [
        put(spool, State.FAILED, "b").rename(bystander.with_name(name))
        for name in (f"Copy of {bystander.name}", f"by\x0b{bystander.name}", f"\udcff {bystander.name}")
    ]
    given = b"\n".join(map(os.fsencode, copies)) + b"\n"
    ended = in_process(["drop", "-", "--yes", "--config", str(config)], given=given)
    assert (ended.status, ended.out, ended.err) == (0, "3 notifications dropped\n", "")
    assert list(spool.folder(State.FAILED).glob("*.json")) == [bystander]

    ended = spooler(config, "drop", "-", "--yes", given=f"{bystander.name} {bystander.name}\n")
    assert (ended.status, ended.out) == (1, "")
    assert bystander.exists()


def test_beside_a_processor_neither_it_nor_a_repeat_of_it_is_run(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", processor='retry_delays = ["1h"]')
    site.script(f'#!/bin/sh\necho "$SPOOLER_ID" >> {tmp_path}/ran\nexit 75')
    with running(site, "process"):
        spool = make_spool(site.config_file)
        put(spool, State.INCOMING, "a", contact=1, age=60)
        wait_until(lambda: site.files("retry"))
        put(spool, State.INCOMING, "a", contact=1, age=30)  # the sender's repeat waits behind it
        put(spool, State.INCOMING, "b", contact=1, age=20)
        assert spooler(site.config_file, "drop", "a").status == 0
        wait_until(lambda: len(site.files("retry")) == 1)
        assert (tmp_path / "ran").read_text().split() == ["a", "b"]
        dropped, repeat = site.files("done")
    assert "a repeat of " + dropped.name in repeat.with_suffix(".log").read_text()


_JOURNAL = Path("/dev/log")


@pytest.fixture
def journal() -> Iterator[socket.socket]:
    """Stand where the journal takes what syslog(3) writes."""
    if _JOURNAL.exists() or os.geteuid() != 0:
        pytest.skip("there is a journal already, or nobody may stand in for it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taken:
        taken.settimeout(10)
        taken.bind(str(_JOURNAL))
        _JOURNAL.chmod(0o666)
        try:
            yield taken
        finally:
            _JOURNAL.unlink()


def test_the_journal_tells_who_dropped_it_by_its_id(tmp_path: Path, journal: socket.socket) -> None:
    config = write_config(tmp_path)
    path = make_spool(config).path(State.FAILED, "by\nhand.json")
    path.write_text('{"EventUniqueID": "id-of-mine"}')
    assert spooler(config, "drop", "id-of-mine").status == 0
    while "id=id-of-mine" not in (said := journal.recv(4096).decode()):
        pass  # of a test beside this one
    head, _, told = said.partition("level=info ")
    assert "spooler[" in head
    assert told.startswith(r"event=dropped webhook=crm id=id-of-mine file=")
    assert "\n" not in told
