"""The command line's frame: help, usage, and errors of one line."""

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest
from commands import make_spool, put
from conftest import write_config
from running_service import KEY, public_pem

from spooler import __version__, cli
from spooler.state import State


def run(*arguments: str, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "spooler", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=20)


def test_help_names_every_command() -> None:
    ended = run("--help")
    assert ended.returncode == 0
    assert all(f"  {name} " in ended.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_is_there_and_has_a_help_text(name: str) -> None:
    command = importlib.import_module(f"spooler.cli.{name}").command
    assert isinstance(command, click.Command)
    assert command.name in {name, "command"}
    assert command.help


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_refuses_what_it_does_not_know_in_one_line(name: str) -> None:
    ended = run(name, "--no-such-option")
    assert ended.returncode == 2
    assert ended.stderr.startswith("spooler: No such option")
    assert ended.stderr.endswith(f"(see spooler {name} --help)\n")
    assert ended.stderr.count("\n") == 1


def test_an_unknown_command_is_a_mistake_of_usage() -> None:
    ended = run("proces")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("spooler: No such command 'proces'.")


def test_the_bare_name_is_a_mistake_of_usage_that_shows_the_help_as_it_is() -> None:
    ended = run()
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == run("--help").stdout


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("verify --body - --signature eA== --key key.pem", 1),
        ("retry -", 0),
        ("retry --all", 1),
        ("show -", 0),
    ],
)
def test_where_standard_input_is_closed_nothing_is_read_and_nobody_is_asked(
    arguments: str, status: int, tmp_path: Path
) -> None:
    config = write_config(tmp_path)
    spool = make_spool(config)
    put(spool, State.FAILED, "id-1")
    put(spool, State.FAILED, "id-2")
    (tmp_path / "key.pem").write_bytes(public_pem(KEY))
    line = f'exec "{sys.executable}" -m spooler {arguments} 0<&-'
    ended = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=20
    )
    assert (ended.returncode, "Traceback" in ended.stderr) == (status, False), ended.stderr
    assert len(list(spool.folder(State.FAILED).glob("*.json"))) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            ["status"],
            ["status", "--json"],
            ["list", "failed"],
            ["show", "a"],
            ["retry", "--all"],
            ["drop", "a"],
        ),
        *(["pause"], ["resume"], ["readmit"], ["prune", "--yes"], ["prune", "--dry-run"]),
    ],
    ids=" ".join,
)
def test_a_spool_that_is_not_there_is_told_and_not_taken_for_an_empty_one(
    arguments: list[str], tmp_path: Path
) -> None:
    config = write_config(tmp_path)
    ended = run(*arguments, folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"spooler: {tmp_path}/spool: the spool's folder doesn't exist: mount it, or start the services once, "
        f"or correct `spool` in {config}\n"
    )
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("arguments", [["status"], ["list", "failed"], ["resume"], ["readmit"], ["prune"]])
def test_a_webhook_that_was_just_added_holds_nothing_and_that_is_no_error(
    arguments: list[str], tmp_path: Path
) -> None:
    write_config(tmp_path, webhooks=["crm", "shop"])
    make_spool(tmp_path / "spooler.toml")
    ended = run(*arguments, folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_version_is_told() -> None:
    assert run("--version").stdout == f"spooler, version {__version__}\n"


@pytest.mark.parametrize("name", ["run", "receive", "process", "check"])
def test_without_a_configuration_the_line_says_how_to_get_one(name: str, tmp_path: Path) -> None:
    ended = run(name, folder=tmp_path)
    assert ended.returncode == 78
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.endswith("name one with --config, or write one with: spooler init\n")


def test_help_is_quick_because_commands_are_loaded_when_they_are_called() -> None:
    code = "import sys, spooler.cli; print(*sorted(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"cryptography", "waitress", "watchdog", "msgspec"}.isdisjoint(ended.stdout.split())


@pytest.mark.parametrize("name", ["status", "list", "show", "retry", "pause", "resume", "prune"])
def test_what_looks_at_folders_or_moves_files_loads_no_cryptography_no_server_and_no_log(name: str) -> None:
    code = f"import sys, spooler.cli.{name}; print(*sorted(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"cryptography", "waitress", "bottle", "watchdog", "structlog", "rich"}
    assert heavy.isdisjoint(ended.stdout.split())
