"""Key pairs that are made for trying things out."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat
from key_files import CERTIFICATE, PRIVATE, PRIVATE_XML, PUBLIC, SPKI, VECTORS, private_file

from spooler.errors import KeyFileError, SpoolerError
from spooler.keypair import load_private_key, to_xml, write_pair
from spooler.keys import load_key


@pytest.mark.parametrize("name", ["dotnet-1024-sha1", "dotnet-2048-sha256"])
def test_xml_is_written_as_dotnet_writes_it(name: str) -> None:
    path = VECTORS / name / "public.xml"
    assert to_xml(load_key(path).public) == path.read_text()


def test_a_pair_is_three_files_of_one_key(tmp_path: Path) -> None:
    paths = write_pair(tmp_path / "new" / "keys", PRIVATE)
    assert [path.name for path in paths] == ["private.pem", "public.pem", "public.xml"]
    private, pem, xml = paths
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert private.read_bytes() == private_file(PrivateFormat.PKCS8)
    assert load_private_key(private).public_key() == load_key(pem).public == load_key(xml).public == PUBLIC


def test_a_private_key_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, private_file(PrivateFormat.PKCS8))
    os.close(writing)
    try:
        assert load_private_key(Path(f"/dev/fd/{reading}")).public_key() == PUBLIC
    finally:
        os.close(reading)


@pytest.mark.parametrize("name", ["private.pem", "public.pem", "public.xml"])
def test_a_pair_never_overwrites_anything(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(SpoolerError, match=f"{name}: exists already"):
        write_pair(tmp_path, PRIVATE)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_pair_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolerError, match="file/keys: can't be written: Not a directory"):
        write_pair(tmp_path / "file" / "keys", PRIVATE)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (SPKI, "is a public key (PEM public key); signing needs a private RSA key"),
        (CERTIFICATE, "is a public key (PEM certificate)"),
        (PRIVATE_XML, "is a public key (.NET XML key)"),
        (private_file(PrivateFormat.PKCS8, passphrase=b"x"), "is encrypted"),
        (private_file(PrivateFormat.PKCS8)[:-100], "is no private key, or a damaged one"),
        (b"", "is no private key"),
        (
            ed25519.Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            "is a private key of another algorithm than RSA",
        ),
    ],
)
def test_what_cannot_sign_is_named_for_what_it_is(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "private.pem"
    path.write_bytes(content)
    with pytest.raises(KeyFileError) as refused:
        load_private_key(path)
    assert str(refused.value).startswith(f"{path}: {words}")


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_private_keys_of_both_pem_forms_can_sign(form: PrivateFormat, tmp_path: Path) -> None:
    path = tmp_path / "private.pem"
    path.write_bytes(private_file(form).replace(b"\n", b"\r\n"))
    loaded = load_private_key(path)
    assert isinstance(loaded, RSAPrivateKey)
    assert loaded.public_key() == PUBLIC
