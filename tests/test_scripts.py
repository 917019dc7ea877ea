"""One executable at a time: what it is given, how it ends, and that nothing of it is left."""

import os
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import is_alive, wait_until, write_script

from spooler import children
from spooler.living import Run
from spooler.output import OUTPUT_BYTES
from spooler.scripts import Runner, Stop

pytestmark = pytest.mark.usefixtures("leaves_no_process")

QUICK = 0.15  # a time limit that a script is meant to run into
SOON = 0.05  # until SIGTERM when spooler stops, and from SIGTERM to SIGKILL
PATIENCE = 20.0  # what nothing takes


@dataclass
class Bench:
    """A place to run scripts in."""

    folder: Path
    kill_after_seconds: float = SOON
    stop: Stop = field(default_factory=Stop)

    def __post_init__(self) -> None:
        self.runner = Runner(self.stop, stop_after_seconds=SOON, kill_after_seconds=self.kill_after_seconds)

    def __call__(
        self,
        script: str | Path,
        *,
        body: bytes = b"",
        timeout_seconds: float = PATIENCE,
        environment: Mapping[str, str] | None = None,
        name: str = "10-test",
    ) -> Run:
        path = write_script(self.folder / "scripts", name, script) if isinstance(script, str) else script
        work = self.folder / f"work-{name}"
        work.mkdir(exist_ok=True)
        given = self.folder / f"{name}.json"
        given.write_bytes(body)
        variables = {"PATH": os.environ["PATH"], "SPOOLER_FILE": str(given)} | dict(environment or {})
        with given.open("rb") as file:
            return self.runner.run(
                path, body=file.fileno(), environment=variables, folder=work, timeout_seconds=timeout_seconds
            )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


CLEANS_UP = "trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.01; done"


# How it ends.


@pytest.mark.parametrize("status", [0, 1, 65, 75, 127, 255])
def test_the_exit_status_is_the_scripts_own(bench: Bench, status: int) -> None:
    assert bench(f"exit {status}").exit == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE])
def test_a_script_that_a_signal_ends_was_killed(bench: Bench, number: int) -> None:
    assert bench(f"kill -{number} $$").exit == "killed"


def test_its_length_is_measured(bench: Bench) -> None:
    assert 0.1 <= bench("sleep 0.1").seconds < 5


def test_a_script_may_run_for_months(bench: Bench) -> None:
    assert bench("exit 0", timeout_seconds=40 * 86400).exit == 0


# What it is given.


@pytest.mark.parametrize("size", [0, 1, 1 << 20])
def test_the_body_is_on_standard_input_byte_for_byte(bench: Bench, size: int) -> None:
    body = os.urandom(size)
    assert bench("cmp - $SPOOLER_FILE && wc -c < $SPOOLER_FILE", body=body).output == f"{size}\n"


def test_a_script_need_not_read_its_input(bench: Bench) -> None:
    assert bench("exit 0", body=b"x" * (1 << 20)).exit == 0


def test_the_environment_is_what_it_was_given_and_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the daemon")
    run = bench("tr '\\0' '\\n' < /proc/$$/environ", environment={"PATH": "/usr/bin:/bin", "A": "b c\n=d"})
    assert sorted(run.output.splitlines()) == sorted(
        ["PATH=/usr/bin:/bin", "A=b c", "=d", f"SPOOLER_FILE={bench.folder}/10-test.json"]
    )


def test_it_runs_in_the_folder_that_it_was_given(bench: Bench) -> None:
    assert bench("pwd; ls -A; touch made").output == f"{bench.folder}/work-10-test\n"
    assert (bench.folder / "work-10-test" / "made").exists()


