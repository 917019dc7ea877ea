"""`spooler show`: one notification with all that is known of it."""

import json
from pathlib import Path

import pytest
from commands import entry_schema, make_spool, put, run_line, spooler
from conftest import write_config

from spooler.person import PersonsSpool
from spooler.state import State

ID = "7c1f4a52-9d2e-4c44-8f0e-1b2d3c4e5f60"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def spool(config: Path) -> PersonsSpool:
    return make_spool(config)


@pytest.mark.parametrize("state", State)
def test_it_is_found_in_every_state_by_the_beginning_of_its_id(
    config: Path, spool: PersonsSpool, state: State
) -> None:
    lines = [run_line(output="no\n"), run_line(65, attempt=2)]
    path = put(spool, state, ID, lines=lines)
    put(spool, state, "7d-other", age=1)
    (found,) = spooler(config, "show", "7c1f", "--json").lines(entry_schema(state, shown=True))
    assert (found["id"], found["state"], found["body"]) == (ID, state.value, path.read_text())
    assert found["history"] == lines


def test_people_see_facts_history_output_and_on_demand_the_body_all_of_it_harmless(
    config: Path, spool: PersonsSpool
) -> None:
    path = put(
        spool, State.FAILED, ID, lines=[run_line(output="one\n\x1b[31mtwo\n"), {"at": "x", "note": "n"}]
    )
    path.write_bytes(b'{"EventUniqueID": "\x1b[2J\xff"}')
    ended = spooler(config, "show", ID, "--body")
    assert (ended.status, ended.err) == (0, "")
    assert f"id        {ID}\n" in ended.out
    assert f"file      {path}\n" in ended.out
    assert "attempt 1, 10-crm: exit 75, 0.1 s\n    one\n    \\x1b[31mtwo\n" in ended.out
    assert "\nx  n\n" in ended.out
    assert ended.out.endswith('\nbody:\n{"EventUniqueID": "\\x1b[2J\\xff"}\n')
    assert "body:" not in spooler(config, "show", ID).out


def test_several_of_one_id_are_all_shown_oldest_first(config: Path, spool: PersonsSpool) -> None:
    put(spool, State.DONE, ID)
    put(spool, State.DONE, ID, age=60)
    found = spooler(config, "show", ID, "--json").lines(entry_schema(State.DONE, shown=True))
    assert [one["received"] for one in found] == sorted(one["received"] for one in found)
    assert len(found) == 2


@pytest.mark.parametrize("form", ["name", "path", "log"])
def test_a_file_under_any_name_is_shown_by_name_or_path(config: Path, spool: PersonsSpool, form: str) -> None:
    path = spool.path(State.INCOMING, "by hand.json")
    path.write_text('{"EventUniqueID": "a"}')
    given = {"name": path.name, "path": str(path), "log": "by hand.log"}[form]
    (found,) = spooler(config, "show", given, "--json").lines(entry_schema(State.INCOMING, shown=True))
    assert (found["id"], found["file"]) == ("a", str(path))


def test_a_whole_id_is_not_taken_for_the_beginning_of_another(config: Path, spool: PersonsSpool) -> None:
    put(spool, State.DONE, "a-1")
    put(spool, State.DONE, "a-12")
    (found,) = spooler(config, "show", "a-1", "--json").lines(entry_schema(State.DONE, shown=True))
    assert found["id"] == "a-1"


@pytest.mark.parametrize(
    ("given", "status", "says"),
    [
        ("a", 1, "spooler: 'a' may be any of: a-1, a-2\n"),
        ("zz\x1b", 1, r"spooler: no notification has an ID that begins with 'zz\x1b'; looked for in"),
        ("/etc/passwd.json", 1, "spooler: there is no notification '/etc/passwd.json'"),
        ("", 2, "spooler: an ID is empty"),
    ],
)
def test_what_is_not_clear_is_one_line(
    config: Path, spool: PersonsSpool, given: str, status: int, says: str
) -> None:
    put(spool, State.DONE, "a-1")
    put(spool, State.FAILED, "a-2")
    ended = spooler(config, "show", given)
    assert (ended.status, ended.out, ended.err.count("\n")) == (status, "", 1)
    assert ended.err.startswith(says)


def test_ids_come_from_standard_input_too(config: Path, spool: PersonsSpool) -> None:
    put(spool, State.FAILED, "a", lines=[run_line()])
    put(spool, State.DONE, "b")
    listed = json.loads(spooler(config, "list", "failed", "--json").out)["id"]
    ended = spooler(config, "show", "-", "--json", given=f"{listed}\nb\n")
    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == ["a", "b"]
    put(spool, State.FAILED, "odd").with_suffix(".log").mkdir()
    ended = spooler(config, "show", "-", given="nobody\nodd\na")
    assert (ended.status, ended.err.count("\n")) == (1, 2)
    assert "id        a\n" in ended.out
