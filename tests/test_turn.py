"""A notification's turn, with real scripts: where it ends up, and what its log tells of it."""

import errno
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import whole_turn
from conftest import FakeClock, durable_calls, full_disk, wait_until, write_config, write_script
from running_service import PATIENCE_SECONDS
from structlog.testing import capture_logs
from whole_spool import WholeSpool

from spooler import config, history, measures, recovery, running
from spooler.attempt import Attempt
from spooler.finished import REPEATS, FinishedIds
from spooler.history import Line
from spooler.name import Name, log_name
from spooler.notification import Notification
from spooler.person import PersonsSpool
from spooler.recovery import recover
from spooler.scripts import Runner, Stop
from spooler.spool import sync_moved
from spooler.state import State
from spooler.turn import Settled, Turn

pytestmark = pytest.mark.usefixtures("leaves_no_process")

IN, PROCESSING, RETRY, DONE, FAILED = State.INCOMING, State.PROCESSING, State.RETRY, State.DONE, State.FAILED
MINUTE = 60


@dataclass
class Desk:
    """A webhook's folders, its scripts, and turns to give."""

    folder: Path
    clock: FakeClock
    chance: float = 0.0
    settings: str = ""
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        webhook = config.load(write_config(self.folder, self.settings)).webhooks["crm"]
        self.spool = WholeSpool(self.folder / "spool", "crm", self.clock)
        self.spool.prepare()
        finished = FinishedIds(self.spool, webhook.processing.deduplicate_for)
        finished.load()
        runner = Runner(self.stop, stop_after_seconds=0.1, kill_after_seconds=0.1)
        attempt = Attempt(webhook, self.spool, runner, self.stop)
        self.turn = Turn(webhook, self.spool, attempt, finished, lambda: self.chance)

    def restarted(self, settings: str | None = None) -> "Desk":
        """Return another processor's desk over the same folders."""
        return Desk(self.folder, self.clock, self.chance, self.settings if settings is None else settings)

    def script(self, name: str, text: str, folder: str = "") -> Path:
        """Write a script that first notes its own name and attempt in the journal."""
        journal = f'echo "${{0##*/}} $SPOOLER_ATTEMPT" >> {self.folder}/journal\n'
        return write_script(self.folder / "processors" / folder, name, journal + text)

    def runs(self) -> list[str]:
        """Return what the journal holds, and begin a new one."""
        journal = self.folder / "journal"
        lines = journal.read_text().splitlines() if journal.exists() else []
        journal.write_text("")
        return lines

    def store(self, content: bytes | None = None, **members: object) -> str:
        body = json.dumps({"Type": "contact_modified", **members}).encode() if content is None else content
        name = self.spool.store(body, Notification.read(body))
        self.clock.advance(1)
        return name

    def take(self, name: str, state: State = IN) -> Settled:
        settled = whole_turn.take(self.turn, state, name)
        assert settled is not None
        self.clock.advance(1)
        return settled

    def where(self, name: str) -> list[State]:
        """Return the states in which a file of that name is."""
        return [state for state in State if list(self.spool.folder(state).rglob(name))]

    def path(self, name: str) -> Path:
        (path,) = self.spool.base.rglob(name)
        return path

    def lines(self, name: str) -> list[Line]:
        return history.read(self.path(name).with_name(log_name(name)))

    def notes(self, name: str) -> list[str]:
        return [line["note"] for line in self.lines(name) if "note" in line]

    def exits(self, name: str) -> list[object]:
        return [line["exit"] for line in self.lines(name) if "exit" in line]

    def move(self, name: str, to: State, *, with_log: bool) -> None:
        """Move a file as a person does."""
        path = self.path(name)
        path.rename(self.spool.path(to, name))
        if with_log:
            path.with_name(log_name(name)).rename(self.spool.path(to, log_name(name)))

    def left_in_processing(self) -> list[str]:
        """Return what is there, and what is marked; but not what stands ready for the next run."""
        marked = list(running.marks(self.spool.folder(PROCESSING)))
        self.turn.attempt.clear_away()
        return marked + [path.name for path in self.spool.folder(PROCESSING).iterdir()]


@pytest.fixture
def desk(tmp_path: Path, clock: FakeClock) -> Desk:
    return Desk(tmp_path, clock)


# What scripts answer.

ANSWERS = [
    ("exit 0", 0, DONE, []),
    ("exit 65", 65, FAILED, ["given up: 10-crm said that it will never work (exit status 65)"]),
    ("exit 75", 75, RETRY, []),
    ("exit 1", 1, RETRY, []),
    ("exit 255", 255, RETRY, []),
    ("kill -9 $$", "killed", RETRY, []),
    ("kill -TERM $$", "killed", RETRY, []),
    ("sleep 60", "timeout", RETRY, []),
    ("#!/no/such/interpreter", 127, RETRY, []),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer[0])
def test_what_a_script_answers_decides_where_the_notification_goes(
    tmp_path: Path, clock: FakeClock, answer: tuple[str, object, State, list[str]]
) -> None:
    text, exit_, state, notes = answer
    desk = Desk(tmp_path, clock, settings='[processor]\ntimeout = "100ms"')
    write_script(tmp_path / "processors", "10-crm", text)
    name = desk.store(EventUniqueID="a")
    body = desk.path(name).read_bytes()
    settled = desk.take(name)
    assert (settled.state, settled.name) == (state, name)
    assert desk.where(name) == [state]
    assert (desk.exits(name), desk.notes(name)) == ([exit_], notes)
    assert desk.path(name).read_bytes() == body
    assert desk.path(name).stat().st_mode & 0o777 == 0o640
    assert desk.left_in_processing() == []


def test_the_log_line_of_a_run(desk: Desk) -> None:
    desk.script("10-crm", "echo hello; printf '\\377'; exit 75")
    name = desk.store()
    began = desk.clock.now()
    desk.take(name)
    (line,) = desk.lines(name)
    assert 0 <= line.pop("seconds") < 10
    assert line.pop("version")
    assert line == {
        "at": history.iso(began),
        "attempt": 1,
        "script": "10-crm",
        "exit": 75,
        "output": "hello\n\\xff",
    }