def test_it_inherits_no_descriptor(bench: Bench) -> None:
    with (bench.folder / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        assert bench("ls /proc/self/fd").output.split() == ["0", "1", "2", "3"]  # 3 is the folder itself


def test_it_has_no_argument_and_a_session_of_its_own(bench: Bench) -> None:
    run = bench('echo $#; set -- $(cat /proc/$$/stat); echo "$1 $5 $6"')
    arguments, process, group, session = run.output.split()
    assert arguments == "0"
    assert process == group == session


# Output.


def test_standard_output_and_error_are_one(bench: Bench) -> None:
    assert bench("echo a; echo b >&2; echo c").output == "a\nb\nc\n"


def test_output_of_a_failing_script_is_kept(bench: Bench) -> None:
    run = bench("echo no; exit 75")
    assert (run.exit, run.output) == (75, "no\n")


def test_the_end_of_long_output_is_kept(bench: Bench) -> None:
    whole = "".join(f"{number}\n" for number in range(1, 100_001))
    assert bench("seq 1 100000").output == whole[-OUTPUT_BYTES:]


def test_output_that_is_no_utf_8_is_escaped(bench: Bench) -> None:
    assert bench(r"printf 'a\377\0\303\251\303'").output == "a\\xff\0é\\xc3"


@pytest.mark.parametrize("printed", [r"\377", r"\303\251", r"\342\202\254", r"x\303\251"])
def test_what_is_kept_is_at_most_16_kib_however_it_is_written(bench: Bench, printed: str) -> None:
    run = bench(f"for i in $(seq 1 200); do printf '{printed * 100}'; done; echo end")
    assert len(run.output.encode()) <= OUTPUT_BYTES
    assert len(run.output.encode()) > OUTPUT_BYTES - 4
    assert run.output.endswith("end\n")


def test_two_hundred_megabytes_of_output_take_no_memory(bench: Bench) -> None:
    tracemalloc.start()
    try:
        run = bench("head -c 200000000 /dev/zero; echo end")
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (run.exit, run.output[-5:]) == (0, "\0end\n")
    assert peak < 1 << 20


def test_a_script_that_closes_its_output_is_waited_for(bench: Bench) -> None:
    used = time.thread_time()
    run = bench("exec >&- 2>&-; sleep 0.3; exit 3")
    assert run.exit == 3
    assert run.seconds >= 0.3
    assert time.thread_time() - used < 0.1  # and not by asking all the time


# The time limit.


def test_over_the_time_limit_it_may_clean_up(tmp_path: Path) -> None:
    bench = Bench(tmp_path, kill_after_seconds=PATIENCE)
    run = bench(f"echo started; {CLEANS_UP}", timeout_seconds=4 * QUICK)
    assert run.exit == "timeout"
    assert run.output.startswith("started\n")
    assert run.output.endswith("cleaned\n")
    assert 4 * QUICK <= run.seconds < PATIENCE


def test_what_ignores_the_request_is_killed(bench: Bench) -> None:
    run = bench("trap '' TERM; while :; do sleep 0.01; done", timeout_seconds=QUICK)
    assert run.exit == "timeout"
    assert run.seconds >= QUICK + SOON


def test_the_request_reaches_the_whole_group(tmp_path: Path) -> None:
    bench = Bench(tmp_path, kill_after_seconds=PATIENCE)
    run = bench(f"({CLEANS_UP}) & trap '' TERM; wait", timeout_seconds=4 * QUICK)
    assert run.exit == "timeout"
    assert run.output.endswith("cleaned\n")
    assert run.seconds < PATIENCE


def test_what_it_started_may_clean_up_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, kill_after_seconds=PATIENCE)
    child = "trap 'sleep 0.1; echo cleaned; exit' TERM; touch started; while :; do sleep 0.01; done"
    run = bench(
        f'sh -c "{child}" & while ! [ -e started ]; do sleep 0.01; done; sleep 60', timeout_seconds=4 * QUICK
    )
    assert run.exit == "timeout"
    assert run.output.endswith("cleaned\n")
    assert run.seconds < PATIENCE


