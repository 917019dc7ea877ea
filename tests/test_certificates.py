"""Certificate files of every kind, made on the spot: what is understood, and what is refused."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import key_files
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from tls_front import Identity, issue

from spooler.certificates import fingerprint, load_certificate
from spooler.errors import CertificateFileError, Exit

KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> list[Identity]:
    """The sender's certificate, the CA that issued it, and the CA that issued that."""
    folder = tmp_path_factory.mktemp("chain")
    root = issue(folder, "Root", ca=True)
    middle = issue(folder, "Middle", root, ca=True)
    return [issue(folder, "sender.example", middle), middle, root]


def no_password() -> str | None:
    raise AssertionError("no password is needed")


def pem(*identities: Identity) -> bytes:
    return b"".join(identity.certificate.public_bytes(Encoding.PEM) for identity in identities)


def pfx(identity: Identity | None, *others: Identity, password: bytes = b"", key: bool = True) -> bytes:
    closed = serialization.BestAvailableEncryption(password) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(
        b"sender",
        (identity.key if identity else KEY) if key else None,
        identity.certificate if identity else None,
        [other.certificate for other in others],
        closed,
    )


def write(folder: Path, content: bytes) -> Path:
    path = folder / "sender"  # the name says nothing
    path.write_bytes(content)
    return path


def test_every_kind_of_file_gives_the_senders_own_certificate(chain: list[Identity], tmp_path: Path) -> None:
    leaf, middle, root = chain
    text = b"Bag Attributes\n    friendlyName: caf\xe9\n"
    files = {
        "PEM": pem(leaf),
        "PEM with text in front": text + pem(leaf),
        "PEM of Windows": b"\xef\xbb\xbf" + pem(leaf).replace(b"\n", b"\r\n"),
        "PEM in UTF-16": pem(leaf).decode().encode("utf-16"),
        "PEM indented": pem(leaf).replace(b"\n", b"\n   "),
        "PEM twice the same": pem(leaf, leaf),
        "chain, leaf first": pem(leaf, middle, root),
        "chain, leaf last": pem(root, middle, leaf),
        "with its key": leaf.file.read_bytes(),
        "DER": leaf.certificate.public_bytes(Encoding.DER),
        "PFX": pfx(leaf),
        "PFX with the chain": pfx(leaf, root, middle),
        "PFX without a key": pfx(leaf, key=False),
        "PFX, a chain, no key": pfx(None, root, leaf, middle, key=False),
    }
    for what, content in files.items():
        found = load_certificate(write(tmp_path, content), no_password)
        assert found.fingerprint == leaf.fingerprint, what
        assert (found.subject, found.issuer) == ("CN=sender.example", "CN=Middle")
        said = "\n".join(found.notices)
        assert ("3 certificates; this is the one that issued none" in said) == ("chain, " in what), what
        assert ("private key" in said) == (what == "with its key")


def test_the_fingerprint_is_the_sha256_of_the_der(chain: list[Identity]) -> None:
    der = chain[0].certificate.public_bytes(Encoding.DER)
    assert fingerprint(der) == hashlib.sha256(der).hexdigest() == chain[0].fingerprint


def test_a_password_is_asked_for_once_and_only_where_the_empty_one_does_not_fit(
    chain: list[Identity], tmp_path: Path
) -> None:
    asked = []

    def ask() -> str:
        asked.append(True)
        return "geheim é"

    path = write(tmp_path, pfx(chain[0], password="geheim é".encode()))
    assert load_certificate(path, ask).fingerprint == chain[0].fingerprint
    assert asked == [True]
    with pytest.raises(CertificateFileError, match="the password is wrong, or the file is damaged"):
        load_certificate(path, lambda: "another")
    with pytest.raises(CertificateFileError, match=r"protected by a password; .*--password-file"):
        load_certificate(path, lambda: None)


