"""`spooler check --certificate`, as a person runs it."""

import json
import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, pkcs12
from running_service import wait_until
from tls_front import Identity, issue

COMMAND = [sys.executable, "-m", "spooler", "check"]


@pytest.fixture
def sender(tmp_path: Path) -> Identity:
    return issue(tmp_path, "sender.example")


@pytest.fixture
def locked(tmp_path: Path, sender: Identity) -> Path:
    path = tmp_path / "sender.pfx"
    closed = BestAvailableEncryption(b"geheim")
    path.write_bytes(
        pkcs12.serialize_key_and_certificates(b"s", sender.key, sender.certificate, None, closed)
    )
    return path


def ask(*arguments: str | Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    # In a folder without spooler.toml: none is needed.
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def test_standard_output_is_the_line_for_the_configuration_and_nothing_else(
    sender: Identity, tmp_path: Path
) -> None:
    told = ask("--certificate", sender.file, folder=tmp_path)
    assert told.returncode == 0
    assert told.stdout == f'client_certificates = ["{sender.fingerprint}"]\n'
    assert tomllib.loads(told.stdout) == {"client_certificates": [sender.fingerprint]}
    assert "subject  CN=sender.example\n" in told.stderr
    assert f"to {sender.certificate.not_valid_after_utc:%Y-%m-%d} (UTC)" in told.stderr
    assert "warning" not in told.stderr
    assert "\x1b" not in told.stderr


def test_openssl_prints_the_same_fingerprint(sender: Identity, tmp_path: Path) -> None:
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(sender.file)]
    try:
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("openssl isn't installed")
    plain = printed.partition("=")[2].strip().replace(":", "").lower()
    assert plain in ask("--certificate", sender.file, folder=tmp_path).stdout


def test_an_expired_certificate_is_warned_of(tmp_path: Path) -> None:
    expired = issue(tmp_path, "sender.example", days=-1)
    told = ask("--certificate", expired.file, folder=tmp_path)
    assert (told.returncode, told.stdout.count("\n")) == (0, 1)
    assert "warning  it has expired, on " in told.stderr


def test_json_says_all_of_it(sender: Identity, tmp_path: Path) -> None:
    path = tmp_path / "sender.cer"
    path.write_bytes(sender.certificate.public_bytes(Encoding.DER))
    told = ask("--certificate", path, "--json", folder=tmp_path)
    assert told.stderr == ""
    found = json.loads(told.stdout)
    assert found["fingerprint"] == sender.fingerprint
    assert (found["subject"], found["warning"], found["notices"]) == ("CN=sender.example", "", [])
    assert found["configuration"] == [f'client_certificates = ["{sender.fingerprint}"]']
    assert found["valid_until"] == sender.certificate.not_valid_after_utc.isoformat()


@pytest.mark.parametrize("written", [b"geheim", b"geheim\n", b"geheim\r\n", b"\xef\xbb\xbfgeheim\n"])
def test_a_password_may_stand_in_a_file(
    locked: Path, sender: Identity, tmp_path: Path, written: bytes
) -> None:
    (tmp_path / "password").write_bytes(written)
    told = ask("--certificate", locked, "--password-file", tmp_path / "password", folder=tmp_path)
    assert told.stdout == f'client_certificates = ["{sender.fingerprint}"]\n'


def test_on_a_terminal_the_password_is_asked_for_and_not_shown(
    locked: Path, sender: Identity, tmp_path: Path
) -> None:
    ours, theirs = pty.openpty()
    told = tmp_path / "stdout"
    with told.open("wb") as out:
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *COMMAND, "--certificate", locked],
            cwd=tmp_path,
            stdin=theirs,
            stdout=out,
            stderr=theirs,
        )
    os.close(theirs)
    shown = b""
    try:
        while b"Password of " not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, b"geheim\n")
        wait_until(lambda: process.poll() is not None, "it ends")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert process.returncode == 0
    assert told.read_text() == f'client_certificates = ["{sender.fingerprint}"]\n'
    assert b"geheim" not in shown


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is protected by a password; name a file that holds it with --password-file"),
        (b"wrong\n", "can't be opened: the password is wrong, or the file is damaged"),
        (b"\xff\xfe\xff", "is no text; write the password into it, in UTF-8"),
    ],
)
def test_a_password_that_is_missing_or_wrong_is_one_line(
    locked: Path, tmp_path: Path, content: bytes | None, words: str
) -> None:
    options: list[str | Path] = []
    if content is not None:
        (tmp_path / "password").write_bytes(content)
        options = ["--password-file", tmp_path / "password"]
    told = ask("--certificate", locked, *options, folder=tmp_path)
    assert (told.returncode, told.stdout, told.stderr.count("\n")) == (1, "", 1)
    assert words in told.stderr


def test_what_is_no_certificate_ends_with_one_line_and_status_1(tmp_path: Path) -> None:
    told = ask("--certificate", tmp_path / "none", folder=tmp_path)
    assert (told.returncode, told.stdout, told.stderr.count("\n")) == (1, "", 1)
    assert told.stderr.startswith(f"spooler: {tmp_path}/none: can't be read")


def test_a_password_without_a_certificate_is_a_mistake_of_usage(tmp_path: Path) -> None:
    told = ask("--password-file", tmp_path / "none", folder=tmp_path)
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