@pytest.mark.parametrize(
    "start",
    [
        "(trap '' TERM; ../linger) &",
        "setsid ../linger &",
        "setsid sh -c 'setsid ../linger & exit' &",
        "setsid sh -c \"trap '' TERM HUP; setsid ../linger & ../linger\" &",
        "env -i setsid ../linger &",
        "(setsid ../linger &)",
    ],
)
@pytest.mark.parametrize("rest", ["exit 0", "sleep 60", "trap '' TERM; while :; do sleep 0.01; done"])
def test_no_grandchild_survives_whatever_it_does(bench: Bench, start: str, rest: str) -> None:
    write_script(bench.folder, "linger", f"echo $$ >> {bench.folder}/pids; exec sleep 60")
    wait = "while ! [ -s ../pids ]; do sleep 0.01; done"
    limit = PATIENCE if rest == "exit 0" else QUICK
    run = bench(f"{start}\n{wait}\n{rest}", timeout_seconds=limit)
    assert run.exit == (0 if rest == "exit 0" else "timeout")
    assert run.seconds < 5
    started = (bench.folder / "pids").read_text().split() if (bench.folder / "pids").exists() else []
    # Killed it is; on a busy machine that takes its time.
    wait_until(lambda: not any(is_alive(int(process)) for process in started))
    assert started or rest != "exit 0"


def test_a_background_child_that_holds_the_output_open_holds_nobody_up(bench: Bench) -> None:
    run = bench("sleep 60 & echo started")
    assert (run.exit, run.output) == (0, "started\n")
    assert run.seconds < 5


def test_a_background_child_that_writes_on_holds_nobody_up(bench: Bench) -> None:
    run = bench("setsid yes & sleep 0.05; exit 4")
    assert run.exit == 4
    assert run.seconds < 5
    assert len(run.output) <= OUTPUT_BYTES


# What can't be started.


def test_a_missing_interpreter_is_named(bench: Bench) -> None:
    run = bench("#!/no/such/interpreter -x\n")
    path = bench.folder / "scripts" / "10-test"
    assert run.exit == 127
    assert run.output == (
        f"{path} can't be executed: its interpreter (#!/no/such/interpreter -x) doesn't exist"
    )


def test_what_is_no_program_is_named(bench: Bench) -> None:
    path = bench.folder / "notes.txt"
    path.write_bytes(b"\x01\x02 just text\n")
    path.chmod(0o755)
    run = bench(path)
    assert run.exit == 126
    assert run.output == (
        f"{path} can't be executed: neither a program for this machine nor a script with a #! line"
    )


def test_a_script_that_is_gone_is_named(bench: Bench) -> None:
    run = bench(bench.folder / "gone")
    assert (run.exit, run.output) == (127, f"{bench.folder}/gone isn't there any more")


def test_a_script_that_is_being_written_is_named(bench: Bench) -> None:
    path = write_script(bench.folder, "10-busy", "exit 0")
    with path.open("a"):
        run = bench(path)
    assert (run.exit, run.output) == (126, f"{path} can't be executed: it is being written")
    assert bench(path).exit == 0


def test_a_script_that_may_not_be_run_is_named(bench: Bench) -> None:
    path = write_script(bench.folder, "10-off", "exit 0")
    path.chmod(0o644)
    assert (bench(path).exit, bench(path).output) == (126, f"{path} can't be executed: Permission denied")


# When spooler stops.


def stop_when(there: Path, stop: Stop) -> Callable[[], None]:
    def wait() -> None:
        wait_until(there.exists)
        stop.request()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread.join


def test_a_short_script_may_end_when_spooler_stops(bench: Bench) -> None:
    bench.runner = Runner(bench.stop)
    join = stop_when(bench.folder / "started", bench.stop)
    run = bench("touch ../started; sleep 0.1; echo done")
    join()
    assert (run.exit, run.output) == (0, "done\n")


def test_a_long_script_is_interrupted_when_spooler_stops(tmp_path: Path) -> None:
    bench = Bench(tmp_path, kill_after_seconds=PATIENCE)
    join = stop_when(bench.folder / "started", bench.stop)
    run = bench(CLEANS_UP.replace("while", "touch ../started; while"))
    join()
    assert run.exit == "interrupted"
    assert run.output.endswith("cleaned\n")
    assert SOON <= run.seconds < PATIENCE


def test_a_script_that_runs_into_its_time_limit_while_spooler_stops_was_not_interrupted(bench: Bench) -> None:
    bench.runner = Runner(bench.stop, stop_after_seconds=PATIENCE, kill_after_seconds=SOON)
    bench.stop.request()
    run = bench("sleep 60", timeout_seconds=QUICK)
    assert run.exit == "timeout"


