"""Whatever happens, in whatever order: a state machine over a real spool folder, with real scripts.

Arrivals, successes, failures, give-ups, crashes at every step of a turn, restarts, moves by hand, pauses.
After each step the folders must hold every notification in exactly one state, and what the scripts wrote
down of their runs must keep the promises.
"""

import itertools
import json
import os
import pickle
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from conftest import FakeClock, write_config, write_script
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spooler import config, durable, history, recovery, running
from spooler.attempt import Attempt
from spooler.finished import FinishedIds
from spooler.name import Name
from spooler.notification import Notification
from spooler.scripts import Runner, Stop
from spooler.spool import WebhookSpool
from spooler.state import State
from spooler.turn import Settled, Turn
from spooler.webhook_queue import WebhookQueue

SCRIPTS = ("10-first", "20-second")
MAX_ATTEMPTS = 3
MEMORY = Path("/dev/shm")  # thousands of syncs, none of which is what is tested here
SETTINGS = """
[processor]
timeout = "20s"
retry_delays = ["1m", "10m"]
deduplicate_for = "30d"
"""
# Answers as the next script is told to give it; then writes down that it ran, for which file and attempt.
SCRIPT = """#!/bin/sh
read -r answer < {told}/${{0##*/}}
echo "${{0##*/}} ${{SPOOLER_FILE##*/}} $SPOOLER_ATTEMPT $answer" >> {journal}
[ "$answer" = crash ] && kill -9 $PPID && exec sleep 5
[ "$answer" = pause ] && : > {paused} && exit 0
exit "$answer"
"""
ANSWERS = st.sampled_from(["0", "0", "0", "1", "75", "65", "crash", "pause"])


@dataclass
class Run:
    """A line that a script wrote: it ran, for this file, in this attempt, and gave this answer."""

    script: str
    file: str
    attempt: int
    answer: str
    turn: int


