"""The benchmarks' commands: that they measure what they say, in rounds too short for figures of any worth."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from conftest import wait_until
from test_cli_bench import processes_of

BENCH = Path(__file__).parent / "bench"
RESULTS = (BENCH / "results.json").read_text()
DRAWN = ("{}", '{"confirm": {"turns": {}}}', '{"confirm": []}', RESULTS)  # what a picture is tried of
NO_MATPLOTLIB = "there is no matplotlib here; in the repository: "  # it isn't among what the tests need
MARKS = ("<!-- figures -->", "<!-- /figures -->")
SMALL = ("--files", "2000", "--seconds", "1", "--scripts", "20", "--bodies", "200")
needs_compiler = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")
_SERVERS = ("wrk", "webhook", "openssl", "/usr/sbin/nginx")
needs_peers = pytest.mark.skipif(
    not all(map(shutil.which, _SERVERS)) or not list(Path("/usr/sbin").glob("php-fpm[0-9]*")),
    reason="needs wrk, webhook, nginx and php-fpm",
)


def bench(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """Run a benchmark and return its result."""
    (found,) = bench_all(tmp_path, *arguments).values()
    assert isinstance(found, dict)
    return found


def bench_all(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """Run benchmarks in one call and return their results."""
    result = tmp_path / "result.json"
    command = [sys.executable, str(BENCH), "--folder", str(tmp_path), "--json", str(result), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert list(tmp_path.iterdir()) == [result], "it leaves nothing but its result"
    results: dict[str, Any] = json.loads(result.read_text())
    for found in results.values():
        assert found["machine"]["cores"] > 0
        assert found["aims"]
    return results


def run(*arguments: str | Path, python: Sequence[str] = (sys.executable,)) -> "CompletedProcess[str]":
    """Call the benchmarks, for what takes no time."""
    command = [*python, BENCH, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@needs_compiler
@needs_peers
def test_every_peer_stores_what_it_answers_and_is_measured_as_often_as_the_others(tmp_path: Path) -> None:
    found = bench(tmp_path, "confirm", "--rounds", "1", "--seconds", "1", "--bodies", "200")
    names = {"spooler", "php", "php verify+fsync", "webhook", "webhook verify+fsync", "disk, 1 thread"}
    assert set(found["turns"]["1"]) == names
    assert set(found["turns"]["32"]) == names | {"disk, 4 threads"}
    for turns in found["turns"].values():
        for (turn,) in turns.values():
            assert turn["per_second"] > 0
            assert 0 < turn["p50_ms"] <= turn["p99_ms"] <= turn["max_ms"]


@needs_compiler
def test_the_bare_loops_and_the_processor_start_the_same_program_as_often(tmp_path: Path) -> None:
    found = bench(tmp_path, "processing", "--rounds", "1", "--count", "5")
    assert set(found["turns"]) == {
        "spooler",
        "bare loop in sh",
        "bare loop in Python",
        "bare loop in Python, a Python script",
        "spooler, a Python script",
        "spooler, the same staying alive",
    }
    for turns in found["turns"].values():
        (turn,) = turns
        assert turn["each_ms"] == pytest.approx(1000 / turn["per_second"])


@needs_compiler
def test_wake_up_tells_the_time_of_each_notification(tmp_path: Path) -> None:
    found = bench(tmp_path, "wake-up", "--count", "5", "--pause", "0")
    assert len(found["ms"]) == 5


@needs_compiler
def test_memory_is_that_of_both_services(tmp_path: Path) -> None:
    figures = bench(tmp_path, "memory", "--idle", "1")["figures"]
    assert min(figures["receiver_mb"], figures["processor_mb"]) > 5
    assert 0 < figures["idle_percent"] < 5  # in a second that has no tick of theirs, too


@needs_compiler
def test_several_in_one_call_add_to_one_result(tmp_path: Path) -> None:
    found = bench_all(
        tmp_path, "wake-up", "--count", "3", "--pause", "0", "processing", "--rounds", "1", "--count", "3"
    )
    assert set(found) == {"wake-up", "processing"}


@needs_compiler
@needs_peers
def test_a_large_backlog_is_compared_with_a_small_one(tmp_path: Path) -> None:
    found = bench(tmp_path, "backlog", "--rounds", "1", *SMALL)
    assert set(found["turns"]) == {"1,000 files", "2,000 files"}


@needs_compiler
@needs_peers
def test_many_that_are_done_are_compared_with_few(tmp_path: Path) -> None:
    found = bench(tmp_path, "backlog", "--done", "--rounds", "1", *SMALL)
    assert set(found["turns"]) == {"1,000 files", "2,000 files"}


@needs_compiler
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_leaves_no_process_and_if_it_can_be_helped_no_folder(
    number: signal.Signals, tmp_path: Path
) -> None:
    command: list[str | Path] = [sys.executable, BENCH, "--folder", tmp_path, "wake-up", "--count", "9999"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: any(tmp_path.glob("*/spool/crm/done/*/*.json")), 30)
        process.send_signal(number)
        out, _err = process.communicate(timeout=30)
    assert out == ""
    wait_until(lambda: not processes_of(tmp_path), 30)
    if number is signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("benchmark", ["confirm", "processing", "wake-up", "backlog", "memory"])
def test_a_missing_program_is_asked_for_in_one_line(benchmark: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, BENCH, benchmark],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Error: missing programs; on Debian: apt install ")
    assert "gcc libc6-dev" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", ["nan", "inf", "-1"])
@pytest.mark.parametrize(("benchmark", "option"), [("wake-up", "--pause"), ("memory", "--idle")])
def test_a_length_of_time_that_is_no_finite_number_is_refused(
    benchmark: str, option: str, number: str
) -> None:
    ended = run(benchmark, option, number)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1].startswith(f"Error: Invalid value for '{option}': ")


def assert_refused(ended: "CompletedProcess[str]", words: str) -> None:
    assert (ended.returncode, ended.stdout) == (1, ""), ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("Error: ")
    assert words in ended.stderr


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("none/result.json", "there is no folder "),
        ("folder", "is no file that results could be added to"),
        ("/proc/result.json", "No such file or directory"),
        ("list.json", "holds no JSON object"),
        ("torn.json", "holds no JSON object"),
        ("empty.json", "holds no JSON object"),
        ("bytes.json", "holds no JSON object"),
    ],
)
def test_a_result_that_could_not_be_saved_is_refused_in_one_line_before_anything_is_measured(
    tmp_path: Path, place: str, words: str
) -> None:
    (tmp_path / "folder").mkdir()
    for name, content in {"list": b"[]", "torn": b'{"confirm"', "empty": b"", "bytes": b"\xff"}.items():
        (tmp_path / f"{name}.json").write_bytes(content)
    before = sorted(tmp_path.iterdir())
    assert_refused(run("--folder", tmp_path, "--json", tmp_path / place, "memory"), words)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("results", "output", "words"),
    [
        (DRAWN[0], "out.svg", "hasn't all results that this takes"),
        (DRAWN[1], "out.svg", "hasn't all results that this takes"),
        (DRAWN[2], "out.svg", "hasn't all results that this takes"),
        ("[]", "out.svg", "holds no JSON object"),
        (None, "out.svg", "No such file or directory"),
        (RESULTS, "none/out.svg", "none/out.svg"),
        (RESULTS, "folder.svg", "folder.svg"),
    ],
)
@pytest.mark.parametrize("command", ["picture", "readme"])
def test_what_can_not_be_made_of_results_is_said_in_one_line(
    command: str, results: str | None, output: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "folder.svg").mkdir()
    (tmp_path / "out.svg").write_text(f"{MARKS[0]}\n{MARKS[1]}\n")
    if results is not None:
        (tmp_path / "results.json").write_text(results)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    if command == "picture" and results in DRAWN and not find_spec("matplotlib"):
        words = NO_MATPLOTLIB
    assert_refused(run(command, tmp_path / "results.json", tmp_path / output), words)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_picture_of_no_known_kind_is_refused_in_one_line(tmp_path: Path) -> None:
    words = "out.mp3: Format 'mp3' is not supported" if find_spec("matplotlib") else NO_MATPLOTLIB
    assert_refused(run("picture", BENCH / "results.json", tmp_path / "out.mp3"), words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "nothing\n", f"a {MARKS[0]} b", f"a {MARKS[1]} b", f"{MARKS[1]}{MARKS[0]}"]
)
@pytest.mark.parametrize("options", [(), ("--check",)])
def test_a_readme_without_the_marks_stays_as_it_is(
    text: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text(text)
    ended = run("readme", *options, BENCH / "results.json", tmp_path / "README.md")
    assert_refused(ended, "the figures go between <!-- figures --> and <!-- /figures -->")
    assert (tmp_path / "README.md").read_text() == text


def test_figures_are_written_between_the_marks(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"before {MARKS[0]} old {MARKS[1]} after\n")
    assert_refused(run("readme", "--check", BENCH / "results.json", file), "has other figures than")
    assert " old " in file.read_text()
    assert run("readme", BENCH / "results.json", file).returncode == 0
    assert re.fullmatch(rf"before {MARKS[0]}\n\d+ cores.*\|\n{MARKS[1]} after\n", file.read_text(), re.DOTALL)
    assert run("readme", "--check", BENCH / "results.json", file).returncode == 0


def test_where_the_libraries_are_missing_it_is_said_what_to_install() -> None:
    without_libraries = (sys.executable, "-S")
    assert_refused(run("--help", python=without_libraries), "pip install --editable '.[test,bench]'")


def test_the_readme_has_the_figures_that_were_measured() -> None:
    readme = BENCH.parent.parent / "README.md"
    command: list[str | Path] = [sys.executable, BENCH, "readme", "--check", BENCH / "results.json", readme]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
