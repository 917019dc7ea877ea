"""RSA keys: from a file's content to a key that signatures are checked with.

Owns: which kinds of key file are understood, and what makes a key acceptable.
Promises: the kind is told from the content, never from the file's name; one line says what is wrong with
a file; private numbers in the place of public ones are never decoded.
Does not promise: that a key is the sender's (compare fingerprints), or that a certificate is valid now or
was issued by anyone: here a certificate is only the wrapping of a key.
"""

import base64
import codecs
import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from defusedxml import DefusedXmlException, ElementTree

from spooler.errors import KeyFileError

MAX_FILE_BYTES = 64 * 1024
MIN_BITS, SOUND_BITS, MAX_BITS = 1024, 2048, 16384

_EXPECTED = "spooler needs the sender's public RSA key, PEM or XML"
_PEM_BEGIN = re.compile(r"-----BEGIN ([^-\r\n]{1,64})-----")
_PEM_KINDS = {
    "PUBLIC KEY": "PEM public key",
    "RSA PUBLIC KEY": "PEM public key (PKCS#1)",
    "CERTIFICATE": "PEM certificate",
}
_PEM_STRANGERS = {"PKCS7": "a PKCS#7 bundle of certificates", "CERTIFICATE REQUEST": "a certificate request"}
_XML_PRIVATE_PARTS = {"D", "P", "Q", "DP", "DQ", "InverseQ"}
# What follows the header of the outermost SEQUENCE of a DER file.
_BINARY_STRANGERS = {
    bytes.fromhex("020103"): "a PFX (PKCS#12) file",
    bytes.fromhex("06092a864886f70d0107"): "a PKCS#7 bundle of certificates",
    bytes.fromhex("020100"): "a private key, in binary (DER)",
}
_TEXT_STRANGERS = {
    "ssh-": "an OpenSSH public key",
    "MI": "base64 without the lines -----BEGIN ...----- and -----END ...----- around it",
}


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and what people should know about where it came from.

    fingerprint: `SHA256:` and the lower-case hex of the SHA-256 of the DER SubjectPublicKeyInfo, the same
        whatever the key was wrapped in: `openssl pkey -pubin -outform der | sha256sum`.
    """

    public: RSAPublicKey
    name: str  # the file, as the configuration or the command line named it
    kind: str  # of file, in words
    warnings: tuple[str, ...] = ()
    fingerprint: str = field(init=False, compare=False)  # made once: each notification's line tells it

    def __post_init__(self) -> None:
        der = self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        object.__setattr__(self, "fingerprint", f"SHA256:{hashlib.sha256(der).hexdigest()}")

    @property
    def bits(self) -> int:
        """Length of the modulus in bits."""
        return self.public.key_size

    @property
    def signature_bytes(self) -> int:
        """Length of every signature made with this key."""
        return (self.bits + 7) // 8


def load_key(path: Path, *, pipes: bool = False) -> Key:
    """Return the public key in a file (see `parse_key`); `pipes` as for `read_file`. Raises: KeyFileError."""
    return parse_key(read_file(path, pipes=pipes), str(path))


def parse_key(content: bytes, name: str) -> Key:
    """Return the public key that is a file's content; `name` is the file's name in errors and logs.

    Understood are PEM (SubjectPublicKeyInfo, PKCS#1, X.509 certificate) and .NET's XML, in UTF-8 or
    UTF-16. Raises: KeyFileError, which says what the file is instead.
    """
    if len(content) > MAX_FILE_BYTES:
        raise refusal(name, f"is larger than {MAX_FILE_BYTES // 1024} KiB")
    text = text_of(content)
    if text.startswith("<"):
        kind, numbers, warnings = ".NET XML key", *_from_xml(text, name)
    elif _PEM_BEGIN.search(text):
        kind, numbers, warnings = *_from_pem(text, name), ()
    else:
        raise refusal(name, f"is {_stranger(content, text)}")
    return Key(_check(numbers, name), name, kind, (*warnings, *_weakness(numbers)))


def refusal(name: str, what: str, wanted: str = _EXPECTED) -> KeyFileError:
    """Return the error for a file that is something else than what was wanted."""
    return KeyFileError(f"{name}: {what}; {wanted}")


def read_file(path: Path, *, pipes: bool = False) -> bytes:
    """Return what can be a key file's content, and one byte more of what can't. Raises: KeyFileError.

    pipes: take a pipe too, and wait for it: a person may hand one over. A service never does.
    """
    try:
        with open(path, "rb", opener=None if pipes else _at_once) as file:
            if not (pipes or stat.S_ISREG(os.fstat(file.fileno()).st_mode)):
                raise KeyFileError(f"{path}: is no regular file")
            return file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise KeyFileError(f"{path}: doesn't exist: there is no such key file") from None
    except (OSError, ValueError) as error:  # a folder, no permission, I/O; a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise KeyFileError(f"{path}: can't be read: {reason}") from None


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # of a pipe that nobody writes to, too


def text_of(content: bytes) -> str:
    """Return the text of a file, whatever editor wrote it."""
    # Windows' editors and shells put a mark in front, and some write UTF-16.
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8-sig", errors="replace").strip()


def _stranger(content: bytes, text: str) -> str:
    """Say what a file is that is neither PEM nor XML."""
    if not text:
        return "empty"
    if content[:1] == b"\x30" and content[1:2] >= b"\x80":
        start = content[2 + (content[1] & 0x7F) :]
        known = (words for magic, words in _BINARY_STRANGERS.items() if start.startswith(magic))
        return next(known, "a binary (DER) file")
    known = (words for start, words in _TEXT_STRANGERS.items() if text.startswith(start))
    return next(known, f"no key file: it starts with {text[:20]!a}")


def _from_pem(text: str, name: str) -> tuple[str, RSAPublicNumbers]:
    labels = _PEM_BEGIN.findall(text)
    label = labels[0]
    if any("PRIVATE" in each for each in labels):
        raise refusal(name, "is a private key", "spooler needs the public one, and the private one elsewhere")
    if label not in _PEM_KINDS:
        raise refusal(name, f"is {_PEM_STRANGERS.get(label, f'PEM of another kind, {label!a}')}")
    if len(labels) > 1:
        raise refusal(name, f"holds {len(labels)} PEM blocks", "there is one key to a file")
    encoded, end, _ = text.partition(f"-----BEGIN {label}-----")[2].partition(f"-----END {label}-----")
    if not end:
        raise refusal(name, f"is PEM damaged at its end (no -----END {label}-----)")
    try:
        public = _from_der(base64.b64decode("".join(encoded.split()), validate=True), label)
    except (ValueError, x509.InvalidVersion):
        raise refusal(name, "is PEM damaged on the way (copy it again, as a whole)") from None
    except UnsupportedAlgorithm:
        raise refusal(name, "is a key of another algorithm than RSA") from None
    if not isinstance(public, RSAPublicKey):
        elliptic = isinstance(public, EllipticCurvePublicKey)
        kind = "an elliptic-curve key" if elliptic else f"a key of {type(public).__name__}"
        raise refusal(name, f"is {kind.removesuffix('PublicKey')}, not RSA")
    return _PEM_KINDS[label], public.public_numbers()


def _from_der(der: bytes, label: str) -> object:
    if label == "CERTIFICATE":
        return x509.load_der_x509_certificate(der).public_key()
    return serialization.load_der_public_key(der)


def _from_xml(text: str, name: str) -> tuple[RSAPublicNumbers, tuple[str, ...]]:
    """Return the public numbers, and a warning if the file holds the private ones too."""
    if "<html" in text[:2000].lower():
        raise refusal(name, "is HTML, a saved web page")
    try:
        root = ElementTree.fromstring(text, forbid_dtd=True)
    except DefusedXmlException:
        raise refusal(name, "is XML with a DTD") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise refusal(name, f"is damaged XML ({error})") from None
    if _local(root.tag) != "RSAKeyValue":
        raise refusal(name, f"is XML of another kind (<{_local(root.tag)}>)")
    parts = {_local(part.tag): part.text or "" for part in root}
    numbers = RSAPublicNumbers(n=_number(parts, "Modulus", name), e=_number(parts, "Exponent", name))
    # TRUST: private numbers are noticed by their names; nothing decodes their values.
    if _XML_PRIVATE_PARTS.isdisjoint(parts):
        return numbers, ()
    return numbers, (
        "holds a private key too, which doesn't belong on this machine: keep only the public part",
    )


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]  # XML signatures put RSAKeyValue into a namespace


def _number(parts: dict[str, str], part: str, name: str) -> int:
    try:
        return int.from_bytes(base64.b64decode("".join(parts[part].split()), validate=True), "big")
    except KeyError:
        raise refusal(name, f"is an <RSAKeyValue> without <{part}>") from None
    except ValueError:
        raise refusal(name, f"is XML with broken base64 in <{part}>") from None


def _check(numbers: RSAPublicNumbers, name: str) -> RSAPublicKey:
    """The library takes 15-valued, even and 20,000-bit moduli without a word."""
    bits = numbers.n.bit_length()
    if not MIN_BITS <= bits <= MAX_BITS:
        raise refusal(name, f"is a key of {bits} bits", f"{MIN_BITS} to {MAX_BITS} are accepted")
    if numbers.n % 2 == 0:
        raise refusal(name, "is no RSA key, its modulus is even (damaged?)")
    if numbers.e < 3 or numbers.e % 2 == 0:
        raise refusal(name, "is no RSA key, its exponent is even or below 3 (damaged?)")
    try:
        return numbers.public_key()
    except ValueError as error:
        raise refusal(name, f"is no RSA key ({error})") from None


def _weakness(numbers: RSAPublicNumbers) -> tuple[str, ...]:
    bits = numbers.n.bit_length()
    return (f"has only {bits} bits, {SOUND_BITS} are advisable",) if bits < SOUND_BITS else ()
