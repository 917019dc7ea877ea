"""Client certificates: from a file to the fingerprint by which the receiver knows one.

Owns: the fingerprint, and which kinds of certificate file are understood.
Promises: the kind is told from the content, never from the file's name; one line says what is wrong with a
file; of several certificates the one that the sender shows is taken, or none. Private keys are not kept.
Does not promise: that a certificate is the sender's, or that anybody trusts who issued it.
"""

import hashlib
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7, pkcs12

from spooler.errors import CertificateFileError
from spooler.keys import text_of

_MAX_FILE_BYTES = 1024 * 1024
_EXPECTED = "spooler needs the sender's certificate: a .pfx, or a .pem, .crt or .cer, PEM or DER"
_BLOCK = re.compile(r"-----BEGIN ([^-\r\n]{1,64})-----(.*?)-----END \1-----", re.DOTALL)
_BEGIN = re.compile(r"-----BEGIN ([^-\r\n]{1,64})-----")
_PFX = bytes.fromhex("020103")  # what follows the header of its outermost SEQUENCE: version 3
_DAMAGED = (ValueError, x509.InvalidVersion, UnsupportedAlgorithm)
_STRANGERS: dict[str, Callable[[bytes], object]] = {
    "a public key": serialization.load_der_public_key,
    "a certificate request": x509.load_der_x509_csr,
    "a PKCS#7 bundle of certificates": pkcs7.load_der_pkcs7_certificates,
}
_PEM_STRANGERS = {
    "PUBLIC KEY": "a public key",
    "RSA PUBLIC KEY": "a public key",
    "PKCS7": "a PKCS#7 bundle of certificates",
    "CERTIFICATE REQUEST": "a certificate request",
    "NEW CERTIFICATE REQUEST": "a certificate request",
}

AskPassword = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A client's certificate, and what people should know about the file it came from."""

    x509: x509.Certificate
    notices: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the DER, in lower-case hex."""
        return fingerprint(self.x509.public_bytes(Encoding.DER))

    @property
    def subject(self) -> str:
        """The subject, on one line and printable."""
        return _printable(self.x509.subject)

    @property
    def issuer(self) -> str:
        """The issuer, on one line and printable."""
        return _printable(self.x509.issuer)

    @property
    def valid_from(self) -> datetime:
        """The first instant of its validity (UTC)."""
        return self.x509.not_valid_before_utc

    @property
    def valid_until(self) -> datetime:
        """The last instant of its validity (UTC)."""
        return self.x509.not_valid_after_utc

    def warning(self, now: datetime) -> str:
        """Say why no proxy lets it in at `now` (aware); empty if its time is right."""
        if now > self.valid_until:
            return f"it has expired, on {self.valid_until:%Y-%m-%d}: the proxy refuses it"
        if now < self.valid_from:
            return f"it isn't valid before {self.valid_from:%Y-%m-%d}: until then the proxy refuses it"
        return ""


def fingerprint(der: bytes) -> str:
    """Return the fingerprint of a certificate in DER: its SHA-256, in lower-case hex."""
    return hashlib.sha256(der).hexdigest()


def load_certificate(path: Path, ask_password: AskPassword) -> Certificate:
    """Return the client's certificate in a file. Raises: CertificateFileError.

    ask_password: called once, and only if a .pfx can't be opened without a password; None: there is none.
    """
    content = _read(path)
    text = text_of(content)
    with warnings.catch_warnings():
        # An old one, with a serial number that is allowed no more, has a fingerprint all the same; so has one
        # in a .pfx that isn't strictly DER.
        warnings.simplefilter("ignore")
        if _BEGIN.search(text):
            return _from_pem(text, path)
        if _is_pfx(content):
            return _from_pfx(content, path, ask_password)
        return _from_der(content, text, path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # no such file, a folder, no permission; a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise CertificateFileError(f"{path}: can't be read: {reason}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise _refusal(path, "is larger than 1 MiB")
    return content


def _refusal(path: Path, what: str, wanted: str = _EXPECTED) -> CertificateFileError:
    return CertificateFileError(f"{path}: {what}; {wanted}")


def _from_pem(text: str, path: Path) -> Certificate:
    labels = [found[1] for found in _BLOCK.finditer(text)]
    if len(labels) < len(_BEGIN.findall(text)):
        raise _refusal(path, "is PEM damaged at its end", "copy it again, as a whole")
    private = any("PRIVATE KEY" in label for label in labels)
    blocks = [found[0] for found in _BLOCK.finditer(text) if found[1] in {"CERTIFICATE", "X509 CERTIFICATE"}]
    if not blocks:
        what = _PEM_STRANGERS.get(labels[0], f"PEM of another kind, {labels[0]!a}")
        raise _refusal(path, "is a private key" if private else f"is {what}")
    try:
        # Indented lines are common where PEM was pasted from a page.
        found = [
            x509.load_pem_x509_certificate("\n".join(map(str.strip, block.splitlines())).encode())
            for block in blocks
        ]
    except _DAMAGED:
        raise _refusal(path, "is PEM damaged on the way", "copy it again, as a whole") from None
    certificate = _leaf(found, path)
    notice = "the file holds a private key too, which doesn't belong on this machine"
    return Certificate(certificate.x509, (*certificate.notices, notice)) if private else certificate


def _is_pfx(content: bytes) -> bool:
    return content[:1] == b"\x30" and content[2 + (_long_form(content)) :].startswith(_PFX)


def _long_form(content: bytes) -> int:
    """Return how many bytes more than one the length of a DER file's outermost value takes."""
    return content[1] & 0x7F if content[1:2] >= b"\x80" else 0


