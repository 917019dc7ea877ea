"""`spooler keygen`, as a person runs it."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from spooler.keypair import load_private_key
from spooler.keys import load_key


def _spooler(*arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spooler", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_writes_a_pair_and_says_what_to_try_next(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    result = _spooler("keygen", folder, "--bits", "1024")
    assert (result.returncode, result.stderr) == (0, "")
    assert stat.S_IMODE((folder / "private.pem").stat().st_mode) == 0o600
    public = load_key(folder / "public.pem")
    assert public.bits == 1024
    assert load_private_key(folder / "private.pem").public_key() == public.public
    for words in (*map(str, folder.iterdir()), public.fingerprint, "spooler send http"):
        assert words in result.stdout


def test_a_key_has_2048_bits_unless_said_otherwise(tmp_path: Path) -> None:
    assert _spooler("keygen", tmp_path).returncode == 0
    assert load_key(tmp_path / "public.xml").bits == 2048


def test_it_never_overwrites_a_key(tmp_path: Path) -> None:
    (tmp_path / "public.pem").write_text("mine")
    result = _spooler("keygen", tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith(f"spooler: {tmp_path}/public.pem: exists already")
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["public.pem"]
    assert (tmp_path / "public.pem").read_text() == "mine"


@pytest.mark.parametrize("bits", ["512", "1000000", "many"])
def test_a_length_that_makes_no_sense_is_a_mistake_of_usage(bits: str, tmp_path: Path) -> None:
    result = _spooler("keygen", tmp_path, "--bits", bits)
    assert result.returncode == 2
    assert "--bits" in result.stderr
    assert list(tmp_path.iterdir()) == []
