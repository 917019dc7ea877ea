"""The first state of an installation."""

import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import KeyPair

from spooler import config, dropins, scaffold
from spooler.errors import SpoolerError


def run(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "spooler", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=20)


def test_with_a_key_in_its_place_everything_is_ready(tmp_path: Path, key_pair: KeyPair) -> None:
    made = scaffold.write(tmp_path / "etc")
    assert {path.name for path in made} == {"spooler.toml", "keys", "processors", "spool", "10-example"}
    (tmp_path / "etc" / "keys" / "crm.pem").write_bytes(key_pair.public_pem.read_bytes())
    webhook = config.load(tmp_path / "etc" / "spooler.toml").webhooks["crm"]
    assert [script.name for script in dropins.find(webhook.processors, "any")] == ["10-example"]


def uncommented(text: str) -> str:
    """Take the commented defaults for settings."""
    lines = []
    for line in text.splitlines():
        setting = line.removeprefix("# ")
        lines.append(setting if setting != line and (" = " in setting or setting.startswith("[")) else line)
    return "\n".join(lines)


def plain(section: msgspec.Struct) -> dict[str, Any]:
    return {name: str(value) for name, value in msgspec.structs.asdict(section).items()}


def test_what_is_commented_out_is_the_default(tmp_path: Path, key_pair: KeyPair) -> None:
    scaffold.write(tmp_path)
    (tmp_path / "keys" / "crm.pem").write_bytes(key_pair.public_pem.read_bytes())
    path = tmp_path / "spooler.toml"
    text = path.read_text()
    defaults, told = config.load(path), config.parse(uncommented(text), path)
    assert told.alerts is not None
    assert tomllib.loads(uncommented(text)).keys() > tomllib.loads(text).keys()
    for name in ("receiver", "processor", "retention"):
        told_here, default = plain(getattr(told, name)), plain(getattr(defaults, name))
        assert told_here.keys() == tomllib.loads(uncommented(text))[name].keys()
        assert {**told_here, "listen": ""} == {**default, "listen": ""}
    assert str(told.receiver.listen) == str(defaults.receiver.listen)
    assert told.webhooks["crm"].algorithm == defaults.webhooks["crm"].algorithm
    assert told.webhooks["crm"].signed


def test_nothing_that_is_there_is_changed(tmp_path: Path) -> None:
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "10-example").write_text("mine")
    scaffold.write(tmp_path)
    assert (tmp_path / "processors" / "10-example").read_text() == "mine"
    (tmp_path / "spooler.toml").write_text("mine")
    with pytest.raises(SpoolerError, match="exists already, and is left as it is"):
        scaffold.write(tmp_path)
    assert (tmp_path / "spooler.toml").read_text() == "mine"


def test_the_command_says_what_it_made_and_what_is_next(tmp_path: Path) -> None:
    ended = run("init", "here", folder=tmp_path)
    assert ended.returncode == 0
    assert "made here/spooler.toml" in ended.stdout
    assert "spooler check --config here/spooler.toml" in ended.stdout
    again = run("init", "here", folder=tmp_path)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == (
        "spooler: here/spooler.toml: exists already, and is left as it is; name another folder\n"
    )


def test_what_is_next_can_be_typed_as_it_stands_whatever_the_folder_is_called(tmp_path: Path) -> None:
    ended = run("init", "my spool's", folder=tmp_path)
    (line,) = [line for line in ended.stdout.splitlines() if "spooler check" in line]
    assert shlex.split(line)[1:] == ["spooler", "check", "--config", "my spool's/spooler.toml"]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run("init", "file/below", folder=tmp_path)
    assert ended.returncode == 1
    assert ended.stderr.startswith("spooler: file/below")
    assert ended.stderr.count("\n") == 1
