"""The table of states and moves, and the page that explains it."""

import ast
from pathlib import Path

import pytest

import spooler
from spooler import state
from spooler.state import ACTIVE, MOVES, State


def page() -> list[list[list[str]]]:
    """Return the tables of the module's docstring, without their heads, as rows of cells."""
    tables: list[list[list[str]]] = []
    inside = False
    for line in (state.__doc__ or "").splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            tables.append([])
            inside = True
        tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return [table[2:] for table in tables]


STATES, STEPS, CRASHES = page()


def words(cell: str) -> list[str]:
    return [word.strip() for word in cell.split(",")]


def test_the_page_names_every_state_with_its_folder() -> None:
    assert [row[0] for row in STATES] == [member.name for member in State]
    for name, folder, meaning in STATES:
        assert folder.split("/")[0] == State[name].value
        assert meaning


def test_the_page_names_every_move() -> None:
    assert [row[0] for row in STEPS] == list(MOVES)


@pytest.mark.parametrize("row", STEPS, ids=lambda row: row[0])
def test_the_page_tells_of_each_move_what_the_code_does(row: list[str]) -> None:
    verb, sources, target, _by, true_at = row
    move = MOVES[verb]
    assert {State[name] for name in words(sources) if name != "-"} == move.sources
    assert (None if target == "-" else State[target]) is move.target
    assert ("the rename" if move.target else "the removal") in true_at
    assert ("folder is synced" in true_at) == move.synced


def test_the_page_tells_for_every_move_what_a_crash_leaves() -> None:
    told = {word for row in CRASHES for word in words(row[0]) if word in MOVES}
    assert told == set(MOVES)
    assert all(len(row) == 3 and all(row) for row in CRASHES)


def moves_of(person: str) -> set[str]:
    return {row[0] for row in STEPS if row[3].startswith(person)}


def test_a_log_may_lag_behind_exactly_where_a_move_of_the_processor_starts() -> None:
    assert set(ACTIVE) == {source for verb in moves_of("processor") for source in MOVES[verb].sources}


def test_nothing_but_a_person_takes_anything_out_of_a_settled_state() -> None:
    for settled in (State.DONE, State.FAILED, State.REJECTED):
        assert {verb for verb, move in MOVES.items() if settled in move.sources} <= moves_of("person")


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        MOVES["lose"] = MOVES["claim"]  # type: ignore[index]


def test_no_other_module_spells_a_folder_of_the_spool() -> None:
    folders = {member.value for member in State} - {State.DONE.value}  # which is a word of its own, too
    alone = folders - {State.RETRY.value}  # which is a move and a command, too
    package = Path(spooler.__file__).parent
    sources = [path for path in package.rglob("*.py") if path.name != "state.py"]
    assert len(sources) > 30
    spelled = [
        f"{path.name}: {node.value}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value in alone or any(f"/{folder}/" in f"/{node.value}" for folder in folders)
        if "\n" not in node.value  # texts for people
    ]
    assert spelled == []
