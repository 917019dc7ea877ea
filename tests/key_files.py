"""Key files of every kind, made on the spot: those that are understood, and those that are refused."""

import base64
import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat, pkcs7, pkcs12

from spooler.keypair import generate, to_xml

PRIVATE = generate(2048)
PUBLIC = PRIVATE.public_key()
NUMBERS = PUBLIC.public_numbers()
OTHERS = [generate(1024) for _ in range(3)]
SPKI = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PKCS1 = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
XML = to_xml(PUBLIC).encode()
VECTORS = Path(__file__).parent / "vectors"


def pem_file(public: PublicKeyTypes) -> bytes:
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def certificate(signer: CertificateIssuerPrivateKeyTypes = PRIVATE) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sender.example")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(
        name, name, signer.public_key(), 7, start, start + datetime.timedelta(1)
    )
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256())


def private_file(form: PrivateFormat, encoding: Encoding = Encoding.PEM, passphrase: bytes = b"") -> bytes:
    closed = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return PRIVATE.private_bytes(encoding, form, closed)


def xml_file(modulus: int = NUMBERS.n, exponent: int = NUMBERS.e, more: str = "") -> bytes:
    texts = [
        base64.b64encode(n.to_bytes(n.bit_length() // 8 + 1, "big")).decode() for n in (modulus, exponent)
    ]
    inside = f"<Modulus>{texts[0]}</Modulus><Exponent>{texts[1]}</Exponent>{more}"
    return f"<RSAKeyValue>{inside}</RSAKeyValue>".encode()


CERTIFICATE = certificate().public_bytes(Encoding.PEM)
MODULUS = XML.partition(b"<Modulus>")[2].partition(b"<")[0]
LINES = [b"", *(MODULUS[at : at + 64] for at in range(0, len(MODULUS), 64)), b""]
PRIVATE_XML = xml_file(
    more="<P>!</P><Q>!</Q><DP>!</DP><DQ>!</DQ><InverseQ>!</InverseQ><D>not base64 at all</D>"
)

UNDERSTOOD = {
    "SubjectPublicKeyInfo": (SPKI, "PEM public key"),
    "PKCS#1": (PKCS1, "PEM public key (PKCS#1)"),
    "certificate": (CERTIFICATE, "PEM certificate"),
    "certificate after openssl's text": (
        b"Certificate:\n    Data: caf\xe9\n" + CERTIFICATE,
        "PEM certificate",
    ),
    "PEM with CRLF": (SPKI.replace(b"\n", b"\r\n"), "PEM public key"),
    "PEM with BOM": (b"\xef\xbb\xbf" + SPKI, "PEM public key"),
    "PEM in UTF-16": (SPKI.decode().encode("utf-16"), "PEM public key"),
    "PEM indented": (SPKI.replace(b"\n", b"\n    "), "PEM public key"),
    "PEM on one line": (SPKI.replace(b"\n", b" "), "PEM public key"),
    "PEM without the last line break": (SPKI.rstrip(), "PEM public key"),
    "XML": (XML, ".NET XML key"),
    "XML with leading zero": (xml_file(), ".NET XML key"),
    "XML with BOM": (b"\xef\xbb\xbf" + XML, ".NET XML key"),
    "XML in UTF-16": (XML.decode().encode("utf-16"), ".NET XML key"),
    "XML declared": (b'<?xml version="1.0" encoding="utf-8"?>\r\n' + XML, ".NET XML key"),
    "XML declared UTF-16": (
        ('<?xml version="1.0" encoding="utf-16"?>' + XML.decode()).encode("utf-16"),
        ".NET XML key",
    ),
    "XML spread out": (
        XML.replace(b"<Mod", b"\n  <Mod")
        .replace(b"<Exp", b"\r\n\t<Exp")
        .replace(MODULUS, b"\r\n  ".join(LINES)),
        ".NET XML key",
    ),
    "XML with namespace": (
        XML.replace(b"<RSAKeyValue>", b'<RSAKeyValue xmlns="http://www.w3.org/2000/09/xmldsig#">'),
        ".NET XML key",
    ),
    "XML with private parts": (PRIVATE_XML, ".NET XML key"),
}

REFUSED = {
    "empty": (b"", "is empty"),
    "only a BOM": (b"\xef\xbb\xbf\r\n", "is empty"),
    "PKCS#8 private": (private_file(PrivateFormat.PKCS8), "is a private key; spooler needs the public one"),
    "PKCS#1 private": (private_file(PrivateFormat.TraditionalOpenSSL), "is a private key"),
    "OpenSSH private": (private_file(PrivateFormat.OpenSSH), "is a private key"),
    "encrypted private": (private_file(PrivateFormat.PKCS8, passphrase=b"x"), "is a private key"),
    "private in DER": (private_file(PrivateFormat.PKCS8, Encoding.DER), "is a private key, in binary"),
    "private and public": (SPKI + private_file(PrivateFormat.PKCS8), "is a private key"),
    "elliptic": (
        pem_file(ec.generate_private_key(ec.SECP256R1()).public_key()),
        "is an elliptic-curve key, not RSA",
    ),
    "Ed25519": (pem_file(ed25519.Ed25519PrivateKey.generate().public_key()), "is a key of Ed25519, not RSA"),
    "elliptic certificate": (
        certificate(ec.generate_private_key(ec.SECP256R1())).public_bytes(Encoding.PEM),
        "is an elliptic-curve key, not RSA",
    ),
    "PFX": (
        pkcs12.serialize_key_and_certificates(
            b"x", PRIVATE, certificate(), None, serialization.NoEncryption()
        ),
        "is a PFX (PKCS#12) file",
    ),
    "PKCS#7": (pkcs7.serialize_certificates([certificate()], Encoding.PEM), "is a PKCS#7 bundle"),
    "PKCS#7 in DER": (pkcs7.serialize_certificates([certificate()], Encoding.DER), "is a PKCS#7 bundle"),
    "certificate in DER": (certificate().public_bytes(Encoding.DER), "is a binary (DER) file"),
    "OpenSSH public": (
        PUBLIC.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "is an OpenSSH public key",
    ),
    "base64 without its frame": (b"".join(SPKI.splitlines()[1:-1]), "is base64 without the lines -----BEGIN"),
    "two keys": (SPKI + PKCS1, "holds 2 PEM blocks; there is one key to a file"),
    "PEM of another kind": (
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
        "is PEM of another kind, 'PGP PUBLIC KEY BLOCK'",
    ),
    "certificate request": (SPKI.replace(b"PUBLIC KEY", b"CERTIFICATE REQUEST"), "is a certificate request"),
    "PEM without end": (SPKI[:200], "is PEM damaged at its end (no -----END PUBLIC KEY-----)"),
    "PEM missing a line": (
        b"".join(SPKI.splitlines(True)[:2] + SPKI.splitlines(True)[3:]),
        "is PEM damaged on the way",
    ),
    "PEM with a stray character": (SPKI.replace(b"A", b"*", 1), "is PEM damaged on the way"),
    "PEM with nothing inside": (
        b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----",
        "is PEM damaged on the way",
    ),
    "HTML": (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "is HTML, a saved web page"),
    "other XML": (b"<configuration/>", "is XML of another kind (<configuration>)"),
    "XML cut short": (XML[:100], "is damaged XML"),
    "XML with DTD": (b"<!DOCTYPE RSAKeyValue>" + XML, "is XML with a DTD"),
    "XML with entities": (b"<!DOCTYPE a [<!ENTITY x 'y'>]>" + XML, "is XML with a DTD"),
    "XML without modulus": (b"<RSAKeyValue><Exponent>AQAB</Exponent></RSAKeyValue>", "without <Modulus>"),
    "XML without exponent": (b"<RSAKeyValue><Modulus>AQAB</Modulus></RSAKeyValue>", "without <Exponent>"),
    "XML with broken base64": (XML.replace(b"AQAB", b"AQA"), "is XML with broken base64 in <Exponent>"),
    "XML with stray character": (XML.replace(b"AQAB", b"AQ-B"), "is XML with broken base64 in <Exponent>"),
    "a small modulus": (
        xml_file(modulus=(1 << 1022) + 1),
        "is a key of 1023 bits; 1024 to 16384 are",
    ),
    "no modulus at all": (xml_file(modulus=0), "is a key of 0 bits"),
    "a huge modulus": (xml_file(modulus=(1 << 16384) + 1), "is a key of 16385 bits"),
    "a small modulus in PEM": (
        pem_file(RSAPublicNumbers(3, (1 << 511) + 1).public_key()),
        "is a key of 512 bits",
    ),
    "an even modulus": (xml_file(modulus=NUMBERS.n - 1), "its modulus is even"),
    "exponent 1": (xml_file(exponent=1), "its exponent is even or below 3"),
    "an even exponent": (xml_file(exponent=65536), "its exponent is even or below 3"),
    "a huge exponent": (xml_file(exponent=NUMBERS.n + 2), "is no RSA key"),
    "an immense even exponent": (xml_file(exponent=1 << 200_000), "its exponent is even"),
    "too large": (SPKI + b" " * 65536, "is larger than 64 KiB"),
    "anything": (b"hello, world, this is no key", "is no key file: it starts with 'hello, world, this i'"),
}
