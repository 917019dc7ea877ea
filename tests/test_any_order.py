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
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import whole_turn
from conftest import FakeClock, write_config, write_script
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from whole_spool import WholeSpool

from spooler import config, durable, history, recovery, running
from spooler.attempt import Attempt
from spooler.finished import FinishedIds
from spooler.name import Name
from spooler.notification import Notification
from spooler.scripts import Runner, Stop
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
[ "$answer" = stop ] && kill -TERM $PPID && exit 0
[ "$answer" = stopped ] && kill -TERM $PPID && exec sleep 20
exit "$answer"
"""
ANSWERS = st.sampled_from(["0", "0", "0", "1", "75", "65", "crash", "pause", "stop", "stopped"])
GOOD = {"0", "pause", "stop"}


class TickingClock(FakeClock):
    """Time that stands still but for a microsecond at each look, as no two runs begin at one instant."""

    def now(self) -> datetime:
        self.advance(0.000001)
        return super().now()


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
    body: bytes
    must_run: bool = False  # a person brought it back, and spooler can know that
    by_hand: bool = False  # a person moved it: its order is that person's
    answered: dict[str, int] = field(default_factory=dict)  # script -> turn in which it answered 0
    failed_turns: set[int] = field(default_factory=set)  # a script failed in it, or killed the processor


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="any-order-", dir=MEMORY if MEMORY.is_dir() else None))
        self.clock = TickingClock()
        self.journal = self.folder / "journal"
        self.journal.touch()
        self.told = self.folder / "told"
        self.told.mkdir()
        self.paused = self.folder / "spool" / "crm" / "paused"
        for name in SCRIPTS:
            text = SCRIPT.format(told=self.told, journal=self.journal, paused=self.paused)
            write_script(self.folder / "processors", name, text)
        self.webhook = config.load(write_config(self.folder, SETTINGS)).webhooks["crm"]
        self.spool = WholeSpool(self.folder / "spool", "crm", self.clock)
        self.spool.prepare()
        self.known: dict[str, Known] = {}
        self.succeeded: set[str] = set()  # ids
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

    # Hypothesis leaves out rules in most examples; without arrivals nothing else would happen in those.
    @initialize(contacts=st.lists(st.integers(1, 3), min_size=3, max_size=9))
    def start(self, contacts: list[int]) -> None:
        self._restart()
        for number, contact in enumerate(contacts):
            self.a_notification_arrives(contact, number if number % 4 == 3 else None, number % 8 == 3)

    @rule(contact=st.integers(1, 3), repeats=st.none() | st.integers(0, 5), of_its_contact=st.booleans())
    def a_notification_arrives(self, contact: int, repeats: int | None, of_its_contact: bool) -> None:
        known = list(self.known.values())
        identifier = f"id-{next(self.ids)}"
        if repeats is not None and known:
            original = known[repeats % len(known)]
            identifier, contact = original.id, original.contact if of_its_contact else contact
        body = json.dumps({"EventUniqueID": identifier, "Type": "t", "ContactID": {"idContact": contact}})
        name = self.spool.store(body.encode(), Notification.read(body.encode()))
        self.known[name] = Known(name, contact, identifier, body.encode())
        self.clock.advance(0.001)

    @rule(seconds=st.sampled_from([1, 70, 700]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([0.3333, 700, 86_400]))
    def the_clock_is_set_back(self, seconds: float) -> None:
        self.clock.set_back(seconds)

    @rule(answers=st.lists(st.tuples(ANSWERS, ANSWERS), min_size=1, max_size=3))
    def turns(self, answers: list[tuple[str, str]]) -> None:
        for pair in answers:
            self._take_turn(pair, None)

    @rule(answers=st.tuples(ANSWERS, ANSWERS), crash=st.integers(1, 14), again=st.none() | st.integers(1, 8))
    def a_turn_in_which_the_processor_may_die(
        self, answers: tuple[str, str], crash: int, again: int | None
    ) -> None:
        self._take_turn(answers, crash, again)

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

    @precondition(lambda self: self._files(State.DONE))
    @rule(which=st.integers(0, 9), with_log=st.booleans())
    def a_person_replays_a_finished_one(self, which: int, with_log: bool) -> None:
        files = self._files(State.DONE)
        self._move_by_hand(files[which % len(files)], self.spool.folder(State.INCOMING), with_log)

    @precondition(lambda self: self._files(State.RETRY))
    @rule(which=st.integers(0, 9), with_log=st.booleans())
    def a_person_wants_one_in_retry_to_run_now(self, which: int, with_log: bool) -> None:
        files = self._files(State.RETRY)
        self._move_by_hand(files[which % len(files)], self.spool.folder(State.INCOMING), with_log)

    @precondition(lambda self: self._files(State.RETRY) or self._files(State.INCOMING))
    @rule(which=st.integers(0, 9))
    def a_person_deletes_a_waiting_one(self, which: int) -> None:
        files = [*self._files(State.RETRY), *self._files(State.INCOMING)]
        path = files[which % len(files)]
        path.unlink()
        path.with_suffix(".log").unlink(missing_ok=True)
        del self.known[path.name]
        self.settled = [name for name in self.settled if name != path.name]

    # What must hold after each step.

    @invariant()
    def every_notification_is_in_exactly_one_state(self) -> None:
        found = [path.name for state in State for path in self._files(state)]
        assert sorted(found) == sorted(self.known)
        for state in State:
            assert all(path.read_bytes() == self.known[path.name].body for path in self._files(state))

    @invariant()
    def nobody_overtakes_an_older_one_of_the_same_contact(self) -> None:
        for contact in {known.contact for known in self.known.values()}:
            mine = [n for n in self.settled if self._is_untouched(n) and self.known[n].contact == contact]
            came = list(self.known)  # in the order of receipt, whatever the clock said
            assert mine == sorted(mine, key=came.index)

    @invariant()
    def attempts_stay_within_the_limit(self) -> None:
        assert all(1 <= run.attempt <= MAX_ATTEMPTS for run in self.runs)
        assert all(len(known.failed_turns) <= MAX_ATTEMPTS for known in self.known.values())

    @invariant()
    def what_is_done_was_run_or_repeats_what_was(self) -> None:
        for path in self._files(State.DONE):
            known = self.known[path.name]
            ran = known.answered.keys() == set(SCRIPTS)
            assert ran or (not known.must_run and self._has_original(known)), "done without a run"

    @invariant()
    def a_log_stands_beside_its_file(self) -> None:
        assert all(log.with_suffix(".json").exists() for log in self.spool.base.rglob("*.log"))

    def everything_ends_well_once_nothing_goes_wrong_any_more(self) -> None:
        for _ in range(len(self.known) * (MAX_ATTEMPTS + 1) + 3):
            self.clock.advance(1000)
            self._take_turn(("0", "0"), None)
        for state in (State.INCOMING, State.PROCESSING, State.RETRY):
            left = [path.name for path in self.spool.folder(state).iterdir()]
            assert left == [], f"something is left in {state}"
        self.every_notification_is_in_exactly_one_state()
        self.nobody_overtakes_an_older_one_of_the_same_contact()

    # How it is done.

    def _restart(self, crash: int | None = None) -> None:
        self.every_notification_is_in_exactly_one_state()
        if crash is not None:
            _in_a_process_that_may_die(self._recover, crash)
            self.every_notification_is_in_exactly_one_state()
        recovery.recover(self.spool)
        self.finished = FinishedIds(self.spool, self.webhook.processing.deduplicate_for)
        self.finished.load()
        self.stop = Stop()
        runner = Runner(self.stop, stop_after_seconds=0.02, kill_after_seconds=0.1)
        attempt = Attempt(self.webhook, self.spool, runner, self.stop)
        self.one_turn = Turn(self.webhook, self.spool, attempt, self.finished, lambda: 0.5)
        self.queue = WebhookQueue(self.webhook, self.spool)
        self.queue.look(hinted=True)
        self._take_note_of_settled()

    def _recover(self) -> None:
        recovery.recover(self.spool)

    def _take_turn(self, answers: tuple[str, str], crash: int | None, again: int | None = None) -> None:
        self.clock.advance(10)
        self.queue.look(hinted=True)
        found = self.queue.peek()
        if found is None:
            return
        assert not self.paused.exists()
        _order, state, name = found
        taken = self.known[name]
        for path in (*self._files(State.INCOMING), *self._files(State.RETRY)):
            other = self.known[path.name]
            shares = other.contact == taken.contact or other.id == taken.id
            assert not (shares and other.name < name), "it overtakes one that waits"
        for script, answer in zip(SCRIPTS, answers, strict=True):
            (self.told / script).write_text(f"{answer}\n")
        self.turn_number += 1
        self.queue.take(name)
        ended, settled = _in_a_process_that_may_die(lambda: self._take_until_stopped(state, name), crash)
        if not ended:
            self.crashed_turns.add(self.turn_number)
        self._judge_new_runs(name)
        self._take_note_of_settled()
        if not ended:
            self._restart(again)
        self.paused.unlink(missing_ok=True)
        if ended:
            self.queue.settle(name, settled)
        if settled and settled.state is State.DONE:
            self.finished.add(settled.name)
        if ended and {"stop", "stopped"} & set(answers):
            self._restart()

    def _take_until_stopped(self, state: State, name: str) -> Settled | None:
        signal.signal(signal.SIGTERM, lambda *_: self.stop.request())
        settled = whole_turn.take(self.one_turn, state, name)
        self.one_turn.attempt.clear_away()  # as at a processor's end
        return settled

    def _judge_new_runs(self, taken: str) -> None:
        """Look at what ran in this turn, against what has run before."""
        lines = self.journal.read_text().splitlines()[len(self.runs) :]
        for line in lines:
            script, file, attempt, answer = line.split()
            self.runs.append(Run(script, file, int(attempt), answer, self.turn_number))
            known = self.known[file]
            assert file == taken
            before = self.runs[-2] if len(self.runs) > 1 else None
            if before and before.turn == self.turn_number:
                assert before.answer == "0", "another script was run after one that held everything back"
            assert script not in known.answered, "run again after it answered 0"
            assert not self._is_repeat(known), "a repeat was run"
            # Between a script's 0 and its line in the log only a crash may come; then nobody can know.
            if answer in GOOD and (
                self.turn_number not in self.crashed_turns or self._log_says(file, script, int(attempt))
            ):
                known.answered[script] = self.turn_number
            if known.answered.keys() == set(SCRIPTS):
                self.succeeded.add(known.id)
            # An orderly stop is nobody's failure (twice for each attempt; the numbers tell the rest).
            if answer not in {*GOOD, "stopped"}:
                known.failed_turns.add(self.turn_number)

    def _is_repeat(self, known: Known) -> bool:
        if known.by_hand:
            return False
        done = {path.name for path in self._files(State.DONE)}
        others = [other for other in self.known.values() if other.id == known.id and other.name != known.name]
        return any(other.name in done and other.answered.keys() == set(SCRIPTS) for other in others)

    def _has_original(self, known: Known) -> bool:
        """Say whether another one of its id was run with success, be it still there or not."""
        return known.id in self.succeeded

    def _log_says(self, file: str, script: str, attempt: int) -> bool:
        """Say whether a log, wherever it is, says that a script answered 0, since a person last moved it."""
        for log in self.spool.base.rglob(f"{Path(file).stem}.log"):
            lines = history.read(log)
            anew = [index for index, line in enumerate(lines) if line.get("anew")]
            for line in lines[anew[-1] + 1 if anew else 0 :]:
                if (line.get("script"), line.get("attempt"), line.get("exit")) == (script, attempt, 0):
                    return True
        return False

    def _take_note_of_settled(self) -> None:
        ended = {path.name for state in (State.DONE, State.FAILED) for path in self._files(state)}
        self.settled += sorted(ended - set(self.settled))

    def _move_by_hand(self, path: Path, folder: Path, with_log: bool) -> None:
        known = self.known[path.name]
        known.by_hand = True
        log = path.with_suffix(".log")
        lines = history.read(log)
        # Without a log, or with one that ends as spooler's own release does, nothing tells of a person.
        known.must_run = bool(with_log and lines and not history.is_open(lines[-1]))
        if not (with_log and lines and history.is_open(lines[-1])):
            known.answered, known.failed_turns = {}, set()
        path.rename(folder / path.name)
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

    places: list[tuple[Any, str]] = [
        (durable, "rename"),
        (durable, "sync_folder"),
        (history, "append"),
        (running.Seat, "mark"),
        (running.Seat, "clear"),
        (os, "utime"),
    ]
    for module, name in places:
        setattr(module, name, deadly(getattr(module, name)))


AnyOrder.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    # Each step starts processes: to make a failing example smaller would take longer than to read it.
    phases=[Phase.reuse, Phase.generate],
)
TestAnyOrder = AnyOrder.TestCase
