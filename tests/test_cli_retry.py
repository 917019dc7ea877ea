"""`spooler retry`: by IDs, by what they are, by hand, against whoever else moves files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import entry_schema, make_spool, on_a_terminal, put, run_line, spooler
from conftest import NOBODY, write_config
from running_service import make_site, running, wait_until

from spooler.person import PersonsSpool
from spooler.state import State


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, webhooks=["crm", "shop"])


@pytest.fixture
def spool(config: Path) -> PersonsSpool:
    return make_spool(config)


def names(spool: PersonsSpool, state: State) -> list[str]:
    return sorted(path.name for path in spool.folder(state).rglob("*.json"))


def test_a_failed_one_goes_back_under_its_name_with_a_note_and_no_question(
    config: Path, spool: PersonsSpool
) -> None:
    path = put(spool, State.FAILED, "abc-1", lines=[run_line()])
    ended = spooler(config, "retry", "abc")
    assert (ended.status, ended.out, ended.err) == (0, f"back in incoming/: {path.name}\n", "")
    lines = spool.log_lines(State.INCOMING, path.name)
    assert lines[-1]["anew"] is True
    assert "retry, by " in lines[-1]["note"]


def test_one_that_is_done_goes_back_only_when_that_is_said(config: Path, spool: PersonsSpool) -> None:
    put(spool, State.DONE, "abc-1")
    refused = spooler(config, "retry", "abc")
    assert refused.status == 1
    assert refused.err == "spooler: 'abc' is in done/; looked for in failed/\n"
    assert spooler(config, "retry", "abc", "--done").status == 0
    assert len(names(spool, State.INCOMING)) == 1


def test_of_several_ids_the_good_ones_go_and_the_others_are_told(config: Path, spool: PersonsSpool) -> None:
    for identifier in ("a-1", "a-2", "b-1"):
        put(spool, State.FAILED, identifier)
    ended = spooler(config, "retry", "a", "zz", "b-1")
    assert ended.status == 1
    assert ended.out.count("back in incoming/") == 1
    assert ended.err.splitlines() == [
        "spooler: no notification has an ID that begins with 'zz'; looked for in failed/",
        "spooler: 'a' may be any of: a-1, a-2",
    ]
    assert len(names(spool, State.FAILED)) == 2


def test_all_of_a_kind_go_and_nothing_else(config: Path, spool: PersonsSpool) -> None:
    put(spool, State.FAILED, "old", type_="optout", age=9000)
    put(spool, State.FAILED, "other")
    for number in range(3):
        put(spool, State.FAILED, f"id-{number}", type_="optout")
    arguments = ["retry", "--all", "--type", "optout", "--since", "1h"]
    dry = spooler(config, *arguments, "--dry-run")
    assert (dry.status, dry.err) == (0, "")
    assert dry.out == "would be done: 3 notifications of failed/ back to incoming/\n"
    asked = spooler(config, *arguments)
    assert (asked.status, asked.out) == (1, "")
    assert asked.err == (
        "spooler: nothing was done yet: 3 notifications of failed/ back to incoming/; "
        "add --yes to do it, --dry-run to look\n"
    )
    assert names(spool, State.INCOMING) == []
    ended = spooler(config, *arguments, "--yes")
    assert (ended.status, ended.out, ended.err) == (0, "3 notifications back in incoming/\n", "")
    assert len(names(spool, State.INCOMING)) == 3
    assert len(names(spool, State.FAILED)) == 2
    ended = spooler(config, *arguments, "--yes")
    assert (ended.status, ended.out, ended.err) == (0, "nothing of that kind is in failed/\n", "")


def test_on_a_terminal_it_asks(config: Path, spool: PersonsSpool) -> None:
    for number in range(120):
        put(spool, State.FAILED, f"id-{number}")
    no = on_a_terminal(config, "retry", "--all", typed="n\n")
    assert (no.status, no.out) == (1, "")
    assert "120 notifications of failed/ back to incoming/. Go on? [y/N]" in no.err
    assert "nothing was done" in no.err
    assert len(names(spool, State.FAILED)) == 120
    yes = on_a_terminal(config, "retry", "--all", typed="y\n")
    assert (yes.status, yes.out) == (0, "120 notifications back in incoming/\n")
    assert len(names(spool, State.INCOMING)) == 120


def test_ids_come_from_standard_input_too(config: Path, spool: PersonsSpool) -> None:
    for number in range(3):
        put(spool, State.FAILED, f"id-{number}")
    assert spooler(config, "retry", "-", given="id-0\nid-1\n").status == 1
    assert len(names(spool, State.FAILED)) == 3
    assert spooler(config, "retry", "-", given="id-0\n").status == 0
    ended = spooler(config, "retry", "-", "--yes", given="id-1\nid-2\n\n")
    assert (ended.status, ended.out) == (0, "2 notifications back in incoming/\n")


@pytest.mark.parametrize(
    "wrong", [["retry"], ["retry", "a", "--all"], ["retry", "a", "--type", "t"], ["retry", ""]]
)
@pytest.mark.usefixtures("spool")
def test_a_mistake_is_one_line_and_ends_with_2(config: Path, wrong: list[str]) -> None:
    ended = spooler(config, *wrong)
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)


def test_an_id_in_two_webhooks_needs_the_webhook(config: Path, spool: PersonsSpool) -> None:
    put(spool, State.FAILED, "a")
    put(make_spool(config, "shop"), State.FAILED, "a")
    ended = spooler(config, "retry", "a")
    assert (ended.status, ended.err) == (
        1,
        "spooler: 'a' is there in several webhooks (crm, shop): add --webhook NAME\n",
    )
    assert spooler(config, "retry", "a", "--webhook", "shop").status == 0
    assert len(names(spool, State.FAILED)) == 1


def test_what_people_named_goes_back_in_order_of_receipt_too(config: Path, spool: PersonsSpool) -> None:
    now = spool.clock.now().timestamp()
    for age, name in ((30, "z-older.json"), (10, "a-younger.json")):
        path = put(spool, State.FAILED, name[0], contact=7).rename(spool.path(State.FAILED, name))
        os.utime(path, (now - age, now - age))
    between = put(spool, State.FAILED, "between", contact=7, age=20).name
    ended = spooler(config, "retry", "a-younger.json", "between", "z-older.json")
    assert ended.out.splitlines() == [
        f"back in incoming/: {name}" for name in ("z-older.json", between, "a-younger.json")
    ]


def test_a_running_processor_runs_all_scripts_again_in_order_of_receipt(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", processor="retry_delays = []")
    site.script(
        f'#!/bin/sh\necho "$SPOOLER_ID $SPOOLER_ATTEMPT" >> {tmp_path}/ran\nexec test -e {tmp_path}/well'
    )
    with running(site, "process"):
        spool = make_spool(site.config_file)
        for number in range(20):
            put(spool, State.INCOMING, f"id-{number:02}", age=60 - number)
        wait_until(lambda: len(site.files("failed")) == 20)
        (tmp_path / "well").touch()
        (tmp_path / "ran").unlink()
        assert spooler(site.config_file, "retry", "--all", "--yes").out.startswith("20 ")
        wait_until(lambda: len(site.files("done")) == 20)
        assert (tmp_path / "ran").read_text().splitlines() == [f"id-{number:02} 1" for number in range(20)]
        assert site.files("failed") == site.files("incoming") == []
        # And once more, though they are finished: what a person puts back is no repeat.
        ended = spooler(site.config_file, "retry", "id-07", "--done")
        assert ended.status == 0
        wait_until(lambda: len(site.files("done")) == 20 and not site.files("incoming"))
        assert (tmp_path / "ran").read_text().splitlines()[-1] == "id-07 1"
        (shown,) = spooler(site.config_file, "show", "id-07", "--json").lines(
            entry_schema(State.DONE, shown=True)
        )
    assert [line.get("exit", line.get("anew")) for line in shown["history"]][-4:] == [True, 0, True, 0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_what_root_moves_still_belongs_to_the_service(open_to_all: Path) -> None:
    config = write_config(open_to_all)
    spool = make_spool(config)
    path = put(spool, State.FAILED, "a")
    put(spool, State.FAILED, "b")
    for place in (spool.root, *spool.root.rglob("*")):
        os.chown(place, NOBODY, NOBODY)
    assert spooler(config, "retry", "a").status == 0
    assert spooler(config, "drop", "b").status == 0
    assert spooler(config, "pause").status == 0
    made = [place for place in spool.root.rglob("*") if place.stat().st_uid != NOBODY]
    assert made == []
    assert spool.path(State.INCOMING, path.name).with_suffix(".log").exists()

    shutil.chown(spool.folder(State.INCOMING), 0, 0)
    put(spool, State.FAILED, "c")
    ended = spooler(config, "retry", "c")
    assert ended.status == 1
    assert "c_contact_modified.json: can't be moved: Permission denied" in ended.err
    assert json.loads(spooler(config, "status", "--json").out)["webhooks"]["crm"]["states"]["failed"] == 1


def test_ids_as_they_are_listed_are_taken_whoever_named_the_file(config: Path, spool: PersonsSpool) -> None:
    put(spool, State.FAILED, "a")
    put(spool, State.FAILED, "b").rename(spool.path(State.FAILED, "hand.json"))
    listed = [json.loads(line)["id"] for line in spooler(config, "list", "failed", "--json").out.splitlines()]
    ended = spooler(config, "retry", "-", "--yes", given="\n".join(listed))
    assert (ended.status, ended.out, ended.err) == (0, "2 notifications back in incoming/\n", "")


def test_one_that_cannot_be_read_is_told_once_and_keeps_no_other(config: Path, spool: PersonsSpool) -> None:
    huge = spool.path(State.FAILED, "0.json")
    huge.touch()
    os.truncate(huge, 65 << 20)
    put(spool, State.FAILED, "a")
    ended = spooler(config, "retry", "--all", "--type", "contact_modified", "--yes")
    assert (ended.status, ended.out) == (1, "1 notification back in incoming/\n")
    assert ended.err.splitlines() == [f"spooler: {huge}: can't be read: larger than 64.0 MiB"]
    assert names(spool, State.FAILED) == ["0.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_where_one_after_another_fails_alike_it_stops_and_says_what_to_do(open_to_all: Path) -> None:
    config = write_config(open_to_all)
    spool = make_spool(config)
    for number in range(50):
        put(spool, State.FAILED, f"id-{number}", lines=[run_line()])
    for place in (spool.root, *spool.root.rglob("*")):
        os.chown(place, *((0, 0) if place.suffix == ".log" else (NOBODY, NOBODY)))
        if place.suffix == ".log":
            place.chmod(0o600)
    ended = spooler(config, "retry", "--all", "--yes")
    said = ended.err.splitlines()
    assert (ended.status, ended.out, len(said)) == (1, "0 notifications back in incoming/\n", 4)
    assert said[-1].endswith(f"chown -R --reference={spool.base} {spool.base}")
    subprocess.run(said[-1].rpartition(": ")[2].split(), check=True)
    assert spooler(config, "retry", "--all", "--yes").out == "50 notifications back in incoming/\n"


def test_of_a_folder_that_cannot_be_read_it_is_not_said_that_nothing_is_there(
    config: Path, spool: PersonsSpool
) -> None:
    folder = spool.folder(State.FAILED)
    folder.rmdir()
    folder.symlink_to(folder.name)  # a circle, which stops root as well
    ended = spooler(config, "retry", "--all", "--yes")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == f"spooler: {folder}: can't be read: Too many levels of symbolic links\n"


def test_who_stops_reading_does_not_stop_the_rest(config: Path, spool: PersonsSpool) -> None:
    for number in range(3):
        put(spool, State.FAILED, f"abc-{number}")
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "spooler", "retry", "abc-0", "abc-1", "abc-2", "--config", str(config)]
    ended = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert b"Traceback" not in ended.stderr
    assert len(names(spool, State.INCOMING)) == 3


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_one_that_is_named_in_several_ways_is_moved_once(
    config: Path, spool: PersonsSpool, command: str
) -> None:
    path = put(spool, State.FAILED, "abc-1")
    ended = spooler(config, command, "abc", "abc-1", path.name, str(path))
    assert (ended.status, ended.err, len(ended.out.splitlines())) == (0, "", 1)
