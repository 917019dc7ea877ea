"""`spooler bench`, as it is typed."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_until
from mounts import mounted
from running_service import Service, make_site, request, running

from spooler.file_system import FileSystem

SHORT = ("--rounds", "1", "--seconds", "0.2", "--connections", "2")


def bench(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "spooler", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_people_see_what_is_confirmed_beside_what_the_disk_allows(tmp_path: Path) -> None:
    ended = bench(tmp_path, *SHORT)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^confirmed +\d", ended.stdout, re.MULTILINE)
    assert re.search(r"^the disk, 4 threads in Python +\d", ended.stdout, re.MULTILINE)
    words = r"^the receiver confirmed \d+\.\d\d times as many as 4 threads in Python that only store$"
    assert re.search(words, ended.stdout, re.MULTILINE)
    assert str(tmp_path) in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_programs_get_one_object(tmp_path: Path) -> None:
    found = json.loads(bench(tmp_path, *SHORT, "--json").stdout)
    assert (found["connections"], len(found["rounds"])) == (2, 1)
    assert found["share_of_disk"] == pytest.approx(
        found["receiver"]["per_second"] / found["disk"]["per_second"]
    )
    assert found["processor_ms"] > 0
    assert found["file_system"] != "unknown"
    assert found["file_system_doubt"] == (FileSystem.of(tmp_path).doubt or None)


def test_a_file_system_that_may_lose_what_was_confirmed_is_told_beside_the_result(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=400m"):
        doubt = FileSystem.of(tmp_path / "disk").doubt
        assert doubt.startswith("tmpfs: ")
        assert doubt in bench(tmp_path / "disk", *SHORT).stdout.splitlines()
        found = json.loads(bench(tmp_path / "disk", *SHORT, "--json").stdout)
    assert (found["file_system"], found["file_system_doubt"]) == ("tmpfs", doubt)


def test_the_help_tells_what_is_taken_by_default() -> None:
    shown = " ".join(bench("--help").stdout.split())
    for number in ("[default: 32; 1<=x<=500]", "[default: 5; x>=1]", "[default: 2.0; 0.1<=x<=600]"):
        assert number in shown


@contextmanager
def asked(service: Service) -> Iterator[Counter[int]]:
    """Ask a receiver all the time whether it could store; gives how often it answered with what."""
    statuses: Counter[int] = Counter()
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.01):
            statuses[request(service.address, path="/healthz", method="GET").status] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        ended.set()
        thread.join()


def test_a_receiver_on_the_disk_that_is_measured_can_store_all_the_time(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=400m"):
        site = make_site(tmp_path / "disk" / "site")
        (tmp_path / "disk" / "more").mkdir()
        with (tmp_path / "disk" / "others").open("wb") as file:
            file.write(bytes(200 << 20))
        with running(site, "receive") as service, asked(service) as statuses:
            # One round that is too long for the room; then many short ones.
            long = bench(tmp_path / "disk" / "more", "--rounds", "1", "--seconds", "15")
            short = bench(tmp_path / "disk" / "more", "--rounds", "100", "--seconds", "0.2")
        assert set(statuses) == {200}
        assert list((tmp_path / "disk" / "more").iterdir()) == []
    assert (long.returncode, long.stdout) == (1, "")
    assert re.fullmatch(
        r"spooler: the disk has no more room for this: 1[23]\d\.\d MiB free, .*\n", long.stderr
    )
    assert short.returncode == 0
    told = re.match(r"spooler: only (\d+) of 100 rounds: the disk has no more room for this", short.stderr)
    assert told
    assert f"medians of {told[1]} turns" in short.stdout


@contextmanager
def under_way(folder: Path, *wrapper: str, **streams: Any) -> Iterator["subprocess.Popen[str]"]:
    """Run one that takes long; gives it when its receiver stores, and sees that no process is left."""
    command = [*wrapper, sys.executable, "-m", "spooler", "bench", str(folder), "--seconds", "30"]
    with subprocess.Popen(command, text=True, start_new_session=True, **streams) as process:
        wait_until(lambda: any(folder.glob("*/0/spool/*/incoming/*.json")), 30)
        assert processes_of(folder)
        yield process
    wait_until(lambda: not processes_of(folder), 30)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines that name a file in the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            found.append(file.read_text(errors="replace").replace("\0", " "))
    return [line for line in found if f"{folder}/" in line]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_without_a_word_and_leaves_nothing(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    with under_way(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (status, "", "")
    assert list(tmp_path.iterdir()) == []


def test_it_is_said_why_the_receiver_refuses(tmp_path: Path) -> None:
    with under_way(tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        (incoming,) = tmp_path.glob("*/0/spool/*/incoming")
        incoming.rename(tmp_path / "elsewhere")
        _out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    words = r"spooler: the receiver answered 'HTTP/1.1 503 .*' to a signed notification: .*No such file or "
    assert re.match(words, err)
    assert len(err.splitlines()) == 1


def test_a_terminal_that_is_closed_ends_it(tmp_path: Path) -> None:
    terminal, its_end = pty.openpty()
    on_it = ("setsid", "--ctty", "--wait")
    with under_way(tmp_path, *on_it, stdin=its_end, stdout=its_end, stderr=its_end) as process:
        os.close(its_end)
        os.close(terminal)
        assert process.wait(30) == 129
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_started_with_nohup_goes_on_when_the_terminal_is_closed(tmp_path: Path) -> None:
    with under_way(tmp_path, "nohup", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.terminate()
        assert process.wait(30) == 143
    assert list(tmp_path.iterdir()) == []


def test_no_receiver_outlives_one_that_is_killed(tmp_path: Path) -> None:
    with under_way(tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        process.kill()


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="needs a file system in memory")
def test_a_disk_that_is_none_is_told(tmp_path: Path) -> None:
    ended = bench("/dev/shm", *SHORT)
    assert ended.returncode == 0
    assert ended.stderr.startswith("spooler: /dev/shm is in memory, ")
    assert "/dev/shm" in bench("/dev/shm", *SHORT, "--json").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["/nowhere"], 2, "does not exist"),
        (["/proc"], 1, "/proc: can't be measured: "),
        (["--rounds", "0"], 2, "--rounds"),
        (["--seconds", "nan"], 2, "--seconds': 'nan' is no finite number"),
        (["--seconds", "inf"], 2, "--seconds"),
        (["--connections", "100000"], 2, "--connections"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], status: int, words: str) -> None:
    ended = bench(*arguments)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
