"""A parent of real processes: what it starts, starts again, hands on and ends."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from running_service import PATIENCE_SECONDS, children_of, wait_until

PROGRAM = """
import os, resource, signal, sys
from spooler import log
from spooler.errors import ConfigurationError
from spooler.supervisor import Child, Supervisor

SIGNALS = {signal.SIGTERM, signal.SIGHUP}

def note(word):
    with open(sys.argv[1], "a") as file:
        file.write(f"{word} {os.getpid()}\\n")

def child(kind, name):
    def run(pulse):
        pulse.beat()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        note(f"{name} begins")
        if "stuck" in kind:
            signal.pause()
        if kind == "misconfigured":
            raise ConfigurationError("nothing is where it should be")
        if kind == "mute":
            sys.stderr = None
            return
        if kind == "broken":
            raise ZeroDivisionError
        while (number := signal.sigwait(SIGNALS)) == signal.SIGHUP:
            note(f"{name} reloads")
        note(f"{name} ends")
        if kind == "clumsy":
            raise ZeroDivisionError
    return Child(name, run, {"stuck": 0.5, "stuck for long": 2.5}.get(kind, 30))

log.configure()
if (limit := "no more processes") in sys.argv:
    sys.argv.remove(limit)
    if os.geteuid() == 0:
        os.setuid(65534)  # for root there is no such limit
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    signal.signal(signal.SIGUSR1, lambda *_: resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard)))
    signal.signal(signal.SIGUSR2, lambda *_: resource.setrlimit(resource.RLIMIT_NPROC, (0, hard)))
    signal.raise_signal(signal.SIGUSR2)
keep_up = lambda again: None
if (option := "keeps up") in sys.argv:
    sys.argv.remove(option)
    keep_up = lambda again: note("parent reads again" if again else "parent looks")