def _from_pfx(content: bytes, path: Path, ask_password: AskPassword) -> Certificate:
    opened = _open_pfx(content, None) or _open_pfx(content, b"")
    if opened is None:
        password = ask_password()
        if password is None:
            raise _refusal(
                path, "is protected by a password", "name a file that holds it with --password-file"
            )
        opened = _open_pfx(content, password.encode())
    if opened is None:
        raise _refusal(path, "can't be opened: the password is wrong, or the file is damaged", "try again")
    if opened.cert is not None:
        return Certificate(opened.cert.certificate)
    if not opened.additional_certs:
        raise _refusal(path, "is a .pfx without a certificate")
    return _leaf([one.certificate for one in opened.additional_certs], path)


def _open_pfx(content: bytes, password: bytes | None) -> pkcs12.PKCS12KeyAndCertificates | None:
    try:
        return pkcs12.load_pkcs12(content, password)
    except _DAMAGED:
        return None


def _from_der(content: bytes, text: str, path: Path) -> Certificate:
    try:
        return Certificate(x509.load_der_x509_certificate(content))
    except _DAMAGED:
        raise _refusal(path, f"is {_stranger(content, text)}") from None


def _stranger(content: bytes, text: str) -> str:
    """Say what a file is that is neither PEM, PFX nor a certificate in DER."""
    if not text:
        return "empty"
    if _is_private(content):
        return "a private key"
    for what, load in _STRANGERS.items():
        try:
            load(content)
        except _DAMAGED:
            continue
        return what
    if text.startswith("MI"):
        return "base64 without the lines -----BEGIN CERTIFICATE----- and -----END CERTIFICATE----- around it"
    return "no certificate, or a damaged one"


def _is_private(content: bytes) -> bool:
    try:
        serialization.load_der_private_key(content, None)
    except TypeError:  # it is encrypted
        return True
    except _DAMAGED:
        return False
    return True


def _leaf(found: Sequence[x509.Certificate], path: Path) -> Certificate:
    """Return the one that issued none of the others."""
    several = list(dict.fromkeys(found))
    leaves = [
        one for one in several if not any(_issued(other, by=one) for other in several if other is not one)
    ]
    if len(leaves) != 1:
        wanted = "make a file of its own for each and ask for each"
        raise _refusal(path, f"holds {len(several)} certificates that are no chain", wanted)
    if len(several) == 1:
        return Certificate(leaves[0])
    return Certificate(
        leaves[0], (f"the file holds {len(several)} certificates; this is the one that issued none of them",)
    )


def _issued(certificate: x509.Certificate, *, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _printable(name: x509.Name) -> str:
    """TRUST: whoever made the certificate chose its names."""
    text = name.rfc4514_string()
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