@dataclass
class Known:
    """What the test knows of a notification."""

    name: str
    contact: int
    id: str
    by_hand: bool = False  # a person moved it: its order is that person's
    answered: dict[str, int] = field(default_factory=dict)  # script -> turn in which it answered 0
    failed_turns: set[int] = field(default_factory=set)  # a script failed in it, or it was cut short


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="any-order-", dir=MEMORY if MEMORY.is_dir() else None))
        self.clock = FakeClock()
        self.journal = self.folder / "journal"
        self.journal.touch()
        self.told = self.folder / "told"
        self.told.mkdir()
        self.paused = self.folder / "spool" / "crm" / "paused"
        for name in SCRIPTS:
            text = SCRIPT.format(told=self.told, journal=self.journal, paused=self.paused)
            write_script(self.folder / "processors", name, text)
        self.webhook = config.load(write_config(self.folder, SETTINGS)).webhooks["crm"]
        self.spool = WebhookSpool(self.folder / "spool", "crm", self.clock)
        self.spool.prepare()
        self.known: dict[str, Known] = {}
        self.settled: list[str] = []  # names in the order in which they first reached done/ or failed/
        self.runs: list[Run] = []
        self.turn_number = 0
        self.crashed_turns: set[int] = set()
        self.ids = itertools.count()

    def teardown(self) -> None:
        try:
            self.everything_ends_well_once_nothing_goes_wrong_any_more()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    # What happens.

    @initialize()
    def start(self) -> None:
        self._restart()

    @rule(contact=st.integers(1, 3), repeats=st.none() | st.integers(0, 5))
    def a_notification_arrives(self, contact: int, repeats: int | None) -> None:
        known = list(self.known.values())
        identifier = f"id-{next(self.ids)}"
        if repeats is not None and known:
            original = known[repeats % len(known)]
            identifier, contact = original.id, original.contact
        body = json.dumps({"EventUniqueID": identifier, "Type": "t", "ContactID": {"idContact": contact}})
        name = self.spool.store(body.encode(), Notification.read(body.encode()))
        self.known[name] = Known(name, contact, identifier)
        self.clock.advance(0.001)

    @rule(seconds=st.sampled_from([1, 70, 700]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(answers=st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=3))
    def turns(self, answers: list[tuple[str, str]]) -> None:
        for pair in answers:
            self._take_turn(pair, None)

    @rule(answers=st.tuples(ANSWERS, ANSWERS), crash=st.integers(1, 14))
    def a_turn_in_which_the_processor_may_die(self, answers: tuple[str, str], crash: int) -> None:
        self._take_turn(answers, crash)

    @rule()
    def the_processor_crashes_when_idle(self) -> None:
        self._restart()

    @rule()
    def an_administrator_pauses_for_a_while(self) -> None:
        self.paused.touch()
        self._take_turn(("0", "0"), None)
        assert not self._files(State.PROCESSING)
        self.paused.unlink()

    @precondition(lambda self: self._files(State.FAILED))
    @rule(which=st.integers(0, 9), with_log=st.booleans())
    def a_person_puts_a_failed_one_back(self, which: int, with_log: bool) -> None:
        files = self._files(State.FAILED)
        self._move_by_hand(files[which % len(files)], self.spool.folder(State.INCOMING), with_log)

    @precondition(lambda self: self._files(State.RETRY) or self._files(State.INCOMING))
    @rule(which=st.integers(0, 9))
    def a_person_gives_up_a_waiting_one(self, which: int) -> None:
        files = [*self._files(State.RETRY), *self._files(State.INCOMING)]
        self._move_by_hand(files[which % len(files)], self.spool.folder(State.FAILED), with_log=True)

    # What must hold after each step.

    @invariant()
    def every_notification_is_in_exactly_one_state(self) -> None:
        found = [path.name for state in State for path in self._files(state)]
        assert sorted(found) == sorted(self.known)

    @invariant()
    def nobody_overtakes_an_older_one_of_the_same_contact(self) -> None:
        for contact in {known.contact for known in self.known.values()}:
            mine = [n for n in self.settled if self._is_untouched(n) and self.known[n].contact == contact]
            assert mine == sorted(mine)

    @invariant()
    def attempts_stay_within_the_limit(self) -> None:
        assert all(1 <= run.attempt <= MAX_ATTEMPTS for run in self.runs)
        assert all(len(known.failed_turns) <= MAX_ATTEMPTS for known in self.known.values())

    def everything_ends_well_once_nothing_goes_wrong_any_more(self) -> None:
        for _ in range(len(self.known) * (MAX_ATTEMPTS + 1) + 1):
            self.clock.advance(1000)
            self._take_turn(("0", "0"), None)
        for state in (State.INCOMING, State.PROCESSING, State.RETRY):
            assert not list(self.spool.folder(state).iterdir()), "something is left"
        self.every_notification_is_in_exactly_one_state()
        self.nobody_overtakes_an_older_one_of_the_same_contact()

    # How it is done.

    def _restart(self) -> None:
        recovery.recover(self.spool)
        self.finished = FinishedIds(self.spool, self.webhook.processing.deduplicate_for)
        self.finished.load()
        stop = Stop()
        attempt = Attempt(self.webhook, self.spool, Runner(stop), stop)
        self.one_turn = Turn(self.webhook, self.spool, attempt, self.finished, lambda: 0.5)
        self.queue = WebhookQueue(self.webhook, self.spool)
        self.queue.look(hinted=True)
        self._take_note_of_settled()

    def _take_turn(self, answers: tuple[str, str], crash: int | None) -> None:
        self.clock.advance(10)
        self.queue.look(hinted=True)
        found = self.queue.peek()
        if found is None:
            return
        assert not self.paused.exists()
        _order, state, name = found
        for script, answer in zip(SCRIPTS, answers, strict=True):
            (self.told / script).write_text(f"{answer}\n")
        self.turn_number += 1
        self.queue.take(name)
        ended, settled = _in_a_process_that_may_die(lambda: self.one_turn.take(state, name), crash)
        if not ended:
            self.crashed_turns.add(self.turn_number)
        self._judge_new_runs(name)
        self._take_note_of_settled()
        if not ended:
            self._restart()
        self.paused.unlink(missing_ok=True)
        if ended:
            self.queue.settle(name, settled)
        if settled and settled.state is State.DONE:
            self.finished.add(settled.name)

    def _judge_new_runs(self, taken: str) -> None:
        """Look at what ran in this turn, against what has run before."""
        lines = self.journal.read_text().splitlines()[len(self.runs) :]
        for line in lines:
            script, file, attempt, answer = line.split()
            self.runs.append(Run(script, file, int(attempt), answer, self.turn_number))
            known = self.known[file]
            assert file == taken
            earlier = known.answered.get(script)
            # Between a script's 0 and its line in the log only a crash may come; then nobody can know.
            assert earlier is None or earlier in self.crashed_turns, "run again after it answered 0"
            assert not self._is_repeat(known), "a repeat was run"
            if answer in {"0", "pause"}:
                known.answered[script] = self.turn_number
            if answer not in {"0", "pause"} or self.turn_number in self.crashed_turns:
                known.failed_turns.add(self.turn_number)

    def _is_repeat(self, known: Known) -> bool:
        if known.by_hand:
            return False
        done = {path.name for path in self._files(State.DONE)}
        others = [other for other in self.known.values() if other.id == known.id and other.name != known.name]
        return any(other.name in done and other.name in self.settled for other in others)

    def _take_note_of_settled(self) -> None:
        ended = {path.name for state in (State.DONE, State.FAILED) for path in self._files(state)}
        self.settled += sorted(ended - set(self.settled))

    def _move_by_hand(self, path: Path, folder: Path, with_log: bool) -> None:
        known = self.known[path.name]
        known.by_hand, known.answered, known.failed_turns = True, {}, set()
        path.rename(folder / path.name)
        log = path.with_suffix(".log")
        if log.exists():
            log.rename(folder / log.name) if with_log else log.unlink()
        self._take_note_of_settled()

    def _is_untouched(self, name: str) -> bool:
        return not self.known[name].by_hand

    def _files(self, state: State) -> list[Path]:
        return sorted(p for p in self.spool.folder(state).rglob("*.json") if Name.parse(p.name))


def _in_a_process_that_may_die(
    work: Callable[[], Settled | None], crash: int | None
) -> tuple[bool, Settled | None]:
    """Run a turn in a fork that is killed before its n-th step, or by a script; say whether it ended."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _work_and_exit(work, crash, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    if not content:
        return False, None
    settled = pickle.loads(content)
    if isinstance(settled, BaseException):
        raise settled
    return True, settled


def _work_and_exit(work: Callable[[], Settled | None], crash: int | None, pipe: int) -> NoReturn:
    try:
        if crash is not None:
            _die_before_call(crash)
        result: Any = work()
    except BaseException as error:  # noqa: BLE001 - it is raised again, in the parent
        result = error
    os.write(pipe, pickle.dumps(result))
    os._exit(0)


def _die_before_call(number: int) -> None:
    """Let this process be killed right before the n-th of the calls that leave something on the disk."""
    count = itertools.count(1)

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapped

    for module, name in [
        (durable, "rename"),
        (durable, "sync_folder"),
        (history, "append"),
        (running, "write"),
        (running, "clear"),
        (os, "utime"),
    ]:
        setattr(module, name, deadly(getattr(module, name)))


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestAnyOrder = AnyOrder.TestCase
