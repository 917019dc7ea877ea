"""The whole path of whatever is sent or put there: receiver, folders, a turn with a real script, commands."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import whole_turn
from commands import entry_schema, in_process
from conftest import FakeClock, examples, tree
from hostile import bodies, file_names
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from jsonschema import validate
from running_service import Site, call, make_site, signed
from structlog.testing import capture_logs
from whole_spool import WholeSpool

from spooler import history
from spooler.attempt import Attempt
from spooler.finished import FinishedIds
from spooler.intake import STILL_SECONDS
from spooler.name import log_name
from spooler.notification import Notification
from spooler.processor import Processor
from spooler.receiver import Receiver
from spooler.scripts import Runner, Stop
from spooler.state import State
from spooler.turn import Turn

CONTRACT = re.compile(
    r"\d{8}T\d{6}\.\d{6}Z_([A-Za-z0-9-]{1,64}|[hx]-[0-9a-f]{32})_[A-Za-z0-9_-]{1,64}\.json", re.ASCII
)
ENVIRONMENT = {
    "SPOOLER_ID": r"[A-Za-z0-9-]{1,64}",
    "SPOOLER_TYPE": r"[A-Za-z0-9_-]{1,64}",
    "SPOOLER_CONTACT": r"[A-Za-z0-9.+-]{0,64}",
    "SPOOLER_WEBHOOK": "crm",
    "SPOOLER_RECEIVED": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z",
    "SPOOLER_ATTEMPT": "1",
    "SPOOLER_MAX_ATTEMPTS": "5",
    "SPOOLER_TEST": "[01]",
}
INHERITED = {"PATH", "HOME", "LANG", "TZ", "PWD", "SHLVL", "_", "OLDPWD"}  # the last four are the shell's own
# Each example starts a process: no time to find the smallest one.
unshrunk = [Phase.explicit, Phase.reuse, Phase.generate]


@dataclass
class Place:
    """A site of its own, a receiver, and turns to give."""

    site: Site
    receiver: Receiver
    spool: WholeSpool
    turn: Turn

    @property
    def seen(self) -> Path:
        """Where the script writes what it was given."""
        return self.site.root / "seen"


@contextmanager
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="spooler-hostile-"))
    try:
        site = make_site(
            folder / "site", receiver='max_body = "8MiB"', processor='test_notifications = "process"'
        )
        seen = site.root / "seen"
        seen.mkdir()
        site.script(f'#!/bin/sh\ncat > {seen}/body\nenv -0 > {seen}/env\necho "$#" > {seen}/arguments\n')
        configuration = site.configuration()
        webhook = configuration.webhooks["crm"]
        spool = WholeSpool(configuration.spool, "crm", FakeClock())
        spool.prepare()
        stop = Stop()
        finished = FinishedIds(spool, 0)
        finished.load()
        turn = Turn(webhook, spool, Attempt(webhook, spool, Runner(stop), stop), finished, lambda: 0.0)
        yield Place(site, Receiver(configuration), spool, turn)
    finally:
        shutil.rmtree(folder)


def check_run(at: Place, body: bytes, said: Notification, file_name: str) -> None:
    """Check what the script was given."""
    assert (at.seen / "body").read_bytes() == body
    assert (at.seen / "arguments").read_text() == "0\n"
    pairs = (at.seen / "env").read_bytes().split(b"\0")[:-1]
    given_ = dict(os.fsdecode(pair).split("=", 1) for pair in pairs)
    assert given_.pop("SPOOLER_FILE") == str(at.spool.path(State.PROCESSING, file_name))
    for variable, pattern in ENVIRONMENT.items():
        assert re.fullmatch(pattern, given_.pop(variable), re.ASCII), variable
    assert given_.keys() <= INHERITED


def check_commands(site: Site, state: State, file: Path) -> None:
    """Check that no command prints anything that a terminal could take for more than text."""
    config = ("--config", str(site.config_file))
    for command in (("list", state.value), ("show", "--body", *config, "--", str(file)), ("status",)):
        ended = in_process([*command, *(() if "--" in command else config)])
        assert (ended.status, ended.err) == (0, "")
        assert all(character.isprintable() or character == "\n" for character in ended.out)
    ended = in_process(["list", state.value, "--json", *config])
    (line,) = ended.out.splitlines()
    told = json.loads(line)
    assert told["file"] == str(file)
    validate({**told, "file": "/of-any-name.json"}, entry_schema(state))
    assert ended.out.isascii()


@settings(max_examples=examples(20), phases=unshrunk)
@given(bodies)
@example(
    b'{"Type": "../../processors/x\\u0000\\n", "EventUniqueID": "../..", "ContactID": {"idContact": "$(id)"}}'
)
@example(b'{"Type": "-rf\\u202e", "EventUniqueID": "-\\ud800", "isTest": "true"}')
def test_a_signed_body_of_any_content_goes_its_way_and_nothing_else_is_touched(body: bytes) -> None:
    with place() as at, capture_logs() as logged:
        outside = tree(at.site.root / "processors"), sorted(path.name for path in at.site.root.iterdir())
        assert call(at.receiver, body, signed(body)).status == 200
        assert [entry["event"] for entry in logged] == ["stored"]
        (stored,) = at.site.all_files()
        assert CONTRACT.fullmatch(stored.name)
        assert (stored.parent, stored.read_bytes()) == (at.site.folder("incoming"), body)
        said = Notification.read(body)
        settled = whole_turn.take(at.turn, State.INCOMING, stored.name)
        at.turn.attempt.clear_away()  # as at a processor's end
        assert settled is not None
        assert settled.state is (State.FAILED if said.problem else State.DONE)
        runs = [] if said.problem else ["script ended"]
        assert [entry["event"] for entry in logged[1:]] == ["claimed", *runs, settled.state.value]
        day = at.spool.today if settled.state is State.DONE else ""
        file = at.spool.path(settled.state, settled.name, day)
        assert file.read_bytes() == body
        assert {path.name for path in at.site.all_files()} == {file.name, log_name(file.name)}
        assert len(history.read(file.with_name(log_name(file.name)))) == 1
        if not said.problem:
            check_run(at, body, said, stored.name)
        assert outside == (
            tree(at.site.root / "processors"),
            sorted(path.name for path in at.site.root.iterdir()),
        )
        check_commands(at.site, settled.state, file)


@settings(max_examples=examples(15), phases=unshrunk)
@given(bodies, file_names, st.binary(max_size=200) | st.none())
def test_a_file_of_any_name_that_a_person_put_there_goes_its_way_whatever_its_log_holds(
    body: bytes, raw_name: bytes, log: bytes | None
) -> None:
    name = os.fsdecode(raw_name)
    with capture_logs(), place() as at:
        path = at.spool.path(State.INCOMING, name)
        if name.startswith("."):
            path.write_bytes(body)
            assert at.spool.listing(State.INCOMING).names == []
            return
        path.write_bytes(body)
        if log is not None:
            path.with_name(log_name(name)).write_bytes(log)
        assert at.spool.listing(State.INCOMING).names == [name]
        check_commands(at.site, State.INCOMING, path)
        settled = whole_turn.take(at.turn, State.INCOMING, name)
        assert settled is not None
        said = Notification.read(body)
        assert settled.state is (State.FAILED if said.problem else State.DONE)
        day = at.spool.today if settled.state is State.DONE else ""
        file = at.spool.path(settled.state, settled.name, day)
        assert file.read_bytes() == body
        if log:
            assert file.with_name(log_name(file.name)).read_bytes().startswith(log)
        if not said.problem:
            check_run(at, body, said, name)
        check_commands(at.site, settled.state, file)


@settings(max_examples=examples(2), phases=unshrunk)
@given(st.lists(st.tuples(file_names, bodies), min_size=1, max_size=20, unique_by=lambda pair: pair[0]))
def test_the_processor_itself_settles_them_all_and_loses_none(files: list[tuple[bytes, bytes]]) -> None:
    with place() as at, capture_logs() as logged:
        clock = FakeClock()
        expected = []
        for raw_name, body in files:
            path = at.spool.path(State.INCOMING, os.fsdecode(raw_name))
            path.write_bytes(body)
            past = clock.now().timestamp() - STILL_SECONDS - 60
            os.utime(path, (past, past))
            if not path.name.startswith("."):
                expected.append(body)
        processor = Processor(at.site.configuration())
        beats = []

        def beat(_status: str) -> None:
            beats.append(1)
            waiting = [*at.site.files("incoming"), *at.site.files("processing")]
            if not waiting or len(beats) > 400:
                processor.stop()

        processor.run(beat)
        settled = [path.read_bytes() for state in ("done", "failed") for path in at.site.files(state)]
        assert sorted(settled) == sorted(expected)
        assert not [entry for entry in logged if entry["event"] == "defect"]