def test_a_finished_file_is_in_the_folder_of_the_day(desk: Desk) -> None:
    desk.script("10-crm", "exit 0")
    name = desk.store()
    desk.take(name)
    assert desk.path(name).parent == desk.spool.folder(DONE) / f"{desk.clock.now():%Y-%m-%d}"


# What scripts are given.


def test_a_script_is_given_body_environment_and_an_empty_folder(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PATH": "/usr/bin:/bin",
        "HOME": "/h",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "SECRET": "s",
    }.items():
        monkeypatch.setenv(name, value)
    write_script(
        desk.folder / "processors",
        "10-crm",
        f"tr '\\0' '\\n' < /proc/$$/environ > {desk.folder}/environment\n"
        f"cat > {desk.folder}/body; cmp $SPOOLER_FILE {desk.folder}/body; pwd > {desk.folder}/cwd\n"
        f"ls -la > {desk.folder}/listing; mkdir -p sub; chmod 0 sub; touch left",
    )
    name = desk.store(EventUniqueID="7c1f", isTest=False, ContactID={"idContact": 550012})
    body = desk.path(name).read_bytes()
    parsed = Name.parse(name)
    assert parsed is not None
    assert desk.take(name).state is DONE
    environment = dict(line.split("=", 1) for line in (desk.folder / "environment").read_text().splitlines())
    assert environment == {
        "PATH": "/usr/bin:/bin",
        "HOME": "/h",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "SPOOLER_FILE": str(desk.spool.path(PROCESSING, name)),
        "SPOOLER_WEBHOOK": "crm",
        "SPOOLER_ID": "7c1f",
        "SPOOLER_TYPE": "contact_modified",
        "SPOOLER_CONTACT": "550012",
        "SPOOLER_RECEIVED": history.iso(parsed.received),
        "SPOOLER_ATTEMPT": "1",
        "SPOOLER_MAX_ATTEMPTS": "5",
        "SPOOLER_TEST": "0",
    }
    assert (desk.folder / "body").read_bytes() == body
    work = Path((desk.folder / "cwd").read_text().strip())
    assert work.parent == desk.spool.folder(PROCESSING)
    listing = (desk.folder / "listing").read_text().splitlines()
    assert [line.split()[0][:10] for line in listing[1:2]] == ["drwx------"]
    assert len(listing) == 3  # the total, the folder and its parent
    assert not work.exists()


def test_what_the_configuration_names_is_handed_on(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, clock, settings='[processor]\nenvironment = ["CRM_URL", "UNSET", "SPOOLER_TEST"]')
    monkeypatch.setenv("CRM_URL", "https://crm.example/")
    monkeypatch.setenv("SPOOLER_TEST", "forged")
    desk.script("10-crm", 'echo "$CRM_URL ${UNSET-unset} $SPOOLER_TEST"')
    name = desk.store()
    desk.take(name)
    assert desk.lines(name)[0]["output"] == "https://crm.example/ unset 0\n"


@pytest.mark.parametrize(
    "hostile", ["../../../x", "$(touch x)", "a\0b", "a\nSPOOLER_TEST=1", "-rf", "é" * 1000]
)
def test_nothing_from_the_network_does_harm_on_its_way_to_a_script(desk: Desk, hostile: str) -> None:
    desk.script("10-crm", 'echo $# "$SPOOLER_ID|$SPOOLER_TYPE|$SPOOLER_CONTACT|$SPOOLER_TEST"; ls -A | wc -l')
    name = desk.store(EventUniqueID=hostile, Type=hostile, ContactID={"idContact": hostile})
    assert desk.take(name).state is DONE
    said, entries = desk.lines(name)[0]["output"].splitlines()
    assert said.startswith("0 ")
    assert all(char.isascii() and (char.isalnum() or char in "-_| ") for char in said)
    assert entries == "0"


def test_a_file_of_a_name_that_a_person_gave_is_told_from_its_body(desk: Desk) -> None:
    desk.script("10-crm", 'echo "$SPOOLER_ID $SPOOLER_TYPE $SPOOLER_RECEIVED"')
    path = desk.spool.path(IN, "by hand.json")
    path.write_bytes(b'{"EventUniqueID": "7c1f", "Type": "contact_optout"}')
    os.utime(path, (1, 1))
    desk.take("by hand.json")
    assert desk.where("by hand.json") == [DONE]
    came, run = desk.lines("by hand.json")
    assert came["received"] == "1970-01-01T00:00:01.000000Z"
    assert run["output"] == "7c1f contact_optout 1970-01-01T00:00:01.000000Z\n"


def test_the_files_name_counts_where_the_body_says_otherwise(desk: Desk) -> None:
    desk.script("10-named", 'echo "$SPOOLER_ID $SPOOLER_TYPE $SPOOLER_RECEIVED"', "contact_optout")
    desk.script("20-body", "exit 65", "contact_modified")
    name = "20261123T190001.123456Z_7c1f_contact_optout.json"
    desk.spool.path(IN, name).write_bytes(b'{"EventUniqueID": "other", "Type": "contact_modified"}')
    assert desk.take(name).state is DONE
    assert desk.lines(name)[0]["output"] == "7c1f contact_optout 2026-11-23T19:00:01.123456Z\n"


# Which scripts.


def test_scripts_run_one_after_another_by_name_those_of_the_type_among_them(desk: Desk) -> None:
    for name, folder in (
        ("30-all", ""),
        ("10-all", ""),
        ("20-own", "contact_modified"),
        ("15-other", "contact_optout"),
    ):
        desk.script(name, "exit 0", folder)
    desk.take(desk.store())
    assert desk.runs() == ["10-all 1", "20-own 1", "30-all 1"]


