"""The log beside a notification, and what follows from it."""

import json
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from conftest import durable_calls
from hypothesis import example, given
from hypothesis import strategies as st

from spooler.history import Line, OddLogError, Progress, append, is_open, iso, note, read

NOW = datetime(2026, 11, 23, 19, 0, 1, 123456, UTC)

lines = st.lists(
    st.dictionaries(st.text(max_size=5), st.text() | st.integers() | st.booleans() | st.none(), max_size=4),
    max_size=4,
)


def run(attempt: int, exit_: int | str, script: str = "10-crm", version: str = "v1") -> Line:
    return {"at": iso(NOW), "attempt": attempt, "script": script, "exit": exit_, "version": version}


def test_a_line_is_one_json_object_on_one_line(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    append(log, [run(1, 75) | {"output": "a\nb\u2028c"}, note(NOW, "a repeat", repeats="y.json")])
    first, second, rest = log.read_text(encoding="utf-8").split("\n")
    assert json.loads(first)["output"] == "a\nb\u2028c"
    assert json.loads(second) == {
        "at": "2026-11-23T19:00:01.123456Z",
        "note": "a repeat",
        "repeats": "y.json",
    }
    assert rest == ""


@given(lines, lines)
def test_what_was_appended_is_read(before: list[Line], after: list[Line]) -> None:
    with TemporaryDirectory() as folder:
        log = Path(folder, "x.log")
        append(log, before)
        append(log, after)
        assert read(log) == before + after


@given(lines, lines.filter(bool), st.data())
def test_a_torn_line_is_passed_over_and_never_spoils_the_next(
    whole: list[Line], torn: list[Line], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        log = Path(folder, "x.log")
        append(log, whole)
        size = log.stat().st_size
        append(log, torn[:1])
        lost = data.draw(st.integers(1, log.stat().st_size - size))
        os.truncate(log, log.stat().st_size - lost)
        append(log, [run(2, 0)])
        kept = torn[:1] if lost == 1 else []  # the line break alone
        assert read(log) == [*whole, *kept, run(2, 0)]


@given(st.binary(max_size=200))
@example(b"\0" * 4096)
@example(b'{"a": 1}\r\n[1]\n"x"\n{"b": NaN')
@example(b"[" * 100_000)
@example(b'\xff\xfe{\0"\0a\0"\0:\0001\0}\0')
def test_whatever_a_log_holds_the_next_line_is_read(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        log = Path(folder, "x.log")
        log.write_bytes(content)
        append(log, [run(2, 0)])
        assert read(log)[-1] == run(2, 0)
        assert all(isinstance(line, dict) for line in read(log))
        assert log.read_bytes().startswith(content)


def test_names_that_are_no_utf_8_come_back_the_same(tmp_path: Path) -> None:
    script = os.fsdecode(b"10-\xff")
    append(tmp_path / "x.log", [run(1, 0, script)])
    assert read(tmp_path / "x.log")[0]["script"] == script
    (tmp_path / "x.log").read_bytes().decode("ascii")


def test_where_there_is_no_log_there_are_no_lines(tmp_path: Path) -> None:
    assert read(tmp_path / "x.log") == []


def test_a_log_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("root")
    (tmp_path / "x.log").symlink_to(tmp_path / "passwd")
    with pytest.raises(OddLogError, match="is no regular file"):
        append(tmp_path / "x.log", [run(1, 0)])
    assert (tmp_path / "passwd").read_text() == "root"


@pytest.mark.parametrize("sync", [True, False])
def test_a_line_is_synced_only_where_that_is_asked_for(tmp_path: Path, sync: bool) -> None:
    with durable_calls() as calls:
        append(tmp_path / "x.log", [run(1, 0)], sync=sync)
    assert calls == ([("sync", f"{tmp_path}/x.log")] if sync else [])


def test_moments_are_written_in_utc_with_microseconds() -> None:
    assert (
        iso(datetime(2026, 11, 23, 14, 0, 1, 7, timezone(timedelta(hours=-5))))
        == "2026-11-23T19:00:01.000007Z"
    )


ANEW = note(NOW, "put back", anew=True)
RELEASED = note(NOW, "stopped", released=True)
COUNTED = note(NOW, "interrupted; counts as attempt 2", attempt=2)
GIVEN_UP = note(NOW, "given up: it will never work")
A, B = ("10-crm", "v1"), ("20-mail", "v1")


@pytest.mark.parametrize(
    ("log", "progress"),
    [
        ([], Progress(1)),
        ([run(1, 75)], Progress(2)),
        ([run(1, "timeout")], Progress(2)),
        ([run(1, "interrupted")], Progress(2)),
        ([run(1, 0)], Progress(1, frozenset({A}))),
        ([run(1, 0), RELEASED], Progress(1, frozenset({A}))),
        ([run(1, 0), run(1, 75, "20-mail")], Progress(2, frozenset({A}))),
        ([run(1, 0), run(1, 75, "20-mail"), run(2, 0, "20-mail")], Progress(2, frozenset({A, B}))),
        ([run(1, 0), COUNTED], Progress(3, frozenset({A}))),
        ([COUNTED, run(3, 75)], Progress(4)),
        ([run(5, 75), GIVEN_UP], Progress(6)),
        ([run(5, 75), GIVEN_UP, ANEW], Progress(1, by_person=True)),
        ([run(1, 0), ANEW, run(1, 75)], Progress(2, by_person=True)),
        ([run(1, 0), ANEW, run(1, 0)], Progress(1, frozenset({A}), by_person=True)),
        ([ANEW, run(3, 0), ANEW, run(1, 75)], Progress(2, by_person=True)),
        ([{"note": "by hand", "anew": "yes"}, run(1, 75)], Progress(2)),
        ([run(1, 75), {"attempt": "seven", "exit": 0}], Progress(2, frozenset({("None", "None")}))),
    ],
)
def test_progress_follows_from_the_lines_since_the_last_new_start(
    log: list[Line], progress: Progress
) -> None:
    assert Progress.of(log) == progress


@pytest.mark.parametrize(
    ("line", "open_"),
    [
        (run(1, "interrupted"), True),
        (RELEASED, True),
        (ANEW, True),
        (COUNTED, True),
        (run(1, 0), False),
        (run(1, 75), False),
        (run(1, "timeout"), False),
        (run(1, "killed"), False),
        (GIVEN_UP, False),
        (note(NOW, "a test: no script was run"), False),
        ({}, False),
    ],
)
def test_only_spoolers_own_words_leave_a_log_open(line: Line, open_: bool) -> None:
    assert is_open(line) is open_


def test_what_is_no_regular_file_is_an_error_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "folder.log").mkdir()
    (tmp_path / "link.log").symlink_to(tmp_path / "pipe.log")
    for name in ("pipe.log", "folder.log", "link.log"):
        with pytest.raises(OddLogError, match=name):
            read(tmp_path / name)
        with pytest.raises(OddLogError, match=name):
            append(tmp_path / name, [run(1, 0)])
    assert read(tmp_path / "none.log") == []


def test_a_log_that_would_fill_the_memory_is_an_error(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    append(log, [run(1, 0)])
    os.truncate(log, 1 << 40)  # without a block of it on the disk
    with pytest.raises(OddLogError, match=r"is larger than 64\.0 MiB"):
        read(log)
