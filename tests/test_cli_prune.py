"""`spooler prune`: what the retention lets go, and nothing else."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import as_its_owner, make_spool, on_a_terminal, put, run_line, spooler
from conftest import give_to_nobody, tree, write_config
from running_service import make_body, make_site, post, running, wait_until

from spooler import history
from spooler.person import PersonsSpool
from spooler.state import State

DAY = 86400
RETENTION = '[retention]\ndone = "3d"\nfailed = "10d"\nrejected = "2d"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, RETENTION)


@pytest.fixture
def spool(config: Path) -> PersonsSpool:
    return make_spool(config)


def day(ago: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=ago):%Y-%m-%d}"


def left(spool: PersonsSpool) -> set[str]:
    return {path.name.split("_")[1] for path in spool.base.rglob("*.json")}


def at(seconds_ago: float) -> list[history.Line]:
    return [history.note(datetime.now(UTC) - timedelta(seconds=seconds_ago), "given up")]


def test_each_state_keeps_what_its_retention_says(config: Path, spool: PersonsSpool) -> None:
    for ago in (0, 1, 2, 3, 4, 5):
        put(spool, State.DONE, f"done-{ago}", age=ago * DAY, day=day(ago), lines=[run_line()])
    put(spool, State.FAILED, "failed-11", age=11 * DAY, lines=at(11 * DAY))
    put(spool, State.FAILED, "received-11-failed-9", age=11 * DAY, lines=at(9 * DAY))
    put(spool, State.FAILED, "failed-no-log", age=12 * DAY)
    put(spool, State.REJECTED, "x-3", age=3 * DAY, lines=at(3 * DAY))
    put(spool, State.REJECTED, "x-1", age=1 * DAY, lines=at(1 * DAY))
    for state in (State.INCOMING, State.PROCESSING, State.RETRY):
        put(spool, state, f"{state}-99", age=99 * DAY, lines=at(99 * DAY))
    before = tree(spool.base)
    dry = spooler(config, "prune", "--dry-run")
    text = "remove 5 notifications (crm: 2 of done/; crm: 2 of failed/; crm: 1 of rejected/)"
    assert (dry.status, dry.out, dry.err) == (0, f"would be done: {text}\n", "")
    refused = spooler(config, "prune")
    assert (refused.status, refused.err) == (
        1,
        f"spooler: nothing was done yet: {text}; add --yes to do it, --dry-run to look\n",
    )
    assert tree(spool.base) == before
    ended = spooler(config, "prune", "--yes")
    assert (ended.status, ended.out, ended.err) == (0, "5 notifications removed\n", "")
    assert left(spool) == {
        *("done-0", "done-1", "done-2", "done-3"),
        *("received-11-failed-9", "x-1", "incoming-99", "processing-99", "retry-99"),
    }
    assert spool.days() == [day(3), day(2), day(1), day(0)]
    logs = {path.with_suffix("").name for path in spool.base.rglob("*.log")}
    assert logs <= {path.with_suffix("").name for path in spool.base.rglob("*.json")}


def test_never_is_never_and_is_the_rule_for_what_failed(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    spool = make_spool(config)
    put(spool, State.FAILED, "a", age=5000 * DAY)
    assert spooler(config, "prune", "--yes").out == "0 notifications removed\n"
    assert left(spool) == {"a"}


def test_empty_days_and_logs_of_nothing_go_too(config: Path, spool: PersonsSpool) -> None:
    for ago in (0, 1, 2):
        (spool.folder(State.DONE) / day(ago)).mkdir()
    for folder, age in ((State.FAILED, 11 * DAY), (State.FAILED, DAY), (State.REJECTED, 3 * DAY)):
        log = spool.folder(folder) / f"gone-{age}.log"
        log.touch()
        os.utime(log, (datetime.now(UTC).timestamp() - age,) * 2)
    assert spooler(config, "prune", "--yes").status == 0
    assert spool.days() == [day(0)]
    assert [path.name for path in spool.base.rglob("*.log")] == [f"gone-{DAY}.log"]


def test_what_a_person_made_in_done_is_left(config: Path, spool: PersonsSpool) -> None:
    for name in ("2026-02-31", "kept", "20200101"):
        folder = spool.folder(State.DONE) / name
        folder.mkdir()
        (folder / "a.json").touch()
    theirs = put(spool, State.DONE, day="2020-01-01").parent / "folder"
    theirs.mkdir()
    for said in ("1 notification removed\n", "0 notifications removed\n"):
        ended = spooler(config, "prune", "--yes")
        assert (ended.status, ended.out) == (0, said)
        assert ended.err == f"spooler: {theirs}: stays: spooler removes no folder that it didn't make\n"
    assert {path.name for path in spool.folder(State.DONE).iterdir()} == {
        *("2026-02-31", "kept", "20200101", "2020-01-01")
    }


def test_as_many_are_removed_as_were_said_to_be(config: Path, spool: PersonsSpool) -> None:
    put(spool, State.DONE, day="2020-01-01")
    folder = spool.folder(State.DONE) / "2020-01-01"
    (folder / ".hidden.json").touch()
    (folder / "link.json").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.json")
    assert spooler(config, "prune", "--dry-run").out == (
        "would be done: remove 1 notification (crm: 1 of done/)\n"
    )
    assert spooler(config, "prune", "--yes").out == "1 notification removed\n"
    assert spool.days() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files that others can't read")
def test_what_cannot_be_read_is_told_once_and_left_and_all_others_go(open_to_all: Path) -> None:
    config = write_config(open_to_all, RETENTION)
    spool = make_spool(config)
    put(spool, State.DONE, "done", day="2020-01-01")
    day = put(spool, State.DONE, "in a closed day", day="2020-01-02").parent
    for identifier in ("a", "roots", "folder", "z"):
        lines = [] if identifier == "folder" else at(11 * DAY)
        path = put(spool, State.FAILED, identifier, age=11 * DAY, lines=lines)
        if identifier == "roots":
            roots = path.with_suffix(".log")
        if identifier == "folder":
            folder = path.with_suffix(".log")
            folder.mkdir()
    put(spool, State.REJECTED, "x", age=11 * DAY)
    give_to_nobody(spool.root)
    os.chown(roots, 0, 0)
    for place in (roots, day):
        place.chmod(0o600 if place is roots else 0)
    told = {
        f"spooler: {day}: can't be read: Permission denied",
        f"spooler: {roots}: can't be read: Permission denied",
        f"spooler: {folder}: can't be read: is no regular file",
    }
    dry = as_its_owner(spool, config, "prune", "--dry-run")
    assert (dry.status, sorted(dry.err.splitlines())) == (1, sorted(told))
    text = "remove 4 notifications (crm: 1 of done/; crm: 2 of failed/; crm: 1 of rejected/)"
    assert dry.out == f"would be done: {text}\n"
    ended = as_its_owner(spool, config, "prune", "--yes")
    assert (ended.status, sorted(ended.err.splitlines())) == (1, sorted(told))
    assert ended.out == "4 notifications removed\n"
    assert left(spool) == {"in a closed day", "roots", "folder"}


def test_on_a_terminal_it_asks(config: Path, spool: PersonsSpool) -> None:
    for number in range(2):
        put(spool, State.DONE, f"a-{number}", day="2020-01-01")
    assert on_a_terminal(config, "prune", typed="n\n").status == 1
    assert left(spool) == {"a-0", "a-1"}
    assert on_a_terminal(config, "prune", typed="y\n").out == "2 notifications removed\n"
    assert left(spool) == set()


def test_beside_running_services_what_is_finished_now_stays(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", webhooks='[retention]\ndone = "0s"\nrejected = "0s"\n')
    with running(site) as service:
        spool = make_spool(site.config_file)
        put(spool, State.DONE, "old", day="2020-01-01")
        for number in range(20):
            assert post(service.address, make_body(number)).status == 200
            if number % 5 == 0:
                assert spooler(site.config_file, "prune", "--yes").status == 0
        wait_until(lambda: len(site.files("done")) == 20)
    assert spool.days() == [spool.today]
