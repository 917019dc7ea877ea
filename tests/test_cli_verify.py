"""`spooler verify`, as a person runs it with one captured request."""

import json
import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from spooler.algorithm import Algorithm
from spooler.keypair import generate, write_pair
from spooler.keys import load_key
from spooler.signature import sign

VECTORS = Path(__file__).parent / "vectors"
DOTNET = VECTORS / "dotnet-2048-sha256"
PHP = VECTORS / "php-2048-sha256"
SIGNATURE = (DOTNET / "signature.txt").read_text()


def _verify(
    *arguments: str | os.PathLike[str], body: bytes | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spooler", "verify", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    given = body.decode("utf-8", "surrogateescape") if body is not None else None
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        input=given,
        cwd=cwd,
        env=environment,
    )


def _one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.stdout == ""
    assert result.stderr.startswith("spooler: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize("folder", sorted(VECTORS.iterdir()), ids=lambda folder: folder.name)
def test_it_tells_key_hash_and_padding_and_the_lines_to_write(folder: Path) -> None:
    file = next(folder.glob("public.*"))
    result = _verify("--body", folder / "body.json", "--signature", folder / "signature.txt", "--key", file)
    assert (result.returncode, result.stderr) == (0, "")
    key = load_key(file)
    for words in (f"{file} ({key.kind}, {key.bits} bits)", key.fingerprint, "genuine"):
        assert words in result.stdout
    settings = tomllib.loads("\n".join(line for line in result.stdout.splitlines() if " = " in line))
    hash_ = (folder / "hash.txt").read_text().strip()
    assert settings == {"public_keys": [str(file)], "hash": hash_, "padding": "pkcs1v15"}


def test_the_key_may_come_through_a_pipe() -> None:
    key = next(DOTNET.glob("public.*"))
    arguments = ("--body", DOTNET / "body.json", "--signature", SIGNATURE, "--key", "/dev/stdin")
    result = _verify(*arguments, body=key.read_bytes())
    assert (result.returncode, result.stderr) == (0, "")


def test_the_key_is_found_among_several_and_its_path_made_absolute(tmp_path: Path) -> None:
    algorithm = Algorithm("sha384", "pss")
    for name in ("old", "new"):
        private = generate(2048)
        write_pair(tmp_path / name, private)
    body = b'{"Type": "contact_optout"}\n'
    result = _verify(
        *("--body", "-", "--signature", sign(body, private, algorithm), "--json"),
        *("--key", "old/public.xml", "--key", "new/public.xml"),
        body=body,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["genuine"] is True
    assert [key["file"] for key in told["keys"]] == ["new/public.xml"]
    assert (told["hash"], told["padding"], told["body_change"], told["reason"]) == ("sha384", "pss", "", "")
    assert tomllib.loads("\n".join(told["configuration"]))["public_keys"] == [f"{tmp_path}/new/public.xml"]


@pytest.mark.parametrize(
    "pasted",
    [
        f"X-DI-Signature: {SIGNATURE}\r\n",
        f"x-di-signature:{SIGNATURE}",
        f"\n  {SIGNATURE}  \n",
        "\n    ".join(textwrap.wrap(SIGNATURE, 64)),
    ],
    ids=["header", "lower case", "spaces", "wrapped"],
)
@pytest.mark.parametrize("as_file", [False, True], ids=["text", "file"])
def test_a_signature_is_understood_as_it_was_pasted(pasted: str, as_file: bool, tmp_path: Path) -> None:
    file = tmp_path / "pasted.txt"
    file.write_text(pasted)
    given = file if as_file else pasted
    result = _verify("--body", DOTNET / "body.json", "--signature", given, "--key", DOTNET / "public.xml")
    assert result.returncode == 0, result.stderr


def test_without_a_key_those_of_all_webhooks_are_tried(tmp_path: Path) -> None:
    config = tmp_path / "spooler.toml"
    lines = ['spool = "spool"', 'processors = "processors"']
    for name, key in (("crm", PHP / "public.pem"), ("shop", DOTNET / "public.xml")):
        lines += [f"[webhook.{name}]", f"public_keys = [{json.dumps(str(key))}]"]
    config.write_text("\n".join(lines))
    captured = ("--body", DOTNET / "body.json", "--signature", DOTNET / "signature.txt", "--json")
    result = _verify(*captured, "--config", config)
    assert result.returncode == 0, result.stderr
    assert [key["file"] for key in json.loads(result.stdout)["keys"]] == [str(DOTNET / "public.xml")]


def test_a_body_that_a_capture_changed_is_said_to_be_so() -> None:
    changed = (DOTNET / "body.json").read_bytes() + b"\n"
    captured = ("--body", "-", "--signature", SIGNATURE, "--key", DOTNET / "public.xml")
    result = _verify(*captured, body=changed)
    assert result.returncode == 1
    assert "only if the body is taken without the line break at its end" in result.stdout
    assert 'hash = "sha256"' in result.stdout
    told = json.loads(_verify(*captured, "--json", body=changed).stdout)
    assert (told["genuine"], told["body_change"]) == (False, "without the line break at its end")


def test_another_body_of_the_same_sender_is_told_from_another_sender() -> None:
    captured = ("--signature", SIGNATURE, "--key")
    other_body = _verify("--body", PHP / "body.json", *captured, DOTNET / "public.xml")
    assert other_body.returncode == 1
    assert "made this signature (sha256 with pkcs1v15), but over another body" in _one_line(other_body)
    other_key = _verify("--body", DOTNET / "body.json", *captured, PHP / "public.pem")
    assert other_key.returncode == 1
    assert "public.pem didn't make this signature" in _one_line(other_key)


def test_a_signature_of_another_length_is_told_with_both_lengths() -> None:
    key = VECTORS / "dotnet-1024-sha1" / "public.xml"
    captured = ("--body", DOTNET / "body.json", "--signature", SIGNATURE, "--key", key)
    result = _verify(*captured)
    assert result.returncode == 1
    line = _one_line(result)
    assert "the signature is 256 bytes long" in line
    assert "makes 128: not made by this key" in line
    as_json = _verify(*captured, "--json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["reason"] in line


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        (SIGNATURE[:100] + "!" + SIGNATURE[100:], "isn't base64: character 101 is '!'"),
        (SIGNATURE[:-3], "isn't base64"),
        (f"{SIGNATURE},{SIGNATURE}", "more than one signature"),
        ("signature.txt", "character 10 is '.'; no file has this name either"),
        ("", "empty X-DI-Signature header"),
    ],
)
def test_a_signature_that_is_none_is_told_with_the_place(signature: str, words: str) -> None:
    captured = ("--body", DOTNET / "body.json", "--signature", signature, "--key", DOTNET / "public.xml")
    result = _verify(*captured)
    assert result.returncode == 1
    assert words in _one_line(result)


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    signed = ("--signature", SIGNATURE, "--key")
    no_body = _verify("--body", tmp_path / "body.json", *signed, DOTNET / "public.xml")
    assert no_body.returncode == 1
    assert (
        _one_line(no_body)
        == f"spooler: {tmp_path}/body.json: the body can't be read: No such file or directory\n"
    )
    no_key = _verify("--body", DOTNET / "body.json", *signed, tmp_path / "crm.pem")
    assert no_key.returncode == 78
    assert f"{tmp_path}/crm.pem: doesn't exist" in _one_line(no_key)
    folder = _verify("--body", DOTNET / "body.json", "--signature", tmp_path, "--key", DOTNET / "public.xml")
    assert folder.returncode == 1
    assert "the signature can't be read: Is a directory" in _one_line(folder)


def test_the_help_shows_how_to_call_it() -> None:
    result = _verify("--help")
    assert result.returncode == 0
    assert "spooler verify --body body.json --signature signature.txt" in result.stdout