def test_a_stop_can_be_asked_for_again_and_again_and_stays(bench: Bench) -> None:
    assert not bench.stop.requested
    for _ in range(100_000):
        bench.stop.request()
    assert bench.stop.requested
    assert [bench("sleep 60").exit for _ in range(2)] == ["interrupted", "interrupted"]


# Several at once.


@pytest.mark.parametrize("without", ["", "env -i"])
def test_the_end_of_one_script_leaves_alone_what_another_started(bench: Bench, without: str) -> None:
    text = (
        f"({without} setsid sh -c 'echo $$ > ../orphan; exec sleep 60' &)\n"
        "while ! [ -s ../orphan ] || ! [ -e ../others ]; do sleep 0.01; done; kill -0 $(cat ../orphan)"
    )
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench, text, name="10-long")
        wait_until((bench.folder / "orphan").exists)
        others = [bench("setsid sleep 60 & exit 0", name=f"20-short-{number}") for number in range(3)]
        (bench.folder / "others").touch()
        assert {run.exit for run in others} == {0}
        assert running.result().exit == 0


def test_many_scripts_at_once_each_get_their_own_output_and_status(bench: Bench) -> None:
    # Written first: a file that is open for writing while another script starts can't be executed.
    scripts = [
        write_script(bench.folder, f"10-{number}", f"sleep 60 & echo {number}; exit {number}")
        for number in range(24)
    ]
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda script: bench(script, name=script.name), scripts))
    assert [(run.exit, run.output) for run in runs] == [(number, f"{number}\n") for number in range(24)]


def test_nothing_stays_open_or_unreaped(bench: Bench) -> None:
    bench("exit 0")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        bench("setsid sleep 60 & exit 0")
        bench(bench.folder / "gone")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_program_that_is_no_shell_script_runs_too(bench: Bench) -> None:
    started = time.monotonic()
    run = bench(f"#!{sys.executable} -S\nimport sys; print(sys.stdin.read())", body=b"body")
    assert (run.exit, run.output) == (0, "body\n")
    assert run.seconds <= time.monotonic() - started


def test_what_has_ended_is_reaped_while_another_script_runs(bench: Bench) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench, "while ! [ -e ../others ]; do sleep 0.01; done", name="10-long")
        for number in range(5):
            bench("setsid sh -c 'sleep 60' & exit 0", name=f"20-short-{number}")
        ended = {child for child in children.all_children() if not is_alive(child)}
        (bench.folder / "others").touch()
        assert running.result().exit == 0
    assert ended == set()


@pytest.mark.parametrize("stubborn", ["env -i sh -c 'trap \"\" TERM; sleep 60 & wait; sleep 60'"])
def test_the_group_is_ended_though_its_leader_has_ended_and_another_script_runs(
    bench: Bench, stubborn: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bench, "while ! [ -e ../others ]; do sleep 0.01; done", name="10-long")
        wait_until(children.all_children)
        before = children.all_children()
        run = bench(f"{stubborn} & sleep 60", name="20-short", timeout_seconds=0.2)
        left = {child for child in children.all_children() - before if is_alive(child)}
        (bench.folder / "others").touch()
        assert running.result().exit == 0
    assert run.exit == "timeout"
    assert left == set()


def test_windows_line_ends_are_named(bench: Bench) -> None:
    run = bench("#!/bin/sh\r\nexit 0\r\n")
    assert run.exit == 127
    assert "its first line ends in CR; save it with Unix line ends" in run.output


def test_what_is_left_is_killed_before_it_is_given_up_however_late_it_is(bench: Bench) -> None:
    bench.runner = Runner(bench.stop, kill_after_seconds=0)
    write_script(bench.folder, "linger", f"echo $$ > {bench.folder}/pid; exec sleep 60")
    assert bench("setsid ../linger &\nwhile ! [ -s ../pid ]; do sleep 0.01; done").exit == 0
    left = int((bench.folder / "pid").read_text())
    wait_until(lambda: not is_alive(left))
