"""`spooler list`: what is there, with which filters, for people and for programs."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from commands import entry_schema, make_spool, put, run_line, spooler
from conftest import write_config

from spooler import history
from spooler.person import PersonsSpool
from spooler.state import State


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, webhooks=["crm", "shop"])


@pytest.fixture
def spool(config: Path) -> PersonsSpool:
    return make_spool(config)


@pytest.mark.parametrize("state", State)
def test_every_state_is_listed_with_the_members_of_the_contract(
    config: Path, spool: PersonsSpool, state: State
) -> None:
    path = put(spool, state, "a", contact=550012, lines=[run_line(), run_line(attempt=2)])
    os.utime(path, (1e9, 1e9))
    (found,) = spooler(config, "list", state, "--json").lines(entry_schema(state))
    expected = {
        "webhook": "crm",
        "state": state.value,
        "file": str(path),
        "id": "a",
        "type": "contact_modified",
        "contact": None if state is State.REJECTED else "550012",
        "received": history.iso(spool.clock.now()),
        "attempts": 2,
    }
    assert found == expected | ({"due": "2001-09-09T01:46:40.000000Z"} if state is State.RETRY else {})


def test_people_see_what_the_log_says_last(config: Path, spool: PersonsSpool) -> None:
    put(spool, State.FAILED, "a", lines=[run_line(65, "the CRM\nknows \x1b[31mno such contact")])
    ended = spooler(config, "list", "failed")
    head, row = ended.out.splitlines()
    assert head.split()[:3] == ["received", "id", "type"]
    assert row.endswith(r"crm: attempt 1, 10-crm: exit 65: the CRM knows \x1b[31mno such contact")


def test_the_oldest_comes_first_and_done_goes_day_by_day(config: Path, spool: PersonsSpool) -> None:
    for age, day in ((10, "2026-11-23"), (30, "2026-11-22"), (20, "2026-11-23")):
        put(spool, State.DONE, f"a-{age}", age=age, day=day)
    found = spooler(config, "list", "done", "--json").lines(entry_schema(State.DONE))
    assert [one["id"] for one in found] == ["a-30", "a-20", "a-10"]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        (["--type", "optout"], ["b", "d"]),
        (["--contact", "2"], ["b", "c"]),
        (["--contact", "2", "--type", "optout"], ["b"]),
        (["--since", "90s"], ["c", "d"]),
        (["--since", "2000-01-01"], ["a", "b", "c", "d"]),
        (["--since", "2999-01-01T00:00Z"], []),
        (["--webhook", "shop"], ["d"]),
    ],
)
def test_filters_say_what_is_meant(
    config: Path, spool: PersonsSpool, filters: list[str], ids: list[str]
) -> None:
    put(spool, State.FAILED, "a", type_="x", contact=1, age=200)
    put(spool, State.FAILED, "b", type_="optout", contact=2, age=120)
    put(spool, State.FAILED, "c", type_="x", contact=2, age=50)
    put(make_spool(config, "shop"), State.FAILED, "d", type_="optout", contact=3, age=10)
    found = spooler(config, "list", "failed", *filters, "--json").lines(entry_schema(State.FAILED))
    assert [one["id"] for one in found] == ids


def test_a_file_that_a_person_named_is_listed_by_what_its_body_says(
    config: Path, spool: PersonsSpool
) -> None:
    named = spool.path(State.INCOMING, "again \x1b[31m.json")
    named.write_text('{"EventUniqueID": "a", "Type": "optout", "ContactID": {"idContact": "x-1"}}')
    os.utime(named, (1e9, 1e9))
    (found,) = spooler(config, "list", "incoming", "--type", "optout", "--json").lines(
        entry_schema(State.INCOMING)
    )
    assert (found["id"], found["type"], found["contact"]) == ("a", "optout", "x-1")
    assert (found["file"], found["received"]) == (str(named), "2001-09-09T01:46:40.000000Z")
    assert spooler(config, "list", "incoming", "--type", "other", "--json").out == ""


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["nowhere"], "'nowhere' is not one of 'incoming'"),
        (["failed", "--since", "yesterday"], "'yesterday' is neither a duration nor a date; write 2h"),
        (["failed", "--webhook", "x"], "there is no webhook 'x'; the configuration has: crm, shop"),
    ],
)
def test_a_mistake_is_one_line_and_ends_with_2(config: Path, wrong: list[str], says: str) -> None:
    ended = spooler(config, "list", *wrong)
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert says in ended.err


def test_a_reader_that_has_seen_enough_ends_it_in_order(config: Path, spool: PersonsSpool) -> None:
    import subprocess
    import sys

    for number in range(2000):
        put(spool, State.DONE, f"id-{number}", age=number * timedelta(seconds=1).total_seconds())
    line = f"{sys.executable} -m spooler list done --config {config} | head -n 1; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["/bin/bash", "-c", line], capture_output=True, text=True, check=True, timeout=60)
    assert ended.stdout.startswith("received")
    assert ended.stdout.endswith("\n0\n")
    assert ended.stderr == ""


@pytest.mark.parametrize("filters", [[], ["--type", "contact_modified"], ["--contact", "1"]])
def test_what_cannot_be_read_is_told_and_hides_nothing_after_it(
    config: Path, spool: PersonsSpool, filters: list[str]
) -> None:
    huge = spool.path(State.FAILED, "0.json")
    huge.touch()
    os.truncate(huge, 65 << 20)
    os.utime(huge, (0, 0))
    put(spool, State.FAILED, "a", age=9).with_suffix(".log").mkdir()
    os.mkfifo(put(spool, State.FAILED, "b", age=8).with_suffix(".log"))
    put(spool, State.FAILED, "c")
    ended = spooler(config, "list", "failed", "--json", *filters)
    assert [one["id"] for one in ended.lines(entry_schema(State.FAILED))] == ["c"]
    assert ended.status == 1
    said = ended.err.splitlines()
    assert len(said) == 3
    assert said[0].endswith("0.json: can't be read: larger than 64.0 MiB")
    assert all("can't be read" in line for line in said)
