"""The wall clock is set back or forward: order, repeats and retries keep what is promised all the same."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import whole_turn
from conftest import NOBODY, FakeClock, MakeSpool, write_config, write_script
from whole_spool import WholeSpool

from spooler import config, history, pruning
from spooler.attempt import Attempt
from spooler.finished import FinishedIds
from spooler.intake import MOVING_SECONDS, Intake
from spooler.name import Name, stamp
from spooler.notification import Notification
from spooler.scripts import Runner, Stop
from spooler.state import State
from spooler.turn import Turn
from spooler.units import Keep
from spooler.webhook_queue import WebhookQueue

DAY, YEAR = 86_400.0, 365 * 86_400.0


def step(clock: FakeClock, seconds: float) -> None:
    """Set the wall clock forward, or back."""
    clock.set_back(-seconds)


def store(spool: WholeSpool, identifier: str, contact: int = 7) -> str:
    text = f'{{"EventUniqueID": "{identifier}", "ContactID": {{"idContact": {contact}}}}}'
    body = text.encode()
    return spool.store(body, Notification.read(body))


def again(spool: WholeSpool) -> WholeSpool:
    """Return the same folders as another process, or a later start, sees them."""
    return WholeSpool(spool.root, spool.webhook, spool.clock)


def store_in(spool: WholeSpool, state: State) -> str:
    """Store a notification and bring it to where it waits; return its name."""
    name = store(spool, "older")
    if state is not State.INCOMING:
        spool.claim(State.INCOMING, name)
    if state is State.RETRY:
        spool.postpone(name, spool.clock.now())
    return name


# Order


@pytest.mark.parametrize("waits_in", [State.INCOMING, State.PROCESSING, State.RETRY])
@pytest.mark.parametrize("back", [0.5, DAY, YEAR])
def test_after_the_clock_was_set_back_a_younger_name_still_sorts_after_one_that_waits(
    spool: WholeSpool, clock: FakeClock, waits_in: State, back: float
) -> None:
    older = store_in(spool, waits_in)
    step(clock, -back)
    first, second = store(again(spool), "first"), store(again(spool), "second")
    assert older < first < second


@pytest.mark.parametrize("waits_in", [State.INCOMING, State.PROCESSING, State.RETRY])
@pytest.mark.parametrize("lost", ["the note", "its time"])
def test_what_a_power_cut_took_of_the_latest_stamp_is_found_in_the_names(
    spool: WholeSpool, clock: FakeClock, waits_in: State, lost: str
) -> None:
    older = store_in(spool, waits_in)
    note = spool.folder(State.REJECTED) / ".stamp"
    if lost == "the note":
        note.unlink()
    else:
        os.utime(note, (0, 0))
    step(clock, -DAY)
    started = again(spool)
    started.keep_order()
    assert older < store(started, "younger")


def test_the_note_is_made_anew_when_the_folders_are_others(spool: WholeSpool, clock: FakeClock) -> None:
    older = store(spool, "older")
    spool.claim(State.INCOMING, older)
    incoming = spool.folder(State.INCOMING)
    (spool.folder(State.REJECTED) / ".stamp").unlink()
    for folder in (incoming, spool.folder(State.REJECTED)):
        folder.rmdir()
        folder.mkdir()
    step(clock, -DAY)
    assert older < store(spool, "younger")


def test_of_two_at_the_same_microsecond_the_younger_sorts_after_the_older(spool: WholeSpool) -> None:
    assert store(spool, "b") < store(spool, "a")


def test_where_the_latest_stamp_cant_be_noted_all_is_stored_in_order_all_the_same(
    spool: WholeSpool, clock: FakeClock
) -> None:
    older = store(spool, "older")
    rejected = spool.folder(State.REJECTED)
    (rejected / ".stamp").unlink()
    rejected.rmdir()
    rejected.touch()  # nothing can be made in it, whoever tries
    spool.keep_order()
    step(clock, 1.0)
    first = store(spool, "first")
    step(clock, -DAY)
    assert older < first < store(again(spool), "second")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a file that nobody may change")
def test_a_note_that_nobody_may_change_refuses_nothing(spool: WholeSpool, clock: FakeClock) -> None:
    older = store(spool, "older")
    note = spool.folder(State.REJECTED) / ".stamp"
    if subprocess.run(["chattr", "+i", note], check=False).returncode:
        pytest.skip("this file system has no such files")
    try:
        step(clock, 1.0)
        first = store(spool, "first")
        step(clock, -DAY)
        assert older < first < store(again(spool), "second")
    finally:
        subprocess.run(["chattr", "-i", note], check=True)


@pytest.mark.parametrize("received", ["29991231T235959.999999Z", "29991231T120000.000000Z"])
def test_a_name_that_a_person_gave_for_the_end_of_time_drags_no_other_along(
    spool: WholeSpool, received: str
) -> None:
    (spool.folder(State.INCOMING) / f"{received}_by-hand_test.json").write_text("{}")
    spool.keep_order()
    names = [store(spool, identifier) for identifier in "cba"]
    assert names == sorted(names)
    assert all(name.startswith("20") for name in names)


def test_names_of_several_processes_rise_while_the_clock_is_set_back(spool: WholeSpool) -> None:
    program = """
