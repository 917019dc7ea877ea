"""Scripts that stay alive: what each is given, whose its answers are, and when it is ended."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import structlog
from conftest import examples, is_alive, no_more_descriptors, wait_until, write_script
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spooler import dropins
from spooler.keeper import IDLE_SECONDS, MOST_NOTIFICATIONS, Keeper
from spooler.living import Run
from spooler.output import OUTPUT_BYTES
from spooler.scripts import Runner, Stop
from spooler.work_folder import WorkFolders

pytestmark = pytest.mark.usefixtures("leaves_no_process")

PATIENCE = 20.0
QUICK = 0.3  # a time limit that a script is meant to run into

# `next` answers with its argument and takes the next notification, in bash; `$id` is which one is in hand.
STAYS = r"""#!/bin/bash
id=$SPOOLER_ID file=$SPOOLER_FILE
answer() { echo "$1" >&$SPOOLER_FD; }
await() {
    IFS= read -r line <&$SPOOLER_FD || exit 0
    [[ $line =~ '"SPOOLER_ID": "'([^\"]*) ]]; id=${BASH_REMATCH[1]}
    [[ $line =~ '"file": "'([^\"]*) ]]; file=${BASH_REMATCH[1]}
}
next() { answer "$1"; await; }
"""


@dataclass
class Home:
    """A folder as `processing/` is, with a keeper of the scripts that run in it."""

    folder: Path
    kill_after_seconds: float = 5.0
    stop_after_seconds: float = 0.1
    most_notifications: int = MOST_NOTIFICATIONS
    idle_seconds: float = IDLE_SECONDS
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        self.processing = self.folder / "processing"
        self.processing.mkdir()
        self.runner = Runner(
            self.stop,
            stop_after_seconds=self.stop_after_seconds,
            kill_after_seconds=self.kill_after_seconds,
        )
        self.keeper = Keeper(
            self.runner,
            WorkFolders(self.processing),
            most_notifications=self.most_notifications,
            idle_seconds=self.idle_seconds,
        )
        self._ids = count(1)

    def script(self, text: str, name: str = "10-test") -> Path:
        """Write a script in bash that stays alive, unless it has a `#!` line of its own."""
        return write_script(
            self.folder / "scripts", name, text if text.startswith("#!") else f"{STAYS}{text}\n"
        )

    def give(
        self, script: Path, body: bytes = b"{}", *, timeout_seconds: float = PATIENCE, **variables: str
    ) -> Run:
        """Have the script work on a notification with an id of its own: 1, 2, 3, …"""
        identifier = str(next(self._ids))
        file = self.processing / f"{identifier}.json"
        file.write_bytes(body)
        environment = {"PATH": os.environ["PATH"], "SPOOLER_ID": identifier, "SPOOLER_FILE": str(file)}
        try:
            return self.keeper.run(self.as_found(script), file, environment | variables, timeout_seconds)
        finally:
            file.unlink()

    def as_found(self, script: Path) -> dropins.Script:
        (found,) = [one for one in dropins.find(script.parent, "t") if one.path == script]
        return found

    def looks(self) -> bool:
        """Let the keeper look, as the processor's loop does all the time."""
        self.keeper.look()
        return True

    def work_folders(self) -> list[Path]:
        return sorted(self.processing.glob(".work-*"))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home that is empty in the end."""
    made = Home(tmp_path)
    before = open_descriptors()
    yield made
    close(made)
    assert open_descriptors() <= before  # of what others have left, some may be gone


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Home]:
    """One where nobody is waited for long."""
    made = Home(tmp_path, kill_after_seconds=0.1)
    yield made
    close(made)


def close(home: Home) -> None:
    home.keeper.close()
    assert list(home.processing.iterdir()) == []


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def outputs(home: Home, script: Path, times: int) -> list[str]:
    return [home.give(script).output for _ in range(times)]


def exits(home: Home, script: Path, times: int) -> list[object]:
    return [home.give(script).exit for _ in range(times)]


# One process for many.


def test_a_script_that_answers_is_given_the_next_notification(home: Home) -> None:
    script = home.script('while :; do echo "$$ $id $(cat "$file")"; next 0; done')
    runs = [home.give(script, b"body %d" % number) for number in range(4)]
    assert {run.exit for run in runs} == {0}
    told = [run.output.split(maxsplit=2) for run in runs]
    assert len({process for process, _id, _body in told}) == 1
    assert [(identifier, body) for _, identifier, body in told] == [
        (str(number + 1), f"body {number}\n") for number in range(4)
    ]


def test_a_script_that_knows_nothing_of_it_is_started_for_each(home: Home) -> None:
    script = home.script('#!/bin/sh\necho "$$ $(cat)"; exit $SPOOLER_ID')
    runs = [home.give(script, b"body") for _ in range(3)]
    assert [run.exit for run in runs] == [1, 2, 3]
    assert len({run.output for run in runs}) == 3
    assert all(run.output.endswith(" body\n") for run in runs)
    assert len(home.work_folders()) == 1  # that of each was the next one's


@pytest.mark.parametrize("status", [1, 65, 75, 255])
def test_any_status_may_be_told_and_it_lives_on(home: Home, status: int) -> None:
    script = home.script(f"while :; do echo $$; next {status}; done")
    runs = [home.give(script) for _ in range(3)]
    assert [run.exit for run in runs] == [status] * 3
    assert len({run.output for run in runs}) == 1


def test_a_status_is_that_of_the_notification_in_hand(home: Home) -> None:
    script = home.script('while :; do next "$id"; done')
    assert exits(home, script, 20) == list(range(1, 21))


def test_the_next_one_is_told_with_all_variables(home: Home) -> None:
    script = home.script(
        f"#!{sys.executable} -S\nimport os\nfd = int(os.environ['SPOOLER_FD'])\n"
        "print(fd, flush=True)\nline = True\n"
        "while line:\n    os.write(fd, b'0\\n')\n    line = os.read(fd, 65536)\n"
        "    print(line.decode(), flush=True)\n"
    )
    channel = home.give(script).output.strip()
    given = home.give(script, SPOOLER_TYPE="t", SPOOLER_CONTACT="", SPOOLER_ATTEMPT="3", OTHER="x\ny")
    assert json.loads(given.output) == {
        "file": f"{home.processing}/2.json",
        "environment": {
            "SPOOLER_ID": "2",
            "SPOOLER_FILE": f"{home.processing}/2.json",
            "SPOOLER_TYPE": "t",
            "SPOOLER_CONTACT": "",
            "SPOOLER_ATTEMPT": "3",
            "SPOOLER_FD": channel,
        },
    }


def test_one_that_json_cannot_tell_of_is_given_to_a_new_process(home: Home) -> None:
    script = home.script("while :; do echo $$; next 0; done")
    first = home.give(script).output
    odd = home.give(script, SPOOLER_FILE=os.fsdecode(b"/spool/\xff.json"))
    assert odd.exit == 0
    assert odd.output != first
    assert home.give(script).output == odd.output


def test_two_scripts_stay_alive_beside_each_other(home: Home) -> None:
    one, other = (home.script(f"while :; do echo {name} $$; next 0; done", name) for name in ("10-a", "20-b"))
    told = [home.give(script).output for _ in range(3) for script in (one, other)]
    assert told == told[:2] * 3
    assert {line.split()[0] for line in told} == {"10-a", "20-b"}


def test_each_worker_has_a_process_of_its_own_and_nothing_is_mixed(home: Home) -> None:
    script = home.script("while :; do mine=$id; sleep 0.0$((RANDOM % 3)); echo $$ $mine; next $mine; done")
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: home.give(script), range(60)))
    assert all(run.output.split()[1] == str(run.exit) for run in runs)
    assert sorted(map(str, (run.exit for run in runs)), key=int) == [str(n) for n in range(1, 61)]
    assert 1 <= len({run.output.split()[0] for run in runs}) <= 4
    assert len(home.work_folders()) <= 4


# Output.


def test_output_belongs_to_the_notification_that_was_in_hand(home: Home) -> None:
    script = home.script("while :; do echo out $id; echo error $id >&2; next 0; done")
    assert outputs(home, script, 3) == [f"out {n}\nerror {n}\n" for n in (1, 2, 3)]


def test_at_most_16_kib_of_output_are_kept_for_each(home: Home) -> None:
    script = home.script("while :; do head -c 300000 /dev/zero | tr '\\0' $id; echo end; next 0; done")
    for number, output in enumerate(outputs(home, script, 3), 1):
        assert output == str(number) * (OUTPUT_BYTES - 4) + "end\n"


def test_what_it_writes_while_it_waits_stands_with_the_next(home: Home) -> None:
    script = home.script("while :; do answer 0; sleep 0.3; head -c 200000 /dev/zero; echo late; await; done")
    assert home.give(script).exit == 0
    assert home.give(script).output.endswith("late\n")


def test_one_that_has_closed_its_output_goes_on(home: Home) -> None:
    script = home.script("exec 1>&- 2>&-; while :; do next 3; done")
    started = time.thread_time()
    assert exits(home, script, 3) == [3, 3, 3]
    assert time.thread_time() - started < 1


# Its working folder.


def test_each_notification_finds_an_empty_working_folder(home: Home) -> None:
    script = home.script("while :; do ls -A; mkdir -p a/b; chmod 0 a; touch .c; ln -s / d; next 0; done")
    assert outputs(home, script, 3) == ["", "", ""]
    assert len(home.work_folders()) == 1
    assert list(home.work_folders()[0].iterdir()) == []


def test_one_that_takes_its_working_folder_away_is_ended(home: Home) -> None:
    script = home.script('while :; do pwd; rmdir "$PWD"; next 0; done')
    first, second = outputs(home, script, 2)
    assert first != second
    home.keeper.close()


# When it ends.


def test_after_so_many_notifications_it_is_started_anew(tmp_path: Path) -> None:
    home = Home(tmp_path, most_notifications=3)
    script = home.script("while :; do echo $$; next 0; done")
    told = outputs(home, script, 7)
    assert [told.count(process) for process in dict.fromkeys(told)] == [3, 3, 1]
    close(home)
    assert MOST_NOTIFICATIONS == 1000


def test_what_stands_after_its_loop_is_run_when_it_is_ended(tmp_path: Path) -> None:
    home = Home(tmp_path, most_notifications=2)
    script = home.script(
        f"trap 'sleep 0.2; echo $$ >> {tmp_path}/left' EXIT; while :; do echo $$; next 0; done"
    )
    told = outputs(home, script, 3)
    # The old one has left before the new one was started.
    assert (tmp_path / "left").read_text() == told[0] == told[1]
    close(home)


def test_after_so_long_without_any_it_is_ended(tmp_path: Path) -> None:
    home = Home(tmp_path, idle_seconds=0.2)
    script = home.script("while :; do echo $$; next 0; done")
    process = int(home.give(script).output)
    home.keeper.look()
    assert is_alive(process)
    wait_until(lambda: home.looks() and not is_alive(process))
    assert int(home.give(script).output) != process
    close(home)
    assert IDLE_SECONDS == 300


def test_the_one_that_answered_last_goes_on_so_that_a_surplus_ends(tmp_path: Path) -> None:
    home = Home(tmp_path, idle_seconds=0.5)
    slow = f"[ $id = 1 ] && touch {tmp_path}/begun && while ! [ -e {tmp_path}/go ]; do sleep 0.01; done"
    script = home.script(f"while :; do echo $$; {slow}; next 0; done")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(home.give, script)
        wait_until((tmp_path / "begun").exists)
        surplus = int(home.give(script).output)
        (tmp_path / "go").touch()
        last = first.result().output
    assert set(outputs(home, script, 3)) == {last}

    def gives_and_looks() -> bool:
        assert home.give(script).output == last
        return home.looks()

    wait_until(lambda: gives_and_looks() and not is_alive(surplus))
    close(home)


def test_a_changed_file_is_served_by_a_new_process_and_the_old_one_has_left_before(home: Home) -> None:
    text = f"trap 'sleep 0.2; echo left >> {home.folder}/journal' EXIT; while :; do echo old; next 0; done"
    script = home.script(text)
    assert outputs(home, script, 2) == ["old\n", "old\n"]
    changed = home.script(f"cat {home.folder}/journal; while :; do echo new; next 0; done", ".part")
    changed.rename(script)
    assert outputs(home, script, 2) == ["left\nnew\n", "new\n"]


def test_one_whose_file_was_touched_is_started_anew(home: Home) -> None:
    """It may be a module that it loads that has changed."""
    script = home.script("while :; do echo $$; next 0; done")
    first = home.give(script).output
    os.utime(script)
    assert home.give(script).output != first


@pytest.mark.parametrize("how", [Path.unlink, lambda path: path.chmod(0o644), Path.touch])
def test_one_that_waits_is_ended_when_its_file_changes_or_goes(
    home: Home, how: Callable[[Path], None]
) -> None:
    script = home.script("while :; do echo $$; next 0; done")
    process = int(home.give(script).output)
    how(script)
    wait_until(lambda: home.looks() and not is_alive(process))


def test_one_that_listens_to_nothing_is_killed(hasty: Home) -> None:
    script = hasty.script("trap '' TERM; answer 0; while :; do sleep 0.05; done")
    assert hasty.give(script).exit == 0
    hasty.keeper.close()


# When it dies.


@pytest.mark.parametrize(("end", "status"), [("exit 3", 3), ("exit 0", 0), ("kill -9 $$", "killed")])
def test_its_end_answers_for_what_it_has_in_hand(home: Home, end: str, status: object) -> None:
    script = home.script(f"while :; do echo $$ $id; [ $id = 2 ] && {end}; next 0; done")
    runs = [home.give(script) for _ in range(3)]
    assert [run.exit for run in runs] == [0, status, 0]
    processes = [run.output.split()[0] for run in runs]
    assert processes[0] == processes[1] != processes[2]
    assert runs[1].output == f"{processes[0]} 2\n"


@pytest.mark.parametrize("end", ["exit 0", "exit 3", "kill -9 $$"])
def test_its_end_while_it_waits_costs_nothing(home: Home, end: str) -> None:
    script = home.script(f"echo $$; answer 0; {end}")
    first = home.give(script)
    process = int(first.output)
    wait_until(lambda: not is_alive(process))
    with structlog.testing.capture_logs() as logged:
        second = home.give(script)
    assert [first.exit, second.exit] == [0, 0]
    assert second.output != first.output
    assert [line["reason"] for line in logged] == ["it ended while it waited"]


def test_one_that_has_ended_while_it_waits_is_cleared_away(home: Home) -> None:
    script = home.script("answer 0; sleep 0.3; echo why; exit 3")
    assert home.give(script).exit == 0
    with structlog.testing.capture_logs() as logged:
        wait_until(lambda: home.looks() and logged)
    assert (logged[0]["exit"], logged[0]["output"]) == (3, "why\n")


@pytest.mark.parametrize("end", ["exit 0", "exit 3", "kill -9 $$"])
def test_one_that_ends_without_having_read_of_the_next_has_not_begun_it(home: Home, end: str) -> None:
    """Above all it hasn't done it, though its exit status is 0."""
    script = home.script(
        f"[ $id = 2 ] && exit 7; answer 0; while ! [ -e {home.folder}/go ]; do :; done; {end}"
    )
    assert home.give(script).exit == 0

    def let_go() -> None:
        time.sleep(0.2)
        (home.folder / "go").touch()

    thread = threading.Thread(target=let_go)
    thread.start()
    assert home.give(script).exit == 7  # a new process had it
    thread.join()


def test_a_status_that_was_told_counts_though_it_then_dies(home: Home) -> None:
    script = home.script("answer 65; exit 0")
    assert exits(home, script, 30) == [65] * 30


def test_its_children_live_as_long_as_it_does(hasty: Home) -> None:
    hasty.script("exec sleep 60", "20-linger")
    linger = f"{hasty.folder}/scripts/20-linger"
    text = f"setsid {linger} & echo $!; (env -i setsid {linger} & echo $!)"
    script = hasty.script(f"{text}; while :; do next 0; done")
    started = [int(line) for line in hasty.give(script).output.split()]
    other = hasty.script("#!/bin/sh\nsetsid sleep 60 & env -i setsid sleep 60 & echo $!", "30-other")
    time.sleep(0.05)  # the kernel's clock for this has ticks
    for _ in range(3):
        assert hasty.give(script).exit == 0
        assert hasty.give(other).exit == 0
        assert not is_alive(int(hasty.give(other).output))
    assert len(started) == 2
    assert all(is_alive(process) for process in started)
    hasty.keeper.close()
    wait_until(lambda: not any(is_alive(process) for process in started))


def test_what_another_script_has_left_is_ended_though_one_stays_alive(hasty: Home) -> None:
    alive = hasty.script("while :; do next 0; done", "10-alive")
    leaves = hasty.script(
        "#!/bin/sh\nfor way in '' 'env -i'; do (sleep 0.05; exec $way setsid sleep 60) & echo $!; done\n"
        "sleep 0.2",
        "20-leaves",
    )
    same = str(hasty.processing / "the same")
    assert hasty.give(alive, SPOOLER_FILE=same).exit == 0
    time.sleep(0.02)  # what is born in the same tick of the kernel's might be its own
    left = [int(line) for line in hasty.give(leaves, SPOOLER_FILE=same).output.split()]
    assert len(left) == 2
    assert not any(is_alive(process) for process in left)
    assert hasty.give(alive, SPOOLER_FILE=same).exit == 0


# The time limit.


def test_the_time_limit_is_that_of_each_notification(hasty: Home) -> None:
    script = hasty.script("while :; do echo $$; sleep 0.1; [ $id = 6 ] && sleep 60; next 0; done")
    runs = [hasty.give(script, timeout_seconds=1) for _ in range(7)]
    assert [run.exit for run in runs] == [0, 0, 0, 0, 0, "timeout", 0]
    assert len({run.output for run in runs[:6]}) == 1
    assert runs[6].output != runs[5].output
    assert 1 <= runs[5].seconds < PATIENCE
    assert runs[4].seconds < 1


def test_a_status_after_the_time_limit_is_none(hasty: Home) -> None:
    script = hasty.script("trap 'answer 0' TERM; while ! read -t 0.05 line <&$SPOOLER_FD; do :; done")
    run = hasty.give(script, timeout_seconds=QUICK)
    assert run.exit == "timeout"


def test_one_that_stops_itself_is_killed(hasty: Home) -> None:
    script = hasty.script("[ $id = 1 ] && next 0; kill -STOP $$")
    assert [hasty.give(script, timeout_seconds=QUICK).exit for _ in range(2)] == [0, "timeout"]


STUCK = {"stopped": "kill -STOP $$", "became another": "exec sleep 60", "deaf": "trap '' TERM; sleep 60"}


@pytest.mark.parametrize("stuck", STUCK.values(), ids=STUCK)
def test_one_that_is_stuck_while_it_waits_is_ended_and_the_next_given_to_a_new_one(
    hasty: Home, stuck: str
) -> None:
    script = hasty.script(f"echo $id; [ $id = 1 ] || exit 7; answer 0; {stuck}")
    assert hasty.give(script).exit == 0
    with structlog.testing.capture_logs() as logged:
        run = hasty.give(script, timeout_seconds=QUICK)
    assert (run.exit, run.output) == (7, "2\n")
    assert [(line["reason"], line["exit"], line["output"]) for line in logged] == [
        (
            "it didn't read of the next within the time limit",
            "timeout",
            "spooler: it ended before it had read of this notification\n",
        )
    ]


def test_of_several_that_are_stuck_a_notification_waits_for_one_alone(hasty: Home) -> None:
    text = f"[ $id -le 3 ] || exit 7; touch {hasty.folder}/$id; while ! [ -e {hasty.folder}/go ]; do :; done"
    script = hasty.script(f"{text}; answer 0; kill -STOP $$")
    with ThreadPoolExecutor(3) as pool:
        first = [pool.submit(hasty.give, script) for _ in range(3)]
        wait_until(lambda: all((hasty.folder / name).exists() for name in "123"))
        (hasty.folder / "go").touch()
        assert [run.result().exit for run in first] == [0, 0, 0]
    with structlog.testing.capture_logs() as logged:
        assert hasty.give(script, timeout_seconds=QUICK).exit == 7
    assert len(logged) == 1


def test_one_that_is_slow_after_its_answer_has_the_time_limit_to_read_of_the_next(home: Home) -> None:
    script = home.script("while :; do echo $$; answer 0; sleep 0.5; await; done")
    assert len(set(outputs(home, script, 3))) == 1


def test_one_that_has_read_of_a_notification_runs_into_the_time_limit_with_it(hasty: Home) -> None:
    script = hasty.script("next 0; exec sleep 60")
    assert [hasty.give(script, timeout_seconds=QUICK).exit for _ in range(2)] == [0, "timeout"]


def test_half_a_status_is_waited_on(hasty: Home) -> None:
    script = hasty.script("printf 0 >&$SPOOLER_FD; sleep 60")
    assert hasty.give(script, timeout_seconds=QUICK).exit == "timeout"


# When spooler stops.


# It tells which came first, the end of the channel or SIGTERM.
CLEANS_UP = "trap 'echo signal; exit 1' TERM; answer 0; read line <&$SPOOLER_FD; sleep 0.3; echo cleaned"


def test_one_that_waits_has_its_time_to_clean_up_when_spooler_stops(home: Home) -> None:
    assert home.give(home.script(CLEANS_UP)).exit == 0
    home.stop.request()
    with structlog.testing.capture_logs() as logged:
        close(home)
    assert [(line["reason"], line["exit"], line["output"]) for line in logged] == [
        ("spooler stops", 0, "cleaned\n")
    ]


def test_one_that_answers_when_spooler_stops_has_its_time_to_clean_up(tmp_path: Path) -> None:
    home = Home(tmp_path, stop_after_seconds=PATIENCE)
    script = home.script(f"touch {tmp_path}/begun; sleep 0.3; {CLEANS_UP}")
    with ThreadPoolExecutor(1) as pool, structlog.testing.capture_logs() as logged:
        running = pool.submit(home.give, script)
        wait_until((tmp_path / "begun").exists)
        home.stop.request()
        home.keeper.end_waiting()
        assert running.result().exit == 0
        close(home)
    assert [(line["exit"], line["output"]) for line in logged] == [(0, "cleaned\n")]


def test_one_that_does_not_heed_the_end_of_its_channel_gets_a_signal(tmp_path: Path) -> None:
    home = Home(tmp_path, kill_after_seconds=1.0)
    script = home.script("trap 'echo \"ended\"; exit' TERM; echo $$; answer 0; while :; do sleep 0.01; done")
    process = int(home.give(script).output)
    home.stop.request()
    with structlog.testing.capture_logs() as logged:
        close(home)
    assert not is_alive(process)
    assert [(line["reason"], line["exit"]) for line in logged] == [("spooler stops", "timeout")]
    assert logged[0]["output"].endswith("ended\n")


def test_one_that_works_may_answer_when_spooler_stops_and_is_ended_then(tmp_path: Path) -> None:
    home = Home(tmp_path, stop_after_seconds=PATIENCE)
    script = home.script(f"while :; do echo $$; touch {tmp_path}/begun; sleep 0.3; next 4; done")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(home.give, script)
        wait_until((tmp_path / "begun").exists)
        home.stop.request()
        home.keeper.end_waiting()
        run = running.result()
    assert run.exit == 4
    close(home)
    assert not is_alive(int(run.output))


def test_one_that_works_for_long_is_interrupted(home: Home) -> None:
    script = home.script(f"[ $id = 1 ] && next 0; touch {home.folder}/begun; sleep 60")
    assert home.give(script).exit == 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(home.give, script)
        wait_until((home.folder / "begun").exists)
        home.stop.request()
        assert running.result().exit == "interrupted"


def test_many_that_wait_are_ended_together(tmp_path: Path) -> None:
    home = Home(tmp_path, kill_after_seconds=1.0)
    for number in range(6):
        assert home.give(home.script("trap '' TERM; answer 0; sleep 60; sleep 60", f"10-{number}")).exit == 0
    started = time.monotonic()
    close(home)
    assert time.monotonic() - started < 5


# What a hostile or mistaken one may do.

# Not the shell's own printf, which writes each line by itself: the first of them is a status then.
REFUSED = {
    "two statuses": "env printf '0\\n0\\n' >&$SPOOLER_FD",
    "ten statuses": "env printf '0\\n%.0s' 1 2 3 4 5 6 7 8 9 10 >&$SPOOLER_FD",
    "no status": "echo done >&$SPOOLER_FD",
    "too high": "echo 256 >&$SPOOLER_FD",
    "an endless line": "yes | tr -d '\\n' >&$SPOOLER_FD",
    "two statuses and its end": "env printf '0\\n0\\n' >&$SPOOLER_FD; exit 0",
}


@pytest.mark.parametrize("said", REFUSED.values(), ids=REFUSED)
def test_what_is_no_status_is_a_failed_attempt_and_its_end(hasty: Home, said: str) -> None:
    script = hasty.script(f"[ $id = 1 ] && next 0; {said}; sleep 60")
    runs = [hasty.give(script) for _ in range(2)]
    assert [run.exit for run in runs] == [0, "killed"]
    assert runs[1].output.startswith("spooler: it wrote '")
    assert runs[1].seconds < 5


@pytest.mark.parametrize("pause", ["", "sleep 0.05;"])
def test_a_status_too_many_is_nobody_elses(hasty: Home, pause: str) -> None:
    script = hasty.script(f"[ $id = 1 ] || exit 7; answer 0; {pause} answer 0; await; exit 8")
    first = hasty.give(script)
    assert first.exit in {0, "killed"}
    if not pause and first.exit == 0:
        time.sleep(0.1)
    if pause:
        assert first.exit == 0
        time.sleep(0.3)
    with structlog.testing.capture_logs() as logged:
        assert hasty.give(script).exit == 7
    if first.exit == 0:
        assert [line["reason"] for line in logged] == ["it didn't wait to be told of the next"]


@pytest.mark.parametrize("end", ["exit 5", "kill -9 $$"])
@pytest.mark.parametrize("closing", ["exec {SPOOLER_FD}>&-", "exec {SPOOLER_FD}<&- {SPOOLER_FD}>&-"])
def test_one_that_closes_its_end_is_as_any_other(home: Home, closing: str, end: str) -> None:
    script = home.script(f"[ $id = 1 ] && next 0; {closing}; sleep 0.1; {end}")
    used = time.thread_time()
    assert exits(home, script, 2) == [0, 5 if end == "exit 5" else "killed"]
    assert time.thread_time() - used < 0.5


def test_a_half_status_and_success_is_success(home: Home) -> None:
    script = home.script("printf 0 >&$SPOOLER_FD; exit 0")
    assert home.give(script).exit == 0


def test_a_child_that_answers_for_its_parent_confuses_nobody_elses(hasty: Home) -> None:
    text = "(for i in 1 2 3 4 5 6 7 8 9; do sleep 0.02; echo 0; done >&$SPOOLER_FD) & sleep 0.1; exit 9"
    script = hasty.script(text)
    other = hasty.script("while :; do next 3; done", "20-other")
    for _ in range(3):
        assert hasty.give(script).exit in {0, 9, "killed"}
        assert hasty.give(other).exit == 3


def test_one_whose_child_holds_channel_and_output_open_holds_nobody_up(hasty: Home) -> None:
    script = hasty.script("setsid sleep 60 & [ $id = 1 ] && next 0; exit 6")
    assert exits(hasty, script, 2) == [0, 6]


def test_one_that_hands_its_end_to_a_child_that_answers_later_is_over_with_its_end(hasty: Home) -> None:
    script = hasty.script("(trap '' TERM HUP; sleep 0.2; answer 0) & exit 9")
    assert exits(hasty, script, 2) == [9, 9]


def test_what_ended_below_it_is_reaped_while_it_lives(home: Home) -> None:
    script = home.script("while :; do ( (exit 0) & ); next 0; done")
    exits(home, script, 10)
    wait_until(lambda: home.looks() and not zombies())


def test_what_ended_below_it_is_reaped_when_there_are_descriptors_again(home: Home) -> None:
    script = home.script("while :; do ( (exit 0) & ); next 0; done")
    exits(home, script, 10)
    wait_until(zombies)
    with no_more_descriptors():
        home.keeper.look()
    wait_until(lambda: home.looks() and not zombies())


def zombies() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    below = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return [pid for pid in below if not is_alive(pid)]


SAYS = st.lists(
    st.one_of(
        st.sampled_from(["0\n", "65\n", "", "0", "\n", "0\n0\n", "999\n", "x"]),
        st.text("0 \n57x", max_size=5),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=SAYS, reads=st.booleans(), status=st.integers(0, 255))
def test_whatever_a_script_says_each_notification_is_answered_for(
    hasty: Home, said: list[str], reads: bool, status: int
) -> None:
    """It says one thing after the other, with or without reading, and ends."""
    script = hasty.script(
        f"#!{sys.executable} -S\nimport os, select\nfd = int(os.environ['SPOOLER_FD'])\n"
        f"for text in {said!r}:\n    os.write(fd, text.encode())\n"
        f"    if {reads} and select.select([fd], [], [], 0.1)[0]: os.read(fd, 65536)\n"
        f"os._exit({status})\n"
    )
    for _ in range(2):
        run = hasty.give(script)
        told = {int(text) for text in said if text.strip().isdecimal() and len(text) < 5}
        joined = "".join(said)
        may_be = {status, "killed"} | told | {int(n) for n in joined.split() if n.isdecimal() and len(n) < 4}
        assert run.exit in may_be


def test_a_signal_that_ends_it_while_it_waits_is_told(home: Home) -> None:
    script = home.script("while :; do echo $$; next 0; done")
    process = int(home.give(script).output)
    os.kill(process, signal.SIGKILL)
    with structlog.testing.capture_logs() as logged:
        assert int(home.give(script).output) != process
    assert [(line["exit"], line["notifications"]) for line in logged] == [("killed", 1)]


def test_an_error_of_the_disk_at_the_start_is_told_and_leaves_nothing(home: Home) -> None:
    script = home.script("next 0")
    before = open_descriptors()
    with pytest.raises(FileNotFoundError):
        home.keeper.run(home.as_found(script), home.processing / "gone.json", {}, 1)
    gone: Mapping[str, str] = {"PATH": "/usr/bin:/bin", "SPOOLER_FILE": "x"}
    found = home.as_found(script)
    script.unlink()
    (home.processing / "1.json").touch()
    run = home.keeper.run(found, home.processing / "1.json", gone, 1)
    (home.processing / "1.json").unlink()
    assert run.exit == 127
    assert open_descriptors() <= before  # of what others have left, some may be gone


def test_one_that_cannot_be_looked_after_any_more_does_not_work_on(home: Home) -> None:
    script = home.script("while :; do echo $$; [ $id = 2 ] && sleep 30; next 0; done")
    process = int(home.give(script).output)
    found, file = home.as_found(script), home.processing / "2.json"
    with no_more_descriptors():
        run = home.keeper.run(found, file, {"SPOOLER_ID": "2", "SPOOLER_FILE": str(file)}, PATIENCE)
    assert run.exit == "killed"
    assert run.output.endswith("spooler: it can't be watched, and was ended: Too many open files\n")
    assert not is_alive(process)
    for folder in home.work_folders():
        folder.rmdir()  # there was no descriptor for that either; the next start would sweep it