REFUSED = {
    "empty": (b"", "is empty"),
    "garbage": (bytes(range(256)) * 8, "is no certificate, or a damaged one"),
    "one byte": (b"\x30", "is no certificate"),
    "two bytes": (b"\x30\x82", "is no certificate"),
    "text": (b"hello", "is no certificate"),
    "HTML": (key_files.REFUSED["HTML"][0], "is no certificate"),
    "private key": (key_files.private_file(PrivateFormat.PKCS8), "is a private key"),
    "PKCS#1": (key_files.private_file(PrivateFormat.TraditionalOpenSSL), "is a private key"),
    "locked": (key_files.private_file(PrivateFormat.PKCS8, passphrase=b"x"), "is a private key"),
    "private key in DER": (key_files.private_file(PrivateFormat.PKCS8, Encoding.DER), "is a private key"),
    "locked in DER": (
        key_files.private_file(PrivateFormat.PKCS8, Encoding.DER, passphrase=b"x"),
        "is a private key",
    ),
    "public key": (key_files.SPKI, "is a public key"),
    "public key, PKCS#1": (key_files.PKCS1, "is a public key"),
    "request": (key_files.REFUSED["certificate request"][0], "is a certificate request"),
    "PKCS#7": (key_files.REFUSED["PKCS#7"][0], "is a PKCS#7 bundle of certificates"),
    "PKCS#7 in DER": (key_files.REFUSED["PKCS#7 in DER"][0], "is a PKCS#7 bundle of certificates"),
    "PGP": (
        b"-----BEGIN PGP X-----\n-----END PGP X-----\n",
        "is PEM of another kind, 'PGP X'",
    ),
    "without end": (key_files.CERTIFICATE[:300], "is PEM damaged at its end"),
    "a line lost": (
        b"".join(key_files.CERTIFICATE.splitlines(True)[:3]) + b"-----END CERTIFICATE-----\n",
        "is PEM damaged on the way",
    ),
    "without its frame": (b"".join(key_files.CERTIFICATE.splitlines()[1:-1]), "is base64 without the lines"),
    "two of nobody": (
        key_files.CERTIFICATE + key_files.certificate(key_files.OTHERS[0]).public_bytes(Encoding.PEM),
        "holds 2 certificates that are no chain; make a file of its own for each",
    ),
    "PFX without certificate": (pfx(None), "is a .pfx without a certificate"),
    "too large": (key_files.CERTIFICATE + b" " * (1 << 20), "is larger than 1 MiB"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_certificate_is_refused_in_one_line_that_says_what_it_is(
    what: str, tmp_path: Path
) -> None:
    content, words = REFUSED[what]
    path = write(tmp_path, content)
    with pytest.raises(CertificateFileError) as refused:
        load_certificate(path, no_password)
    line = str(refused.value)
    assert line.startswith(f"{path}: {words}")
    assert "\n" not in line
    assert refused.value.exit is Exit.FAILED


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "none", "No such file"),
        (tmp_path, "Is a directory"),
        (Path("a\0b"), "null"),
    ):
        with pytest.raises(CertificateFileError, match=why):
            load_certificate(path, no_password)


def test_a_certificate_out_of_its_time_is_warned_of(chain: list[Identity], tmp_path: Path) -> None:
    found = load_certificate(write(tmp_path, pem(chain[0])), no_password)
    second = timedelta(seconds=1)
    assert found.warning(datetime.now(UTC)) == ""
    assert found.warning(found.valid_from) == found.warning(found.valid_until) == ""
    assert found.warning(found.valid_until + second).startswith("it has expired, on ")
    assert found.warning(found.valid_from - second).startswith("it isn't valid before ")


def test_names_cannot_reach_the_terminal(tmp_path: Path) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a\x1b[31m\nforged\u202e")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, KEY.public_key(), 1, now, now + timedelta(1))
    content = builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    found = load_certificate(write(tmp_path, content), no_password)
    assert found.subject.isprintable()
    assert "forged" in found.subject
