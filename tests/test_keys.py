"""Every kind of key file: what is understood, what is refused and how."""

import base64
import contextlib
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import examples
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from key_files import (
    CERTIFICATE,
    OTHERS,
    PRIVATE_XML,
    PUBLIC,
    REFUSED,
    SPKI,
    UNDERSTOOD,
    pem_file,
)

from spooler.errors import Exit, KeyFileError
from spooler.keypair import load_private_key
from spooler.keys import load_key, parse_key

openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")


@pytest.mark.parametrize("form", UNDERSTOOD)
def test_every_usual_kind_of_key_file_is_understood(form: str) -> None:
    content, kind = UNDERSTOOD[form]
    key = parse_key(content, "keys/crm")
    assert (key.public, key.name, key.kind) == (PUBLIC, "keys/crm", kind)
    assert (key.bits, key.signature_bytes) == (2048, 256)
    der = PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key.fingerprint == f"SHA256:{hashlib.sha256(der).hexdigest()}"


@pytest.mark.parametrize("form", REFUSED)
def test_everything_else_is_refused_and_named_for_what_it_is(form: str) -> None:
    content, words = REFUSED[form]
    with pytest.raises(KeyFileError) as refused:
        parse_key(content, "keys/crm.pem")
    line = str(refused.value)
    assert line.startswith("keys/crm.pem: ")
    assert words in line
    assert "\n" not in line
    assert refused.value.exit is Exit.CONFIGURATION


def test_private_parts_in_xml_are_warned_of_and_never_read() -> None:
    (warning,) = parse_key(PRIVATE_XML, "crm.xml").warnings
    assert "holds a private key too" in warning
    assert "doesn't belong on this machine" in warning


def test_a_short_key_is_warned_of() -> None:
    assert parse_key(SPKI, "").warnings == ()
    assert parse_key(pem_file(OTHERS[0].public_key()), "").warnings == (
        "has only 1024 bits, 2048 are advisable",
    )


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"crm\.pem: doesn't exist"):
        load_key(tmp_path / "crm.pem")
    with pytest.raises(KeyFileError, match="can't be read: Is a directory"):
        load_key(tmp_path)
    with pytest.raises(KeyFileError, match="is larger than 64 KiB"):
        load_key(Path("/dev/zero"), pipes=True)
    with pytest.raises(KeyFileError, match="/dev/zero: is no regular file"):
        load_key(Path("/dev/zero"))


@settings(max_examples=examples(300))
@given(
    st.binary(max_size=300)
    | st.sampled_from([b"<", b"\x30\x82", b"-----BEGIN PUBLIC KEY-----"]).flatmap(
        lambda start: st.binary(max_size=100).map(lambda rest: start + rest)
    )
)
def test_arbitrary_bytes_only_ever_raise_a_key_file_error(content: bytes) -> None:
    with pytest.raises(KeyFileError):
        parse_key(content, "fuzz")


@settings(max_examples=examples(400))
@given(st.sampled_from(sorted(UNDERSTOOD)), st.integers(0, 5000), st.binary(min_size=1, max_size=3))
def test_damage_anywhere_in_a_file_only_ever_raises_a_key_file_error(
    form: str, at: int, damage: bytes
) -> None:
    content = UNDERSTOOD[form][0]
    at %= len(content)
    _parse_or_refuse(content[:at] + damage + content[at + len(damage) :])


@settings(max_examples=examples(400))
@given(
    st.sampled_from(["PUBLIC KEY", "CERTIFICATE"]), st.integers(0, 5000), st.binary(min_size=1, max_size=3)
)
def test_damage_anywhere_inside_pem_only_ever_raises_a_key_file_error(
    label: str, at: int, damage: bytes
) -> None:
    der = bytearray(
        base64.b64decode(
            "".join((SPKI if label == "PUBLIC KEY" else CERTIFICATE).decode().splitlines()[1:-1])
        )
    )
    at %= len(der)
    der[at : at + len(damage)] = damage
    text = base64.b64encode(der).decode()
    _parse_or_refuse(f"-----BEGIN {label}-----\n{text}\n-----END {label}-----\n".encode())


def _parse_or_refuse(content: bytes) -> None:
    with contextlib.suppress(KeyFileError):
        parse_key(content, "fuzz")


@openssl
def test_key_files_of_openssl_are_understood_and_have_the_fingerprint_that_it_tells(tmp_path: Path) -> None:
    def run(*arguments: str) -> bytes:
        return subprocess.check_output(["openssl", *arguments], cwd=tmp_path, stderr=subprocess.DEVNULL)

    run("genrsa", "-out", "private.pem", "2048")
    run("rsa", "-in", "private.pem", "-pubout", "-out", "spki.pem")
    run("rsa", "-in", "private.pem", "-RSAPublicKey_out", "-out", "pkcs1.pem")
    run("req", "-x509", "-key", "private.pem", "-subj", "/CN=sender", "-out", "certificate.pem")
    fingerprint = hashlib.sha256(run("pkey", "-pubin", "-in", "spki.pem", "-outform", "der")).hexdigest()
    for name in ("spki.pem", "pkcs1.pem", "certificate.pem"):
        assert load_key(tmp_path / name).fingerprint == f"SHA256:{fingerprint}"
    with pytest.raises(KeyFileError, match="is a private key"):
        load_key(tmp_path / "private.pem")
    assert load_private_key(tmp_path / "private.pem").key_size == 2048