import sys
from datetime import timedelta
from pathlib import Path
from spooler.clock import SystemClock
from spooler.notification import Notification
from spooler.storing import ReceiversSpool
from spooler.state import State
class Back(SystemClock):
    back = timedelta()
    def now(self): return super().now() - self.back
clock = Back()
spool = ReceiversSpool(Path(sys.argv[1]), "crm", clock)
for number in range(40):
    clock.back = timedelta(days=number % 3)
    before = max(path.name for path in spool.folder(State.INCOMING).glob("*.json"))
    body = b'{"EventUniqueID": "%s-%d"}' % (sys.argv[2].encode(), number)
    name = spool.store(body, Notification.read(body))
    assert before < name, (before, name)
"""
    store(spool, "first")
    with ThreadPoolExecutor(3) as pool:
        ended = [
            pool.submit(
                subprocess.run,
                [sys.executable, "-c", program, str(spool.root), str(number)],
                capture_output=True,
                text=True,
                check=False,
                cwd=spool.root,
            )
            for number in range(3)
        ]
    assert [process.result().stderr for process in ended] == ["", "", ""]
    assert len(spool.listing(State.INCOMING).names) == 121


def test_a_note_of_somebody_else_or_of_no_sense_keeps_nothing_from_being_stored(
    spool: WholeSpool, clock: FakeClock
) -> None:
    store(spool, "first")
    note = spool.folder(State.REJECTED) / ".stamp"
    os.utime(note, (33e9, 33e9))  # in the 30th century, later than which no name can tell
    assert Name.parse(store(spool, "second"))
    note.unlink()
    note.symlink_to("/nowhere")
    assert Name.parse(store(spool, "third"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_a_folder_that_only_somebody_else_may_read_keeps_nothing_from_being_stored(open_to_all: Path) -> None:
    spool = WholeSpool(open_to_all / "spool", "crm")
    spool.prepare()
    for folder in (spool.root, spool.base, spool.folder(State.INCOMING), spool.folder(State.REJECTED)):
        os.chown(folder, NOBODY, NOBODY)
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            spool.keep_order()
            store(spool, "a")
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(spool.listing(State.INCOMING).names) == 1


def test_without_the_folder_of_the_note_it_is_stored_all_the_same(spool: WholeSpool) -> None:
    spool.folder(State.REJECTED).rmdir()
    assert Name.parse(store(spool, "a"))


def test_a_clock_that_is_right_gives_its_own_time(spool: WholeSpool, clock: FakeClock) -> None:
    for identifier in ("a", "b", "c"):
        clock.advance(1)
        assert store(spool, identifier).startswith(stamp(clock.now()))


def test_names_follow_the_clock_back_when_nothing_later_waits_and_not_before(
    spool: WholeSpool, clock: FakeClock
) -> None:
    intake = Intake(spool, by_contact=True)
    step(clock, YEAR)
    ahead = store(spool, "ahead")
    step(clock, -YEAR)
    intake.look()
    assert store(spool, "still-ahead") > ahead
    for name in spool.listing(State.INCOMING).names:
        intake.look()
        assert intake.backlog.peek(clock.now().timestamp()) == (name, State.INCOMING, name)
        intake.backlog.take(name)
        spool.claim(State.INCOMING, name)
        intake.look()
        assert store(spool, f"while-one-runs-{name[:4]}") > ahead
        (younger,) = (n for n in spool.listing(State.INCOMING).names if "while" in n)
        spool.path(State.INCOMING, younger).unlink()
        spool.finish(name)
        intake.backlog.settle(name)
    intake.look()
    clock.advance(1)
    name = store(spool, "right-again")
    assert name.startswith(stamp(clock.now()))
    clock.advance(1)
    intake.look()
    assert not intake.is_moving
    assert intake.backlog.peek(0) == (name, State.INCOMING, name)


def test_names_do_not_follow_the_clock_back_past_one_that_waits_in_retry(
    spool: WholeSpool, clock: FakeClock
) -> None:
    intake = Intake(spool, by_contact=True)
    step(clock, DAY)
    ahead = store(spool, "ahead")
    spool.claim(State.INCOMING, ahead)
    spool.postpone(ahead, clock.now() + timedelta(seconds=60))
    step(clock, -DAY)
    intake.look()
    assert store(spool, "younger") > ahead


def test_what_is_stored_while_the_clock_is_behind_is_passed_on_at_the_first_look(
    spool: WholeSpool, clock: FakeClock
) -> None:
    intake = Intake(spool, by_contact=True)
    store(spool, "older")
    step(clock, -DAY)
    store(spool, "younger")
    intake.look()
    assert intake.backlog.counts[0] == 2
    assert not intake.look_again_soon


def test_what_is_put_back_under_names_to_come_keeps_its_order(spool: WholeSpool, clock: FakeClock) -> None:
    older, younger = store(spool, "older"), store(spool, "younger")
    aside = spool.base / older
    spool.path(State.INCOMING, older).rename(aside)
    intake = Intake(spool, by_contact=True)
    step(clock, -DAY)
    spool.path(State.REJECTED, ".stamp").unlink()  # the names are nothing that a receiver gave
    intake.look()
    aside.rename(spool.path(State.INCOMING, older))
    intake.look()
    assert intake.backlog.peek(clock.now().timestamp()) is None  # one that is older still may be missing
    intake.look()
    found = intake.backlog.peek(clock.now().timestamp())
    assert found is not None
    assert found[2] == older
    assert younger in intake.backlog.names()


@pytest.mark.parametrize("waits_in", [State.INCOMING, State.PROCESSING, State.RETRY])
def test_the_spool_itself_does_not_follow_the_clock_back_past_one_that_waits(
    spool: WholeSpool, clock: FakeClock, waits_in: State
) -> None:
    step(clock, DAY)
    ahead = store(spool, "ahead")
    if waits_in is not State.INCOMING:
        spool.claim(State.INCOMING, ahead)
    if waits_in is State.RETRY:
        spool.postpone(ahead, clock.now())
    step(clock, -DAY)
    assert not spool.follow_clock()
    spool.path(waits_in, ahead).unlink()
    assert spool.follow_clock()


# Retries


def postponed(spool: WholeSpool, clock: FakeClock, wait_seconds: float) -> str:
    name = store(spool, "a")
    spool.claim(State.INCOMING, name)
    spool.record(State.PROCESSING, name, history.note(clock.now(), "an attempt"))
    return spool.postpone(name, clock.now() + timedelta(seconds=wait_seconds))


@pytest.mark.parametrize("back", [DAY, YEAR])
def test_after_the_clock_was_set_back_a_retry_waits_no_longer_than_was_meant(
    spool: WholeSpool, clock: FakeClock, back: float
) -> None:
    name = postponed(spool, clock, 900)
    step(clock, -back)
    intake = Intake(spool, by_contact=True, longest_wait=3960)
    intake.look()
    due = intake.backlog.next_due
    assert due is not None
    assert due - clock.now().timestamp() == pytest.approx(900, abs=1)
    clock.advance(400)
    intake.look()  # and doesn't begin anew at each look, nor at a start
    Intake(spool, by_contact=True, longest_wait=3960).look()
    assert spool.due(name) - clock.now().timestamp() == pytest.approx(500, abs=1)


def test_a_retry_that_a_person_made_late_stays_late(spool: WholeSpool, clock: FakeClock) -> None:
    name = postponed(spool, clock, 900)
    late = clock.now().timestamp() + YEAR
    os.utime(spool.path(State.RETRY, name), (late, late))
    clock.advance(1)
    intake = Intake(spool, by_contact=True, longest_wait=3960)
    intake.look()
    assert intake.backlog.next_due == late


def test_the_queue_knows_how_long_a_retry_may_wait(
    tmp_path: Path, make_spool: MakeSpool, clock: FakeClock
) -> None:
    webhook = config.load(write_config(tmp_path)).webhooks["crm"]
    spool = make_spool()
    name = postponed(spool, clock, 3600)
    step(clock, -YEAR)
    WebhookQueue(webhook, spool).look(hinted=False)
    assert spool.due(name) - clock.now().timestamp() == pytest.approx(3600, abs=1)


# Repeats


@pytest.fixture
def turn(tmp_path: Path, spool: WholeSpool) -> Turn:
    webhook = config.load(write_config(tmp_path)).webhooks["crm"]
    write_script(tmp_path / "processors", "10-script", f'echo run >> "{tmp_path}/runs"')
    finished = FinishedIds(spool, webhook.processing.deduplicate_for)
    stop = Stop()
    return Turn(webhook, spool, Attempt(webhook, spool, Runner(stop), stop), finished, lambda: 0.5)


@pytest.mark.parametrize("ahead", [DAY / 2, YEAR])
def test_a_repeat_is_known_though_the_clock_was_set_back_since(
    tmp_path: Path, spool: WholeSpool, turn: Turn, clock: FakeClock, ahead: float
) -> None:
    step(clock, ahead)
    whole_turn.take(turn, State.INCOMING, store(spool, "a"))
    step(clock, -ahead)
    spool.follow_clock()
    clock.advance(60)
    whole_turn.take(turn, State.INCOMING, store(spool, "a"))
    assert (tmp_path / "runs").read_text() == "run\n"


# Retention


def test_a_day_to_come_is_not_pruned_and_the_clock_decides_when_it_is_over(
    spool: WholeSpool, clock: FakeClock
) -> None:
    step(clock, YEAR)
    name = store(spool, "a")
    spool.claim(State.INCOMING, name)
    spool.finish(name)
    (day,) = spool.days()
    clock.advance(2 * DAY)
    assert pruning.days(spool, Keep(DAY)) == [day]
    step(clock, -YEAR)
    assert pruning.days(spool, Keep(0)) == []


# One after another


def test_one_who_puts_back_one_after_another_holds_up_the_rest_for_a_while_only(
    spool: WholeSpool, clock: FakeClock
) -> None:
    intake = Intake(spool, by_contact=True)
    names = [store(spool, f"n{number}", contact=number) for number in range(100)]
    for name in names:
        spool.claim(State.INCOMING, name)
        spool.give_up(name)
    clock.advance(1)
    intake.look()
    waiting = store(spool, "waiting", contact=1000)
    clock.advance(1)
    held_seconds = 0.0
    for name in names:
        spool.path(State.FAILED, name).rename(spool.path(State.INCOMING, name))
        intake.look()
        if not intake.is_moving:
            break
        clock.advance(0.5)
        held_seconds += 0.5
    assert held_seconds == MOVING_SECONDS
    found = intake.backlog.peek(clock.now().timestamp())
    assert found is not None
    assert found[2] in names
    clock.advance(1)
    intake.look()
    assert not intake.is_moving
    assert waiting in set(intake.backlog.names())


def test_a_repeat_of_what_was_named_by_a_clock_that_was_ahead_and_finished_by_a_right_one_is_a_repeat(
    spool: WholeSpool, clock: FakeClock
) -> None:
    step(clock, DAY / 2)
    name = store(spool, "one")
    step(clock, -DAY / 2)
    finished = FinishedIds(spool, DAY)
    spool.claim(State.INCOMING, name)
    spool.record(State.PROCESSING, name, history.note(clock.now(), "the script answered 0"))
    day = spool.today
    finished.add(spool.finish(name))
    step(clock, 60.0)
    assert spool.follow_clock()
    repeat = store(spool, "one")
    assert repeat < name
    assert finished.original(repeat) == spool.path(State.DONE, name, day)
