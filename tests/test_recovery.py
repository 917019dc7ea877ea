"""What the processor puts right at its start, for every instant at which it may have been killed."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
import structlog
from conftest import FakeClock, MakeSpool, durable_calls, leave_mark, tree
from whole_spool import WholeSpool

from spooler import history
from spooler.claiming import ProcessorsSpool
from spooler.history import Line, Progress
from spooler.name import Name, log_name
from spooler.recovery import Recovered, count, let_go, put_back, recover
from spooler.running import Mark, Seat
from spooler.state import MOVES, State

BODY = b'{"EventUniqueID": "7c1f4a52"}'


def run(
    attempt: int, exit_: int | str, at: str = "2026-11-23T19:00:01.000000Z", script: str = "10-crm"
) -> Line:
    return {"at": at, "attempt": attempt, "script": script, "exit": exit_, "version": "v"}


MARK = Mark("2026-11-23T19:05:00.000000Z", 2, "20-mail", "v")


@dataclass(frozen=True)
class Crash:
    """What is left behind, and what must come of it.

    file: where the notification is. logs: the lines of its log in each folder that has one.
    mark: what stands beside it while a script runs; bytes are a torn one.
    attempt: which attempt comes next. answered: scripts that needn't run again. undone: its claim was.
    """

    file: State
    logs: dict[State, list[Line]] = field(default_factory=dict)
    mark: Mark | bytes | None = None
    work_folder: bool = False
    waits_in: State = State.INCOMING
    attempt: int = 1
    answered: int = 0
    undone: bool = False


IN, PROCESSING, RETRY, DONE, FAILED = State.INCOMING, State.PROCESSING, State.RETRY, State.DONE, State.FAILED
A, B = run(1, 0), run(1, 75, "2026-11-23T19:00:02.000000Z", "20-mail")
RELEASED: Line = {"at": "a", "note": "back to incoming: paused", "released": True}
GIVEN_UP: Line = {"at": "b", "note": "given up: 20-mail ended with exit status 75, in the last of 5 attempts"}

CRASHES = {
    "claim, before the log followed the file from incoming": Crash(
        PROCESSING, {IN: [run(1, 75), run(2, 75), run(3, 0), RELEASED]}, attempt=4, answered=1
    ),
    "claim, before the log followed the file from retry": Crash(
        PROCESSING, {RETRY: [A, B]}, attempt=3, answered=1
    ),
    "claim of one that was never tried": Crash(PROCESSING, attempt=2),
    "claim, while the lines were being added to a log that was there": Crash(
        PROCESSING, {RETRY: [A, B], PROCESSING: [A, B]}, attempt=3, answered=1
    ),
    "the mark was torn by a power cut": Crash(
        PROCESSING, {PROCESSING: [A, B]}, b'{"at": "20', attempt=3, answered=1
    ),
    "the mark was emptied by a power cut": Crash(PROCESSING, {}, b"", attempt=2),
    "a script ran, the first one": Crash(PROCESSING, {}, MARK, work_folder=True, attempt=3),
    "a script ran": Crash(PROCESSING, {PROCESSING: [A, B]}, MARK, work_folder=True, attempt=3, answered=1),
    "a script had failed and its line was written": Crash(
        PROCESSING,
        {PROCESSING: [A, B, run(2, 75, MARK.at, MARK.script)]},
        MARK,
        attempt=3,
        answered=1,
    ),
    "a script had succeeded and its line was written": Crash(
        PROCESSING, {PROCESSING: [A, B, run(2, 0, MARK.at, MARK.script)]}, MARK, attempt=3, answered=2
    ),
    "a power cut undid the claim from incoming while a script ran": Crash(
        IN, {}, MARK, attempt=3, undone=True
    ),
    "a power cut undid the claim from retry while a script ran": Crash(
        RETRY, {RETRY: [A, B]}, MARK, waits_in=RETRY, attempt=3, answered=1, undone=True
    ),
    "a power cut brought back the mark of a run that is settled": Crash(
        RETRY, {RETRY: [A, B, run(2, 75, MARK.at, MARK.script)]}, MARK, waits_in=RETRY, attempt=3, answered=1
    ),
    "a power cut brought back the mark of an earlier attempt": Crash(
        PROCESSING,
        {PROCESSING: [A, B, run(2, 75, MARK.at, MARK.script), run(3, 75)]},
        MARK,
        attempt=5,
        answered=1,
    ),
    "between two scripts": Crash(PROCESSING, {PROCESSING: [A]}, attempt=2, answered=1),
    "after the last script, before finish": Crash(
        PROCESSING, {PROCESSING: [A, B, run(2, 0, script="20-mail")]}, attempt=3, answered=2
    ),
    "before postpone": Crash(PROCESSING, {PROCESSING: [A, B]}, attempt=3, answered=1),
    "before give_up": Crash(PROCESSING, {PROCESSING: [run(5, 75), GIVEN_UP]}, attempt=7),
    "a person had brought it back": Crash(
        PROCESSING,
        {PROCESSING: [run(5, 75), GIVEN_UP, {"at": "c", "note": "by hand", "anew": True}]},
        attempt=2,
    ),
    "release, before the log followed": Crash(IN, {PROCESSING: [A, RELEASED]}, attempt=1, answered=1),
    "postpone, before the log followed": Crash(RETRY, {PROCESSING: [A, B]}, None, False, RETRY, 2, 1),
    "finish, before the log followed": Crash(DONE, {PROCESSING: [A]}, waits_in=DONE, answered=1),
    "give_up, before the log followed": Crash(
        FAILED, {PROCESSING: [A, B, GIVEN_UP]}, None, False, FAILED, 2, 1
    ),
    "give_up, while the lines were being added to a log that was there": Crash(
        FAILED, {PROCESSING: [B, GIVEN_UP], FAILED: [A]}, None, False, FAILED, 2, 1
    ),
}


def folder(spool: WholeSpool, state: State) -> Path:
    path = (
        spool.folder(state) / f"{spool.clock.now():%Y-%m-%d}" if state is State.DONE else spool.folder(state)
    )
    path.mkdir(exist_ok=True)
    return path


def leave(spool: WholeSpool, crash: Crash) -> str:
    """Make the folders look as the crash left them."""
    name = str(Name(spool.clock.now(), "7c1f4a52", "contact_modified"))
    (folder(spool, crash.file) / name).write_bytes(BODY)
    for state, lines in crash.logs.items():
        history.append(folder(spool, state) / log_name(name), lines)
    processing = spool.folder(State.PROCESSING)
    if crash.mark is not None:
        leave_mark(processing, name, crash.mark if isinstance(crash.mark, Mark) else MARK)
    if isinstance(crash.mark, bytes):
        next(processing.glob(".run-*")).write_bytes(crash.mark)
    if crash.work_folder:
        (processing / ".work-x1y2" / "sub").mkdir(parents=True)
        (processing / ".work-x1y2" / "sub" / "file").touch()
    return name


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES.keys())
def test_after_a_crash_a_notification_is_in_one_state_its_attempt_counted_and_nothing_is_left(
    make_spool: MakeSpool, crash: Crash
) -> None:
    spool = make_spool()
    name = leave(spool, crash)
    assert len(recover(spool).taken_up) == (1 if crash.file is State.PROCESSING or crash.undone else 0)

    place = folder(spool, crash.waits_in)
    has_log = bool(crash.logs) or crash.file is State.PROCESSING or crash.undone
    assert {path for path, content in tree(spool.base).items() if content is not None} == {
        str((place / path).relative_to(spool.base))
        for path in ([name, log_name(name)] if has_log else [name])
    }
    assert not list(spool.folder(State.PROCESSING).iterdir())
    assert (place / name).read_bytes() == BODY
    progress = Progress.of(history.read(place / log_name(name)))
    assert (progress.attempt, len(progress.answered)) == (crash.attempt, crash.answered)


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES.keys())
def test_what_was_recovered_may_stand_where_it_is_without_a_further_word(
    make_spool: MakeSpool, crash: Crash
) -> None:
    spool = make_spool()
    name = leave(spool, crash)
    recover(spool)
    if crash.waits_in is State.INCOMING:
        assert history.is_open(spool.log_lines(State.INCOMING, name)[-1])


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES.keys())
def test_a_second_recovery_finds_nothing_to_do(make_spool: MakeSpool, crash: Crash) -> None:
    spool = make_spool()
    leave(spool, crash)
    recover(spool)
    before = tree(spool.base)
    assert len(recover(spool).taken_up) == 0
    assert tree(spool.base) == before


def test_every_move_that_may_be_cut_short_is_tried_here() -> None:
    tried = {word.strip(",") for crash in CRASHES for word in crash.split()}
    by_person = {"retry", "drop", "readmit", "prune"}  # tried where they are tested
    assert {verb for verb, move in MOVES.items() if move.sources} - by_person <= tried


def test_the_line_of_an_interrupted_script_says_which_it_was_and_when_it_began(make_spool: MakeSpool) -> None:
    spool = make_spool()
    name = leave(spool, CRASHES["a script ran"])
    recover(spool)
    assert spool.log_lines(State.INCOMING, name)[-1] == {
        "at": MARK.at,
        "attempt": 2,
        "script": "20-mail",
        "version": "v",
        "exit": "interrupted",
        "seconds": None,
        "output": "",
    }


@pytest.mark.parametrize(
    "crash", [crash for name, crash in CRASHES.items() if name.endswith("and its line was written")]
)
def test_a_script_whose_end_is_in_the_log_was_not_interrupted(make_spool: MakeSpool, crash: Crash) -> None:
    spool = make_spool()
    name = leave(spool, crash)
    recover(spool)
    *before, last = spool.log_lines(State.INCOMING, name)
    assert before == crash.logs[PROCESSING]
    assert last["note"] == "interrupted while no script was running; counts as attempt 2"


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
@pytest.mark.parametrize("state", [State.INCOMING, State.PROCESSING])
def test_of_two_marks_of_one_file_the_later_counts(
    make_spool: MakeSpool, state: State, order: tuple[int, int]
) -> None:
    spool = make_spool()
    name = leave(spool, Crash(state, {state: [A]}))
    processing = spool.folder(State.PROCESSING)
    # Its first script had another seat, and that this was cleared never came onto the disk.
    Seat(processing, order[0]).mark(name, Mark(A["at"], 1, A["script"], "v"))
    Seat(processing, order[1]).mark(name, Mark("2026-11-23T19:00:02.000000Z", 1, "20-mail", "v"))
    assert recover(spool).taken_up == [name]
    last = spool.log_lines(State.INCOMING, name)[-1]
    assert (last["script"], last["exit"], last["attempt"]) == ("20-mail", "interrupted", 1)


@pytest.mark.parametrize(
    ("moved_after_seconds", "lines", "notes"),
    [
        (60, [], ["no line tells how 10-crm, begun then, ended: a crash came before"]),
        (-0.5, [], ["no line tells how 10-crm, begun then, ended: a crash came before"]),
        (60, [run(1, 75), "the run's own"], []),
        (-60, [], []),  # an older file, of which a person has made a copy that ran
    ],
    ids=[
        "its line is lost",
        "its line is lost, and the file's stamp lags",
        "its line is there",
        "another file",
    ],
)
def test_what_had_only_just_been_finished_is_so_for_good_and_tells_if_its_last_line_was_lost(
    make_spool: MakeSpool, moved_after_seconds: float, lines: list[Line | str], notes: list[str]
) -> None:
    spool = make_spool()
    at = history.iso(datetime.now(UTC) - timedelta(seconds=moved_after_seconds))
    mark = Mark(at, 1, "10-crm", "v")
    told = [run(1, 0, at) if isinstance(line, str) else line for line in lines]
    name = leave(spool, Crash(DONE, {DONE: told} if told else {}, mark))
    with durable_calls() as calls:
        assert recover(spool) == Recovered([], {})
    place = spool.path(State.DONE, name, spool.today)
    found = history.read(place.with_suffix(".log"))
    assert found[: len(told)] == told
    assert [line["note"] for line in found[len(told) :]] == notes
    synced = [("sync", str(path)) for path in (place.with_suffix(".log"), place.parent)]
    is_another = moved_after_seconds < -1
    assert (synced == [call for call in calls if str(place.parent) in call[1]]) is not is_another
    leave_mark(spool.folder(State.PROCESSING), name, mark)  # as where the next start finds it again
    recover(spool)
    assert history.read(place.with_suffix(".log")) == found


def test_an_attempt_without_a_script_is_counted_in_a_note(make_spool: MakeSpool, clock: FakeClock) -> None:
    spool = make_spool()
    name = leave(spool, CRASHES["claim of one that was never tried"])
    recover(spool)
    assert spool.log_lines(State.INCOMING, name) == [
        {
            "at": history.iso(clock.now()),
            "note": "interrupted while no script was running; counts as attempt 1",
            "attempt": 1,
        }
    ]


def test_a_crash_in_the_middle_of_recovery_loses_nothing(make_spool: MakeSpool) -> None:
    spool = make_spool()
    name = leave(spool, CRASHES["a script ran"])
    # The line was written, and then the power went: mark, line and file are all still there.
    spool.record(State.PROCESSING, name, MARK.interrupted())
    assert len(recover(spool).taken_up) == 1
    assert spool.listing(State.INCOMING).names == [name]
    assert Progress.of(spool.log_lines(State.INCOMING, name)).attempt == 3


def test_a_torn_log_is_no_obstacle(make_spool: MakeSpool) -> None:
    spool = make_spool()
    name = leave(spool, CRASHES["a script ran"])
    log = spool.path(State.PROCESSING, log_name(name))
    os.truncate(log, log.stat().st_size - 10)
    recover(spool)
    lines = spool.log_lines(State.INCOMING, name)
    assert [line.get("exit") for line in lines] == [0, "interrupted"]


def test_many_are_taken_up_and_each_gets_its_own_line(make_spool: MakeSpool, clock: FakeClock) -> None:
    spool = make_spool()
    names = []
    for number in range(5):
        names.append(leave(spool, Crash(PROCESSING)))
        leave_mark(spool.folder(State.PROCESSING), names[-1], Mark("at", number + 1, f"{number}0-x", "v"))
        clock.advance(1)
    assert len(recover(spool).taken_up) == 5
    scripts = [spool.log_lines(State.INCOMING, name)[0]["script"] for name in names]
    assert scripts == [f"{number}0-x" for number in range(5)]


def test_a_log_whose_file_a_person_took_away_stays(make_spool: MakeSpool) -> None:
    spool = make_spool()
    history.append(spool.path(State.RETRY, "gone.log"), [A])
    spool.path(State.PROCESSING, ".hidden.log").touch()
    spool.path(State.RETRY, ".hidden.json").touch()
    before = tree(spool.base)
    assert len(recover(spool).taken_up) == 0
    assert tree(spool.base) == before


def test_a_file_of_a_name_that_a_person_gave_is_taken_up_too(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.path(State.PROCESSING, "by hand.json").write_bytes(BODY)
    recover(spool)
    assert spool.listing(State.INCOMING).names == ["by hand.json"]


def test_one_whose_name_is_taken_in_incoming_is_put_beside_it(make_spool: MakeSpool) -> None:
    spool = make_spool()
    name = leave(spool, Crash(PROCESSING, {PROCESSING: [A]}))
    leave(spool, Crash(IN))
    recover(spool)
    other, again = spool.listing(State.INCOMING).names
    assert other == name
    assert spool.log_lines(State.INCOMING, other) == []
    assert spool.log_lines(State.INCOMING, again)[0] == A


def test_what_looks_like_a_notification_and_is_none_is_left_alone(make_spool: MakeSpool) -> None:
    spool = make_spool()
    spool.path(State.PROCESSING, "folder.json").mkdir()
    assert len(recover(spool).taken_up) == 0
    assert spool.path(State.PROCESSING, "folder.json").is_dir()


def test_a_script_that_outlived_the_processor_is_ended_before_the_next_attempt(make_spool: MakeSpool) -> None:
    spool = make_spool()
    name = leave(spool, CRASHES["a script ran"])
    survivors = [
        subprocess.Popen(["sleep", "60"], env={"SPOOLER_FILE": value, "PATH": os.environ["PATH"]})
        for value in (str(spool.path(State.PROCESSING, name)), "/another/file.json")
    ]
    count(spool, name, crashed=True)
    put_back(spool, name)
    assert not list(spool.folder(State.PROCESSING).glob(".run-*"))
    assert survivors[0].wait() == -signal.SIGKILL
    assert survivors[1].poll() is None
    survivors[1].kill()
    survivors[1].wait()


@pytest.mark.parametrize("taken_to", [None, State.INCOMING, State.FAILED])
def test_the_log_follows_a_file_that_a_person_took_out_of_processing(
    make_spool: MakeSpool, taken_to: State | None
) -> None:
    spool = make_spool()
    name = leave(spool, CRASHES["a script ran"])
    path = spool.path(State.PROCESSING, name)
    if taken_to:
        path.rename(spool.path(taken_to, name))
    else:
        path.unlink()
    let_go(spool, name)
    assert not list(spool.folder(State.PROCESSING).glob(".run-*"))
    assert spool.log_lines(taken_to or State.INCOMING, name) == [A, B]


def test_the_due_time_of_one_that_was_to_be_postponed_means_nothing_in_incoming(
    make_spool: MakeSpool, clock: FakeClock
) -> None:
    spool = make_spool()
    name = leave(spool, CRASHES["before postpone"])
    due = (clock.now() + timedelta(hours=1)).timestamp()
    os.utime(spool.path(State.PROCESSING, name), (due, due))
    recover(spool)
    assert spool.listing(State.INCOMING).names == [name]


@pytest.mark.parametrize(
    "put",
    [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("gone"), lambda path: path.symlink_to("/dev/zero")],
)
def test_one_whose_log_is_no_file_holds_up_no_other(
    make_spool: MakeSpool, clock: FakeClock, put: Callable[[Path], None]
) -> None:
    spool = make_spool()
    name = leave(spool, CRASHES["claim of one that was never tried"])
    put(spool.path(State.PROCESSING, log_name(name)))
    clock.advance(1)
    other = leave(spool, CRASHES["a script ran, the first one"])
    assert recover(spool) == Recovered([other], {name: False})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a log to somebody else")
def test_one_whose_log_is_somebody_elses_holds_up_no_other(clock: FakeClock) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:  # where others may go
        spool = WholeSpool(Path(place), "crm", clock)
        spool.prepare()
        _check_somebody_elses(spool)


@pytest.mark.parametrize(
    "put",
    [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("gone"), lambda path: path.symlink_to("/dev/zero")],
)
def test_a_log_that_was_left_behind_and_is_no_file_holds_up_nothing(
    make_spool: MakeSpool, clock: FakeClock, put: Callable[[Path], None]
) -> None:
    spool = make_spool()
    name = leave(spool, Crash(DONE, {DONE: [A]}))
    put(spool.path(State.RETRY, log_name(name)))
    clock.advance(1)
    other = leave(spool, CRASHES["claim, before the log followed the file from retry"])
    with structlog.testing.capture_logs() as logged:
        assert recover(spool) == Recovered([other], {})
    told = {"event": "left alone", "id": "7c1f4a52", "file": log_name(name)}
    assert told.items() <= logged[0].items()
    assert (
        spool.path(State.RETRY, log_name(name)).is_symlink()
        or spool.path(State.RETRY, log_name(name)).exists()
    )
    assert history.read(folder(spool, DONE) / log_name(name)) == [A]
    assert [line.get("script") for line in spool.log_lines(State.INCOMING, other)] == [
        "10-crm",
        "20-mail",
        None,
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a log to somebody else")
def test_a_log_that_was_left_behind_and_is_somebody_elses_holds_up_nothing(
    open_to_all: Path, clock: FakeClock
) -> None:
    spool = WholeSpool(open_to_all, "crm", clock)
    spool.prepare()
    name = leave(spool, Crash(DONE, {RETRY: [A], DONE: [B]}))
    clock.advance(1)
    other = leave(spool, CRASHES["a script ran"])
    _open_all(spool)
    spool.path(State.RETRY, log_name(name)).chmod(0o600)
    assert _recovered_by_another_user(spool) == Recovered([other], {})
    assert history.read(spool.path(State.RETRY, log_name(name))) == [A]


def test_what_was_put_back_and_whose_log_could_not_follow_holds_up_nothing(
    make_spool: MakeSpool, clock: FakeClock
) -> None:
    spool = make_spool()
    name = leave(spool, CRASHES["a script ran"])
    odd = spool.path(State.INCOMING, log_name(name))
    odd.mkdir()
    clock.advance(1)
    other = leave(spool, Crash(PROCESSING))
    with structlog.testing.capture_logs() as logged:
        assert recover(spool) == Recovered([name, other], {})
    told = [line["event"] for line in logged if line["file"] == name]
    assert told == ["not synced", "taken up again"]
    odd.rmdir()
    recover(spool)
    assert [line["exit"] for line in history.read(odd)] == [0, 75, "interrupted"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to close a folder to somebody else")
def test_a_closed_folder_in_done_keeps_nothing_from_being_put_right(
    open_to_all: Path, clock: FakeClock
) -> None:
    spool = WholeSpool(open_to_all, "crm", clock)
    spool.prepare()
    name = leave(spool, CRASHES["finish, before the log followed"])
    mark = Mark(history.iso(spool.clock.now()), 2, "20-mail", "v")
    leave_mark(spool.folder(State.PROCESSING), name, mark)
    closed = spool.folder(State.DONE) / "2026-01-01"  # which comes first
    closed.mkdir()
    _open_all(spool)
    closed.chmod(0o700)
    assert _recovered_by_another_user(spool) == Recovered([], {})
    assert [line.get("script") for line in history.read(folder(spool, DONE) / log_name(name))] == [
        "10-crm",
        None,
    ]


def _check_somebody_elses(spool: WholeSpool) -> None:
    name = leave(spool, CRASHES["a script ran"])
    other = str(Name(spool.clock.now() + timedelta(seconds=1), "other", "t"))
    spool.path(State.PROCESSING, other).write_bytes(BODY)
    _open_all(spool)
    spool.path(State.PROCESSING, log_name(name)).chmod(0o600)
    assert _recovered_by_another_user(spool) == Recovered([other], {name: False})


def _open_all(spool: WholeSpool) -> None:
    for path in (spool.root, *spool.root.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)


def _recovered_by_another_user(spool: WholeSpool) -> Recovered:
    with get_context("fork").Pool(1) as pool:
        return pool.apply(_recover_as, (ProcessorsSpool(spool.root, spool.webhook, spool.clock), 12345))


def _recover_as(spool: ProcessorsSpool, user: int) -> Recovered:
    os.setuid(user)
    return recover(spool)


def test_one_that_somebody_named_by_hand_is_logged_by_its_own_id(make_spool: MakeSpool) -> None:
    spool = make_spool()
    for name in ("a.json", "b.json"):
        spool.path(PROCESSING, name).write_text(f'{{"EventUniqueID": "id-of-{name[0]}"}}')
    spool.path(PROCESSING, "b.log").mkdir()
    with structlog.testing.capture_logs() as logged:
        recover(spool)
    assert [(line["event"], line["id"]) for line in logged] == [
        ("taken up again", "id-of-a"),
        ("left alone", "id-of-b"),
    ]


def test_an_odd_log_beside_one_whose_claim_was_undone_holds_up_no_other(make_spool: MakeSpool) -> None:
    spool = make_spool()
    names = [Name(spool.clock.now(), f"id-{number}", "t") for number in range(3)]
    for number, name in enumerate(names):
        spool.path(State.INCOMING, str(name)).write_bytes(BODY)
        leave_mark(spool.folder(State.PROCESSING), str(name), Mark("at", number + 1, "10-x", "v"))
    os.mkfifo(spool.path(State.INCOMING, log_name(str(names[1]))))
    with structlog.testing.capture_logs() as logged:
        found = recover(spool)
    assert sorted(found.taken_up) == [str(names[0]), str(names[2])]
    assert [(line["event"], line["file"]) for line in logged] == [("left alone", str(names[1]))]