def test_after_a_script_that_fails_the_others_wait(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    desk.script("20-b", "exit 75")
    desk.script("30-c", "exit 0")
    name = desk.store()
    assert desk.take(name).state is RETRY
    assert desk.runs() == ["10-a 1", "20-b 1"]


def test_without_a_script_it_is_done_and_says_so(desk: Desk) -> None:
    desk.script("10-a", "exit 0", "contact_optout")
    name = desk.store()
    assert desk.take(name).state is DONE
    assert desk.lines(name) == [
        {
            "at": history.iso(desk.clock.now() - timedelta(seconds=1)),
            "note": "there is no script for contact_modified: nothing was run",
        }
    ]


def test_a_script_that_comes_changes_or_goes_counts_from_the_next_notification_on(desk: Desk) -> None:
    assert desk.take(desk.store(n=1)).state is DONE
    desk.script("10-a", "exit 65")
    assert desk.take(desk.store(n=2)).state is FAILED
    desk.script("10-a", "exit 0")
    assert desk.take(desk.store(n=3)).state is DONE
    (desk.folder / "processors" / "10-a").chmod(0o644)
    desk.runs()
    assert desk.take(desk.store(n=4)).state is DONE
    assert desk.runs() == []


# Attempts.


@pytest.mark.parametrize(("chance", "added"), [(0.0, 0.0), (0.5, 0.05), (1.0, 0.1)])
def test_the_retry_is_due_at_the_files_time_with_up_to_a_tenth_added(
    tmp_path: Path, clock: FakeClock, chance: float, added: float
) -> None:
    desk = Desk(tmp_path, clock, chance)
    desk.script("10-a", "exit 75")
    name = desk.store()
    due = clock.now().timestamp() + MINUTE * (1 + added)
    assert desk.take(name).due == pytest.approx(due)
    assert desk.spool.due(name) == pytest.approx(due, abs=1e-5)


def test_five_attempts_then_it_is_given_up(desk: Desk) -> None:
    desk.script("10-a", 'echo "$SPOOLER_ATTEMPT of $SPOOLER_MAX_ATTEMPTS"; exit 75')
    name = desk.store()
    state, waits = IN, []
    for _ in range(5):
        now = desk.clock.now().timestamp()
        settled = desk.take(name, state)
        state = settled.state
        waits.append(round(settled.due - now) if settled.due else None)
    assert waits == [MINUTE, 15 * MINUTE, 30 * MINUTE, 60 * MINUTE, None]
    assert desk.where(name) == [FAILED]
    lines = desk.lines(name)
    assert [(line["attempt"], line["output"]) for line in lines[:-1]] == [
        (attempt, f"{attempt} of 5\n") for attempt in range(1, 6)
    ]
    assert lines[-1]["note"] == "given up: 10-a ended with exit status 75, in the last of 5 attempts"


def test_without_delays_there_is_one_attempt(tmp_path: Path, clock: FakeClock) -> None:
    desk = Desk(tmp_path, clock, settings="[processor]\nretry_delays = []")
    desk.script("10-a", "exit 75")
    assert desk.take(desk.store()).state is FAILED


def test_on_a_further_attempt_those_that_answered_0_are_not_run_again(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    desk.script("20-b", f"test -e {desk.folder}/ready")
    desk.script("30-c", "exit 0")
    name = desk.store()
    assert desk.take(name).state is RETRY
    assert desk.runs() == ["10-a 1", "20-b 1"]
    (desk.folder / "ready").touch()
    assert desk.take(name, RETRY).state is DONE
    assert desk.runs() == ["20-b 2", "30-c 2"]
    assert [(line["script"], line["attempt"], line["exit"]) for line in desk.lines(name)] == [
        ("10-a", 1, 0),
        ("20-b", 1, 1),
        ("20-b", 2, 0),
        ("30-c", 2, 0),
    ]


def test_one_that_was_changed_since_it_answered_0_is_run_again(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    desk.script("20-b", "exit 75")
    name = desk.store()
    desk.take(name)
    desk.script("10-a", "exit 0 # better")
    desk.take(name, RETRY)
    assert desk.runs() == ["10-a 1", "20-b 1", "10-a 2", "20-b 2"]


def test_one_that_was_added_is_run_and_one_that_was_removed_is_not_missed(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    failing = desk.script("20-b", "exit 75")
    name = desk.store()
    desk.take(name)
    failing.unlink()
    desk.script("05-new", "exit 0")
    assert desk.take(name, RETRY).state is DONE
    assert desk.runs() == ["10-a 1", "20-b 1", "05-new 2"]


def test_when_fewer_attempts_are_allowed_than_were_made_it_is_given_up_and_nothing_is_run_again(
    desk: Desk,
) -> None:
    desk.script("10-a", "exit 0")
    desk.script("20-b", "exit 75")
    name = desk.store()
    desk.take(name)
    desk.take(name, RETRY)
    desk.runs()
    later = desk.restarted('[processor]\nretry_delays = ["1m"]')
    assert later.take(name, RETRY).state is FAILED
    assert desk.runs() == []
    assert desk.notes(name) == ["given up: none of 2 attempts is left"]


# What needs no script.


@pytest.mark.parametrize("is_test", [True, "true"])
def test_a_test_is_done_without_a_script_and_says_so(desk: Desk, is_test: object) -> None:
    desk.script("10-a", "exit 65")
    name = desk.store(isTest=is_test)
    assert desk.take(name).state is DONE
    assert desk.runs() == []
    assert desk.notes(name) == ["a test (isTest is true): no script was run"]


@pytest.mark.parametrize("is_test", [True, "true"])
def test_a_test_is_processed_where_the_configuration_says_so(
    tmp_path: Path, clock: FakeClock, is_test: object
) -> None:
    desk = Desk(tmp_path, clock, settings='[processor]\ntest_notifications = "process"')
    desk.script("10-a", "echo $SPOOLER_TEST")
    name = desk.store(isTest=is_test)
    assert desk.take(name).state is DONE
    assert [line["output"] for line in desk.lines(name)] == ["1\n"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is no JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"no json", "the body is no JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[1]", "the body is JSON, but no object"),
        (b"[" * 100_000, "the body is no JSON: it is nested too deeply"),
    ],
)
def test_a_body_that_is_no_json_object_is_given_up_with_the_reason(
    desk: Desk, body: bytes, reason: str
) -> None:
    desk.script("10-a", "exit 0")
    name = desk.store(body)
    assert desk.take(name).state is FAILED
    assert desk.runs() == []
    assert desk.notes(name) == [f"given up: {reason}"]


# Repeats.


def test_a_repeat_is_done_without_a_script_and_names_what_it_repeats(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    original, repeat, second = (desk.store(EventUniqueID="same", n=number) for number in range(3))
    for name in (original, repeat, second):
        assert desk.take(name).state is DONE
    assert desk.runs() == ["10-a 1"]
    for name in (repeat, second):
        (line,) = desk.lines(name)
        assert line[REPEATS] == original
        assert line["note"] == f"a repeat of {original}: no script was run"


def test_what_the_last_script_did_gets_onto_the_disk_when_the_file_has_moved_and_its_mark_stands_till_then(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.script("10-crm", "exit 0")
    desk.script("20-mail", "exit 0")
    name = desk.store()
    synced: list[tuple[str, list[str]]] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        marked = [mark.script for mark in running.marks(desk.spool.folder(PROCESSING)).values()]
        synced.append((str(path.relative_to(desk.spool.base)), marked))

    monkeypatch.setattr(os, "fsync", watched)
    assert desk.take(name).state is DONE
    day = f"done/{desk.spool.today}"
    assert [call for call in synced if not Path(call[0]).name.startswith(".")][-4:] == [
        (f"processing/{log_name(name)}", ["10-crm"]),
        ("done", ["20-mail"]),
        (f"{day}/{log_name(name)}", ["20-mail"]),
        (day, ["20-mail"]),
    ]
    assert desk.left_in_processing() == []


def test_a_notification_is_told_to_be_done_and_its_mark_cleared_when_that_is_on_the_disk(desk: Desk) -> None:
    desk.script("10-crm", "exit 0")
    name = desk.store()
    with capture_logs() as logged:
        settled = desk.turn.take(IN, name)
        assert settled == Settled(DONE, name)
        assert settled.unsynced is not None
        assert desk.where(name) == [DONE]
        assert list(running.marks(desk.spool.folder(PROCESSING))) == [name]
        other = desk.store()
        desk.take(other)  # which has a mark of its own
        assert list(running.marks(desk.spool.folder(PROCESSING))) == [name]
        assert [entry["file"] for entry in logged if entry["event"] == "done"] == [other]
        sync_moved([settled.unsynced.moved])
        settled.unsynced.then()
    assert [entry["file"] for entry in logged if entry["event"] == "done"] == [other, name]
    assert desk.left_in_processing() == []


def test_a_person_who_takes_one_back_before_it_is_on_the_disk_leaves_nothing_unsynced(desk: Desk) -> None:
    desk.script("10-crm", "exit 0")
    name = desk.store()
    settled = desk.turn.take(IN, name)
    assert settled is not None
    assert settled.unsynced is not None
    desk.move(name, IN, with_log=True)
    sync_moved([settled.unsynced.moved])
    assert settled.unsynced.moved.error is None
    settled.unsynced.then()
    assert desk.take(name).state is DONE
    assert desk.runs() == ["10-crm 1", "10-crm 1"]
    assert desk.left_in_processing() == []


@pytest.mark.parametrize(
    ("script", "body", "state"),
    [
        ("exit 65", {}, FAILED),
        ("exit 0", {"content": b"no JSON"}, FAILED),
        ("exit 0", {"isTest": True}, DONE),
        ("exit 0", {"EventUniqueID": "same"}, DONE),
        ("", {}, DONE),
        ('touch "${SPOOLER_FILE%/processing/*}/paused"', {}, IN),
    ],
    ids=["given up", "no JSON", "a test", "a repeat", "no script", "paused between two scripts"],
)
def test_a_note_that_no_mark_vouches_for_is_on_the_disk_before_the_file_moves(
    desk: Desk, script: str, body: dict[str, Any], state: State
) -> None:
    desk.script("10-crm", "exit 0")
    desk.take(desk.store(EventUniqueID="same"))
    shutil.rmtree(desk.folder / "processors")
    (desk.folder / "processors").mkdir()
    if script:
        desk.script("10-crm", script)
        desk.script("20-mail", "exit 0")
    name = desk.store(**body)
    log = ("sync", str(desk.spool.path(PROCESSING, log_name(name))))
    with durable_calls() as calls:
        assert desk.take(name).state is state
    moved = ("rename", str(desk.path(name)))
    assert calls[: calls.index(moved)].count(log) == len(desk.lines(name))  # each run's, and the note
    assert calls[calls.index(moved) + 1] == ("rename", str(desk.path(name).with_suffix(".log")))
    assert "note" in desk.lines(name)[-1]


@pytest.mark.parametrize("what", ["log", "folder"])
def test_what_was_moved_and_could_not_be_synced_is_where_it_is_and_counts_as_that(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    desk.script("10-crm", "exit 0")
    name, repeat = desk.store(EventUniqueID="same"), desk.store(EventUniqueID="same")
    fsync = os.fsync
    day = f"done/{desk.spool.today}"
    broken = str(desk.spool.base / day / log_name(name)) if what == "log" else str(desk.spool.base / day)

    synced: list[str] = []

    def refused(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        if synced[-1] == broken:
            raise OSError(errno.EIO, "lost")
        fsync(descriptor)

    with monkeypatch.context() as patched, capture_logs() as logged:
        patched.setattr(os, "fsync", refused)
        assert desk.take(name) == Settled(DONE, name)
    assert [entry["reason"] for entry in logged if entry["event"] == "not synced"] == ["lost"]
    assert desk.where(name) == [DONE]
    assert desk.exits(name) == [0]
    assert synced[-1] == str(desk.spool.base / day)  # the move, whatever became of the log
    desk.take(repeat)
    assert desk.notes(repeat) == [f"a repeat of {name}: no script was run"]
    assert desk.runs() == ["10-crm 1"]
    # Should a power cut undo the move, its attempt counts, whatever ran meanwhile.
    desk.take(desk.store())
    assert list(running.marks(desk.spool.folder(PROCESSING))) == [name]


def test_what_was_moved_without_a_run_and_could_not_be_synced_counts_too(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, day = desk.store(), desk.spool.folder(DONE) / desk.spool.today
    day.mkdir()
    fsync = os.fsync

    def refused(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink() == day:
            raise OSError(errno.EIO, "lost")
        fsync(descriptor)

    with monkeypatch.context() as patched, capture_logs() as logged:
        patched.setattr(os, "fsync", refused)
        assert desk.take(name) == Settled(DONE, name)
    assert [entry["reason"] for entry in logged if entry["event"] == "not synced"] == ["lost"]
    assert desk.where(name) == [DONE]


_LEFT_BEHIND = pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("exit 0", DONE),
        ("exit 65", FAILED),
        ("exit 75", RETRY),
        ('touch "${SPOOLER_FILE%/processing/*}/paused"', IN),
    ],
    ids=["finish", "give_up", "postpone", "release"],
)


def _leave_log_behind(desk: Desk, answer: str, state: State) -> tuple[str, Path]:
    """Give one its turn whose log can't follow it; return its name, and what is in the log's place."""
    name = desk.store(EventUniqueID="same")
    odd = desk.spool.path(state, log_name(name), desk.spool.today if state is DONE else "")
    # Not before it was claimed: then its file wouldn't be touched.
    desk.script("00-odd", f"mkdir -p {odd}")
    desk.script("10-crm", answer)
    desk.script("20-mail", "exit 0")
    settled = desk.take(name)
    assert (settled.state, settled.name) == (state, name)
    return name, odd


def _turns(state: State) -> float:
    return dict(measures.TURNS.copy()).get(("crm", state.value), [0.0])[0]


@_LEFT_BEHIND
def test_what_was_moved_and_whose_log_could_not_follow_is_where_it_is_and_counts_as_that(
    desk: Desk, answer: str, state: State
) -> None:
    counted = _turns(state)
    with capture_logs() as logged, durable_calls() as calls:
        name, odd = _leave_log_behind(desk, answer, state)
    assert desk.where(name) == [state]
    left = desk.spool.path(PROCESSING, log_name(name))
    (reason,) = [entry["reason"] for entry in logged if entry["event"] == "not synced"]
    assert reason.startswith(f"its log was left behind, {left}: ")
    assert [entry["event"] for entry in logged if entry.get("file") == name][-1] == state.value
    assert _turns(state) == counted + 1
    assert calls[-1] == ("sync", str(odd.parent))
    assert list(running.marks(desk.spool.folder(PROCESSING))) == [name]
    if state is DONE:
        repeat = desk.store(EventUniqueID="same")
        desk.take(repeat)
        assert desk.notes(repeat) == [f"a repeat of {name}: no script was run"]


@_LEFT_BEHIND
def test_the_next_start_brings_a_log_that_was_left_behind_or_leaves_it_alone(
    desk: Desk, answer: str, state: State
) -> None:
    name, odd = _leave_log_behind(desk, answer, state)
    left = desk.spool.path(PROCESSING, log_name(name))
    lines = history.read(left)
    other = desk.store()
    desk.spool.claim(IN, other)
    with capture_logs() as logged:
        assert recover(desk.spool) == recovery.Recovered([other], {})
    assert left.name in [entry["file"] for entry in logged if entry["event"] == "left alone"]
    assert history.read(left) == lines
    odd.rmdir()
    recover(desk.spool)
    assert history.read(odd) == lines
    assert list(desk.spool.folder(PROCESSING).iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "state"), [("exit 75", RETRY), ('touch "${SPOOLER_FILE%/processing/*}/paused"', IN)]
)
def test_what_waits_without_its_log_gets_it_back_before_its_next_attempt(
    desk: Desk, answer: str, state: State
) -> None:
    name, odd = _leave_log_behind(desk, answer, state)
    odd.rmdir()
    (desk.spool.base / "paused").unlink(missing_ok=True)
    assert desk.runs() == ["00-odd 1", "10-crm 1"]
    desk.take(name, state)
    assert desk.runs()[0] == ("10-crm 2" if state is RETRY else "20-mail 1")
    assert desk.lines(name)[0]["script"] == "00-odd"


def test_the_mark_of_what_could_not_even_be_put_back_stands_until_it_is(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.script("10-crm", "exit 0")
    name = desk.store()
    fsync = os.fsync

    def refused(descriptor: int) -> None:
        if desk.folder.joinpath("journal").exists():
            raise OSError(errno.EIO, "lost")
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refused)
        assert desk.take(name) == Settled(PROCESSING, name)
    # The line of its run isn't on the disk: after a power cut only the mark tells of that.
    assert list(running.marks(desk.spool.folder(PROCESSING))) == [name]
    recovery.count(desk.spool, name, crashed=False)
    recovery.put_back(desk.spool, name)
    assert running.marks(desk.spool.folder(PROCESSING)) == {}
    assert desk.take(name).state is DONE
    assert desk.runs() == ["10-crm 1"]
    assert desk.left_in_processing() == []


def test_a_repeat_is_known_after_a_restart(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    desk.take(desk.store(EventUniqueID="same"))
    assert desk.restarted().take(desk.store(EventUniqueID="same")).state is DONE
    assert desk.runs() == ["10-a 1"]


def test_after_the_window_an_id_may_come_again(tmp_path: Path, clock: FakeClock) -> None:
    desk = Desk(tmp_path, clock, settings='[processor]\ndeduplicate_for = "1h"')
    desk.script("10-a", "exit 0")
    desk.take(desk.store(EventUniqueID="same"))
    clock.advance(3700)
    desk.take(desk.store(EventUniqueID="same"))
    assert desk.runs() == ["10-a 1", "10-a 1"]


def test_what_failed_has_no_repeats(desk: Desk) -> None:
    desk.script("10-a", "exit 65")
    desk.take(desk.store(EventUniqueID="same"))
    assert desk.take(desk.store(EventUniqueID="same")).state is FAILED
    assert desk.runs() == ["10-a 1", "10-a 1"]


def test_tests_are_never_taken_for_repeats_nor_repeated(tmp_path: Path, clock: FakeClock) -> None:
    desk = Desk(tmp_path, clock, settings='[processor]\ntest_notifications = "process"')
    desk.script("10-a", "exit 0")
    for is_test in (True, True, False, True):
        desk.take(desk.store(EventUniqueID="same", isTest=is_test))
    assert desk.runs() == ["10-a 1"] * 4


# What a person brings back.


def test_a_copy_of_a_finished_file_runs_and_is_done_again(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    name = desk.store(EventUniqueID="same")
    desk.take(name)
    shutil.copy(desk.path(name), desk.spool.path(IN, name))
    settled = desk.take(name)
    assert (settled.state, settled.name) == (DONE, str(_parsed(name).next()))
    assert desk.runs() == ["10-a 1", "10-a 1"]
    assert len(list(desk.spool.folder(DONE).rglob("*.json"))) == 2


def _parsed(name: str) -> Name:
    parsed = Name.parse(name)
    assert parsed is not None
    return parsed


@pytest.mark.parametrize("with_log", [True, False])
@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("to", [IN, RETRY])
def test_what_was_done_and_is_put_back_by_hand_runs_all_its_scripts_from_the_first_attempt(
    desk: Desk, with_log: bool, restart: bool, to: State
) -> None:
    desk.script("10-a", "exit 0")
    name = desk.store(EventUniqueID="same")
    desk.take(name)
    desk.move(name, to, with_log=with_log)
    if to is RETRY and with_log:
        desk.spool.record(RETRY, name, {"at": "later", "note": "dropped by a person"})
    desk = desk.restarted() if restart else desk
    assert desk.take(name, to).state is DONE
    assert desk.runs() == ["10-a 1", "10-a 1"]
    by_hand = [line for line in desk.lines(name) if line.get("anew")]
    assert [line["note"] for line in by_hand] == (
        ["put back by hand: attempts are counted from 1, every script runs"] if with_log else []
    )


@pytest.mark.parametrize("with_log", [True, False])
@pytest.mark.parametrize("to", [IN, RETRY])
def test_what_failed_and_is_put_back_by_hand_has_all_its_attempts_again(
    desk: Desk, with_log: bool, to: State
) -> None:
    desk.script("10-a", "exit 0")
    desk.script("20-b", "exit 65")
    name = desk.store()
    desk.take(name)
    desk.move(name, to, with_log=with_log)
    desk.script("20-b", "exit 75")
    desk.runs()
    assert desk.take(name, to).state is RETRY
    assert desk.runs() == ["10-a 1", "20-b 1"]
    assert desk.take(name, RETRY).state is RETRY
    assert desk.runs() == ["20-b 2"]


@pytest.mark.parametrize("with_log", [True, False])
def test_what_failed_runs_again_though_a_repeat_of_it_was_done_meanwhile(desk: Desk, with_log: bool) -> None:
    desk.script("10-a", "exit 65")
    failed = desk.store(EventUniqueID="same")
    desk.take(failed)
    desk.script("10-a", "exit 0")
    desk.take(desk.store(EventUniqueID="same"))
    desk.runs()
    desk.move(failed, IN, with_log=with_log)
    assert desk.take(failed).state is DONE
    assert desk.runs() == ["10-a 1"]


@pytest.mark.parametrize(("with_log", "restart"), [(True, False), (True, True), (False, False)])
def test_a_repeat_that_is_put_back_by_hand_runs(desk: Desk, with_log: bool, restart: bool) -> None:
    desk.script("10-a", "exit 0")
    desk.take(desk.store(EventUniqueID="same"))
    repeat = desk.store(EventUniqueID="same")
    desk.take(repeat)
    desk.runs()
    desk.move(repeat, IN, with_log=with_log)
    desk = desk.restarted() if restart else desk
    desk.take(repeat)
    assert desk.runs() == ["10-a 1"]


def test_one_that_is_moved_from_retry_to_incoming_runs_at_once_from_the_first_attempt(desk: Desk) -> None:
    desk.script("10-a", "exit 75")
    name = desk.store()
    desk.take(name)
    desk.move(name, IN, with_log=True)
    desk.take(name)
    assert desk.runs() == ["10-a 1", "10-a 1"]


def test_what_a_command_put_back_needs_no_second_word(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    name = desk.store(EventUniqueID="same")
    desk.take(name)
    desk.move(name, IN, with_log=True)
    desk.spool.record(IN, name, history.note(desk.clock.now(), "retry: by a person", anew=True))
    desk.take(name)
    assert desk.runs() == ["10-a 1", "10-a 1"]
    assert desk.notes(name) == ["retry: by a person"]


# Pauses and stops.


def test_a_pause_holds_back_between_two_scripts_and_then_it_goes_on_where_it_was(desk: Desk) -> None:
    desk.script("10-a", f"touch {desk.spool.base}/paused")
    desk.script("20-b", "exit 0")
    name = desk.store()
    assert desk.take(name).state is IN
    assert desk.where(name) == [IN]
    assert desk.notes(name) == ["back to incoming: paused"]
    (desk.spool.base / "paused").unlink()
    assert desk.restarted().take(name).state is DONE
    assert desk.runs() == ["10-a 1", "20-b 1"]


def test_a_pause_before_the_first_script_leaves_no_trace(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    name = desk.store()
    (desk.spool.base / "paused").touch()
    assert desk.take(name).state is IN
    assert desk.lines(name) == []
    assert desk.runs() == []


def test_a_stop_before_a_script_puts_it_back_and_no_attempt_is_counted(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    name = desk.store()
    desk.stop.request()
    assert desk.take(name).state is IN
    assert desk.restarted().take(name).state is DONE
    assert desk.runs() == ["10-a 1"]


def test_a_script_that_is_stopped_is_interrupted_and_the_notification_is_back_in_incoming(desk: Desk) -> None:
    slow = desk.script("10-a", f"touch {desk.folder}/started; sleep 60")
    desk.script("20-b", "exit 0")
    name = desk.store()

    def stop_when_it_runs() -> None:
        wait_until((desk.folder / "started").exists)
        desk.stop.request()

    stopping = threading.Thread(target=stop_when_it_runs)
    stopping.start()
    assert desk.take(name).state is IN
    stopping.join()
    assert desk.exits(name) == ["interrupted"]
    slow.unlink()
    assert desk.restarted().take(name).state is DONE
    assert desk.runs() == ["10-a 1", "20-b 1"]  # a stop costs no attempt


# When something is in the way.


def test_one_that_is_gone_is_nobodys_concern(desk: Desk) -> None:
    assert desk.turn.take(IN, "20261123T190001.123456Z_a_b.json") is None
    assert not list(desk.spool.base.rglob("*.*"))


@pytest.mark.parametrize("answer", [0, 65, 75])
def test_one_that_is_deleted_while_its_script_runs_is_nobodys_concern(desk: Desk, answer: int) -> None:
    desk.script("10-a", f"rm $SPOOLER_FILE; exit {answer}")
    name = desk.store()
    assert desk.turn.take(IN, name) is None
    assert desk.where(name) == []
    assert desk.left_in_processing() == []
    assert desk.spool.log_lines(IN, name)[0]["exit"] == answer  # should a person bring it back


@pytest.mark.parametrize("answer", [0, 65, 75])
@pytest.mark.parametrize("to", [IN, FAILED])
def test_one_that_is_moved_away_while_its_script_runs_stays_where_it_was_put(
    desk: Desk, answer: int, to: State
) -> None:
    desk.script("10-a", f"mv $SPOOLER_FILE {desk.spool.folder(to)}/; exit {answer}")
    name = desk.store()
    assert desk.turn.take(IN, name) is None
    assert desk.where(name) == [to]
    assert desk.exits(name) == [answer]
    assert desk.left_in_processing() == []


def test_one_that_is_deleted_between_two_scripts_leaves_no_mark(desk: Desk) -> None:
    desk.script("10-a", "rm $SPOOLER_FILE")
    desk.script("20-b", "exit 0")
    name = desk.store()
    assert desk.turn.take(IN, name) is None
    assert desk.runs() == ["10-a 1"]
    assert desk.left_in_processing() == []


def test_a_full_disk_costs_a_minute_and_no_attempt(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    name = desk.store()
    now = desk.clock.now().timestamp()
    with full_disk():
        settled = desk.take(name)
    assert settled == Settled(RETRY, name, now + 60)
    assert desk.runs() == []
    assert desk.take(name, RETRY).state is DONE
    assert desk.runs() == ["10-a 1"]
    assert desk.left_in_processing() == []


def test_scripts_that_are_gone_cost_a_minute_and_no_attempt(desk: Desk) -> None:
    name = desk.store()
    (desk.folder / "processors").rmdir()
    assert desk.take(name).state is RETRY
    desk.script("10-a", "exit 0")
    assert desk.take(name, RETRY).state is DONE
    assert desk.runs() == ["10-a 1"]


def test_a_script_that_cannot_be_looked_at_costs_a_minute_and_no_attempt(desk: Desk) -> None:
    target = desk.script("20-b", "exit 0").rename(desk.folder / "tool")
    desk.script("10-a", "exit 75")
    name = desk.store()
    assert desk.take(name).state is RETRY
    desk.script("10-a", "exit 0")
    link = desk.folder / "processors" / "20-b"
    link.symlink_to(desk.folder / "away")
    now = desk.clock.now().timestamp()
    with capture_logs() as lines:
        assert desk.take(name, RETRY) == Settled(RETRY, name, now + 60)
    (told,) = (line for line in lines if line["event"] == "held up")
    assert told["reason"] == f"[Errno 2] No such file or directory: '{link}'"
    assert desk.notes(name)[-1] == f"held up: {told['reason']}"
    target.rename(desk.folder / "away")
    assert desk.take(name, RETRY).state is DONE
    assert desk.runs() == ["10-a 1", "10-a 2", "20-b 2"]


def test_a_disk_that_refuses_every_move_leaves_it_in_processing(desk: Desk) -> None:
    desk.script("10-a", f"rm -r {desk.spool.folder(DONE)} {desk.spool.folder(RETRY)}")
    name = desk.store()
    assert desk.take(name) == Settled(PROCESSING, name)
    assert desk.where(name) == [PROCESSING]


def test_a_file_that_is_too_large_to_be_one_is_not_touched(desk: Desk) -> None:
    name = desk.store()
    os.truncate(desk.path(name), 1 << 40)
    with pytest.raises(OSError, match="larger than"):
        desk.turn.take(IN, name)
    assert desk.where(name) == [IN]


def test_a_name_that_is_taken_everywhere_is_found_a_place(desk: Desk) -> None:
    desk.script("10-a", "exit 75")
    name = desk.store()
    for state in (PROCESSING, RETRY):
        desk.spool.path(state, name).write_bytes(b"other")
    settled = desk.take(name)
    assert settled.state is RETRY
    assert settled.name == str(_parsed(name).next())
    assert desk.spool.path(RETRY, name).read_bytes() == b"other"


# Crashes.


def crash(take: Callable[[], object]) -> None:
    """Let another process do it, which is killed on the way."""
    process = get_context("fork").Process(target=take)
    process.start()
    process.join()
    assert process.exitcode == -9


class GoesOn(FakeClock):
    """Time that goes on by itself, in other processes too."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def test_a_notification_that_kills_the_processor_is_given_up_after_its_attempts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, GoesOn())
    desk.script("10-a", "exit 0")
    desk.script("20-kills", "kill -9 $PPID")
    name = desk.store()
    for _ in range(5):
        crash(lambda: desk.turn.take(IN, name))
        assert desk.where(name) == [PROCESSING]
        assert len(recover(desk.spool).taken_up) == 1
        assert desk.left_in_processing() == []
    assert desk.take(name).state is FAILED
    assert desk.runs() == ["10-a 1", *(f"20-kills {attempt}" for attempt in range(1, 6))]
    assert desk.exits(name) == [0, *["interrupted"] * 5]
    assert desk.notes(name) == ["given up: none of 5 attempts is left"]


def test_after_the_last_script_of_the_last_attempt_a_crash_costs_nothing(
    tmp_path: Path, clock: FakeClock
) -> None:
    desk = Desk(tmp_path, clock, settings="[processor]\nretry_delays = []")
    desk.script("10-a", "exit 0")
    name = desk.store()
    desk.take(name)
    desk.move(name, PROCESSING, with_log=True)  # where it was before the end of its turn
    recover(desk.spool)
    assert desk.restarted().take(name).state is DONE
    assert desk.runs() == ["10-a 1"]


def test_that_a_person_put_it_back_is_written_down_before_the_claim_hides_it(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    name = desk.store(EventUniqueID="same")
    desk.take(name)
    desk.move(name, IN, with_log=True)
    desk.runs()
    assert desk.left_in_processing() == []
    desk.spool.folder(PROCESSING).rmdir()  # as far as it gets
    assert desk.turn.take(IN, name) is None
    desk.spool.prepare()
    shutil.move(desk.path(name), desk.spool.path(PROCESSING, name))
    recover(desk.spool)
    assert desk.restarted().take(name).state is DONE
    assert desk.runs() == ["10-a 2"]


def test_an_orderly_stop_costs_no_attempt_but_not_without_end(desk: Desk) -> None:
    desk.script("10-a", f"touch {desk.folder}/started; sleep 60")
    name = desk.store()
    for _ in range(3):
        (desk.folder / "started").unlink(missing_ok=True)
        desk = desk.restarted()
        stopping = threading.Thread(target=_stop_when_started, args=(desk,))
        stopping.start()
        assert desk.take(name).state is IN
        stopping.join()
    desk.script("10-a", "exit 75")
    desk.restarted().take(name)
    assert [line["attempt"] for line in desk.lines(name)] == [1, 1, 1, 2]


def _stop_when_started(desk: Desk) -> None:
    wait_until((desk.folder / "started").exists)
    desk.stop.request()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to somebody else")
def test_a_file_of_somebody_elses_waits_for_its_next_attempt_like_any_other(clock: FakeClock) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:  # where others may go
        _check_somebody_elses(Desk(Path(place), clock))


def _check_somebody_elses(desk: Desk) -> None:
    desk.script("10-a", "exit 75")
    name = desk.store()
    body = desk.path(name).read_bytes()
    for path in (desk.folder, *desk.folder.rglob("*")):
        os.chown(path, 12345, 12345)
    os.chown(desk.path(name), 0, 0)
    desk.path(name).chmod(0o644)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(12345)
            settled = desk.take(name)
            os.write(writing, f"{settled.state} {desk.spool.due(name)}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        state, due = pipe.read().split()
    os.waitpid(child, 0)
    assert State(state) is RETRY
    assert float(due) == pytest.approx(desk.clock.now().timestamp() + 60)
    assert desk.path(name).read_bytes() == body
    assert [line["attempt"] for line in desk.lines(name)] == [1]


def test_a_move_that_fails_is_not_taken_for_a_persons_hand(desk: Desk) -> None:
    desk.script("10-a", "exit 0")
    desk.script("20-b", "exit 65")
    name = desk.store()
    shutil.rmtree(desk.spool.folder(FAILED))
    assert desk.take(name).state is RETRY
    desk.spool.prepare()
    desk.clock.advance(61)
    desk.take(name, RETRY)
    assert desk.where(name) == [FAILED]
    assert desk.runs() == ["10-a 1", "20-b 1", "20-b 2"]


def test_one_whose_log_cannot_follow_it_is_still_known_to_be_there(desk: Desk) -> None:
    name = desk.store()
    desk.spool.record(IN, name, history.note(desk.clock.now(), "a line", released=True))
    (desk.spool.path(PROCESSING, log_name(name))).mkdir()
    assert desk.take(name) == Settled(PROCESSING, name)


@pytest.mark.parametrize("instead", ["mkfifo", "mkdir", "ln -s /dev/zero"])
def test_a_log_in_whose_place_a_script_puts_something_else_holds_nothing_up(desk: Desk, instead: str) -> None:
    desk.script("10-x", f'log="${{SPOOLER_FILE%.json}}.log"; rm -f "$log"; {instead} "$log"')
    name = desk.store()
    thread = threading.Thread(target=desk.take, args=(name,), daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert desk.where(name) == [DONE]


def test_the_journal_names_a_hand_named_file_by_the_id_in_its_body(tmp_path: Path, clock: FakeClock) -> None:
    desk = Desk(tmp_path, clock)
    desk.script("10-x", "exit 0")
    (desk.spool.folder(IN) / "again.json").write_text('{"EventUniqueID": "abc-1"}')
    with capture_logs() as lines:
        desk.take("again.json")
    assert [line["event"] for line in lines] == ["claimed", "script ended", "done"]
    assert {line["id"] for line in lines} == {"abc-1"}
    assert (lines[0]["file"], lines[-1]["file"]) == ("again.json", "again.json")


def test_the_journal_says_who_brought_it_back_when_it_is_claimed(tmp_path: Path, clock: FakeClock) -> None:
    desk = Desk(tmp_path, clock)
    desk.script("10-x", "exit 65")
    name = desk.take(desk.store()).name
    name = PersonsSpool(desk.spool.root, "crm", clock, who="anna").retry(FAILED, name)
    with capture_logs() as lines:
        desk.take(name)
    assert "by anna" in lines[0]["note"]
    shutil.move(desk.spool.path(FAILED, name), desk.spool.path(IN, name))
    shutil.move(desk.spool.path(FAILED, log_name(name)), desk.spool.path(IN, log_name(name)))
    with capture_logs() as lines:
        desk.take(name)
    assert "put back by hand" in lines[0]["note"]
    with capture_logs() as lines:
        desk.take(desk.store())
    assert lines[0]["note"] is None
