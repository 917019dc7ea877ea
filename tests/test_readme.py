"""The README against the code, so that it can't drift."""

import re
import shlex
from pathlib import Path

import click

from spooler import cli
from spooler.answers import Answer
from spooler.state import State

README = (Path(__file__).parent.parent / "README.md").read_text()


def table(after: str) -> list[list[str]]:
    """Return the cells of the rows of the first table after a text."""
    rows = README.partition(after)[2].partition("\n|")[2].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return [row for row in cells[2:] if len(row) > 1]


def test_the_states_are_those_of_the_code() -> None:
    folders = [re.findall(r"`([a-z]+)/", row[0])[0] for row in table("<!-- states -->")]
    assert folders == [state.value for state in State]


def test_the_commands_are_those_of_the_code() -> None:
    named = [re.match(r"[a-z]+", part) for row in table("## The commands") for part in row[0].split("`")]
    assert [found[0] for found in named if found] == list(cli.COMMANDS)


def test_the_answers_are_those_of_the_code() -> None:
    statuses = [int(number) for row in table("## What the receiver answers") for number in row[0].split(", ")]
    assert sorted(statuses) == sorted(answer.status for answer in Answer)


def test_the_set_up_is_one_line_for_each_of_the_two_commands() -> None:
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    first_two = [block.strip() for block in blocks[:2]]
    assert all("\n" not in block and block.startswith("python3 -m venv .venv") for block in first_two)
    assert first_two[0].endswith(".venv/bin/spooler demo")
    assert first_two[1].endswith(".venv/bin/pytest")


def test_every_command_line_of_the_runbook_is_one_that_the_program_knows() -> None:
    lines = re.findall(r"^\$ spooler (.*)$", README, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        name, *rest = shlex.split(re.split(r"[|<>]", line)[0], comments=True)
        command = cli.spooler.get_command(click.Context(cli.spooler), name)
        assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, line