children = [child(kind, f"{kind}-{at}") for at, kind in enumerate(sys.argv[2:])]
sys.exit(Supervisor(children, keep_up=keep_up).run())
"""


@dataclass
class Family:
    parent: "subprocess.Popen[bytes]"
    notes_file: Path
    log_file: Path

    def notes(self) -> list[str]:
        """Return what the children have done, without their process ids."""
        return [line.rpartition(" ")[0] for line in self._lines()]

    def ids(self, word: str) -> list[int]:
        """Return the process ids of those that noted a word."""
        return [int(line.rpartition(" ")[2]) for line in self._lines() if line.startswith(f"{word} ")]

    def _lines(self) -> list[str]:
        return self.notes_file.read_text().splitlines() if self.notes_file.exists() else []

    def log(self) -> str:
        return self.log_file.read_text()

    def wait_for(self, *words: str) -> None:
        wait_until(lambda: all(self.notes().count(word) >= words.count(word) for word in words), str(words))

    def end(self, number: int = signal.SIGTERM) -> int:
        self.parent.send_signal(number)
        return self.parent.wait(PATIENCE_SECONDS)


@contextlib.contextmanager
def family(tmp_path: Path, *kinds: str) -> Iterator[Family]:
    program, notes, log = (tmp_path / name for name in ("program.py", "notes", "log"))
    program.write_text(PROGRAM)
    with log.open("wb") as stderr:
        parent = subprocess.Popen(
            [sys.executable, program, notes, *kinds], stderr=stderr, cwd=tmp_path, start_new_session=True
        )
    try:
        yield Family(parent, notes, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(parent.pid, signal.SIGKILL)
        parent.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_stop_lets_all_end_in_order(tmp_path: Path, number: int) -> None:
    with family(tmp_path, "patient", "patient") as found:
        found.wait_for("patient-0 begins", "patient-1 begins")
        assert found.end(number) == 0
        assert sorted(found.notes()[2:]) == ["patient-0 ends", "patient-1 ends"]
        assert "process ended" not in found.log()


def test_children_that_end_are_started_again_in_no_hurry_and_the_others_know_nothing_of_it(
    tmp_path: Path,
) -> None:
    with family(tmp_path, "patient", "patient", "patient", "broken") as found:
        begun = [f"patient-{number} begins" for number in range(3)]
        found.wait_for(*begun, "broken-3 begins")
        for word in begun[1:]:
            os.kill(found.ids(word)[0], signal.SIGKILL)
        found.wait_for(*begun[1:], *begun[1:])
        wait_until(lambda: found.log().count('event="process ended" process=broken-3') == 2)
        assert set(children_of(found.parent.pid)) == {found.ids(word)[-1] for word in begun}
        assert found.end() == 0
        assert sorted(found.notes()[-3:]) == [f"patient-{number} ends" for number in range(3)]
        assert found.notes().count("patient-0 begins") == 1
        assert found.notes().count("broken-3 begins") < 5
        assert found.log().count("event=defect process=broken-3") >= 2
        assert "ZeroDivisionError" in found.log()
        for name in ("patient-1", "patient-2"):
            assert f'event="process ended" process={name} status=-9' in found.log()


def test_a_child_that_could_not_be_started_is_tried_again_in_no_hurry(open_to_all: Path) -> None:
    open_to_all.chmod(0o777)
    with family(open_to_all, "no more processes", "patient", "patient") as found:
        refused = (
            'level=error event="can\'t start" process=patient-0 reason="Resource temporarily unavailable"'
        )
        wait_until(lambda: found.log().count(refused) == 2)
        found.parent.send_signal(signal.SIGUSR1)  # now there may be more
        found.wait_for("patient-0 begins", "patient-1 begins")
        assert found.log().count(refused) < 5
        found.parent.send_signal(signal.SIGUSR2)
        told = found.log().count(refused)
        os.kill(found.ids("patient-0 begins")[0], signal.SIGKILL)
        wait_until(lambda: found.log().count(refused) > told)
        found.parent.send_signal(signal.SIGUSR1)
        found.wait_for("patient-0 begins", "patient-0 begins")
        assert found.notes().count("patient-1 begins") == 1
        assert found.end() == 0
        assert "Traceback" not in found.log()


def test_a_child_whose_loop_doesnt_turn_any_more_is_killed_and_started_again(tmp_path: Path) -> None:
    with family(tmp_path, "patient", "stuck") as found:
        found.wait_for("patient-0 begins", "stuck-1 begins", "stuck-1 begins")
        assert found.log().count('event="process hangs" process=stuck-1 seconds=0.5') >= 1
        assert 'event="process ended" process=stuck-1 status=-9' in found.log()
        assert found.notes().count("patient-0 begins") == 1
        assert "process=patient-0" not in found.log()


def test_a_child_that_hangs_is_found_out_when_its_time_is_over_though_the_parent_sleeps_long(
    tmp_path: Path,
) -> None:
    with family(tmp_path, "stuck for long") as found:
        found.wait_for("stuck for long-0 begins")
        begun = time.monotonic()
        wait_until(lambda: "process hangs" in found.log())
        assert 2 < time.monotonic() - begun < 4.5


def test_while_its_children_live_the_parent_sleeps_most_of_the_time(tmp_path: Path) -> None:
    with family(tmp_path, "patient", "patient") as found:
        found.wait_for("patient-0 begins", "patient-1 begins")
        time.sleep(1.5)  # until it has seen them beat
        before = times_run(found.parent.pid)
        time.sleep(3)
        assert times_run(found.parent.pid) - before <= 1


def times_run(process: int) -> int:
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[2])


def test_a_child_without_standard_error_ends_as_any_other(tmp_path: Path) -> None:
    with family(tmp_path, "mute") as found:
        wait_until(lambda: 'event="process ended" process=mute-0 status=0' in found.log())
        assert found.end() == 0


def test_reload_is_handed_on_to_every_child(tmp_path: Path) -> None:
    with family(tmp_path, "patient", "patient") as found:
        found.wait_for("patient-0 begins", "patient-1 begins")
        found.parent.send_signal(signal.SIGHUP)
        found.wait_for("patient-0 reloads", "patient-1 reloads")
        assert found.end() == 0


def test_the_parent_keeps_up_at_each_look_and_before_reload_is_handed_on(tmp_path: Path) -> None:
    with family(tmp_path, "keeps up", "patient") as found:
        found.wait_for("patient-0 begins", *["parent looks"] * 4)  # nothing else wakes it
        assert "parent reads again" not in found.notes()
        found.parent.send_signal(signal.SIGHUP)
        found.wait_for("patient-0 reloads")
        told = [word for word in found.notes() if word != "parent looks"]
        assert told == ["patient-0 begins", "parent reads again", "patient-0 reloads"]


def test_a_configuration_that_cant_be_used_ends_all_with_its_status(tmp_path: Path) -> None:
    with family(tmp_path, "patient", "misconfigured") as found:
        assert found.parent.wait(PATIENCE_SECONDS) == 78
        assert found.notes().count("misconfigured-1 begins") == 1
        assert "patient-0 begins" not in found.notes() or "patient-0 ends" in found.notes()
        assert 'reason="nothing is where it should be"' in found.log()
        assert "Traceback" not in found.log()


def test_a_child_that_fails_at_the_end_makes_the_whole_fail(tmp_path: Path) -> None:
    with family(tmp_path, "patient", "clumsy") as found:
        found.wait_for("patient-0 begins", "clumsy-1 begins")
        assert found.end() == 1


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with family(tmp_path, "patient", "patient") as found:
        found.wait_for("patient-0 begins", "patient-1 begins")
        assert found.end(signal.SIGKILL) == -signal.SIGKILL
        found.wait_for("patient-0 ends", "patient-1 ends")
