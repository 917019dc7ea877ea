"""Key pairs: made for trying things out, written in the forms that are met, and read by the sender.

Owns: private keys. The receiver never has one.
Promises: a private key is written for its owner's eyes only, and nothing is ever overwritten.
Does not promise: protection by a passphrase; such keys are for tests.
"""

import base64
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from spooler.errors import KeyFileError, SpoolerError
from spooler.keys import parse_key, read_file, refusal, text_of


def load_private_key(path: Path) -> RSAPrivateKey:
    """Return the private key in a PEM file, for the sender. Raises: KeyFileError."""
    content = read_file(path, pipes=True)
    wanted = "signing needs a private RSA key in PEM, without a passphrase"
    try:
        key = serialization.load_pem_private_key(text_of(content).encode(), password=None)
    except TypeError:
        raise refusal(str(path), "is encrypted", wanted) from None
    except UnsupportedAlgorithm:
        raise refusal(str(path), "is a private key of another algorithm than RSA", wanted) from None
    except ValueError:
        raise refusal(str(path), f"is {_not_private(content)}", wanted) from None
    if not isinstance(key, RSAPrivateKey):
        raise refusal(str(path), "is a private key of another algorithm than RSA", wanted)
    return key


def _not_private(content: bytes) -> str:
    try:
        return f"a public key ({parse_key(content, '').kind})"
    except KeyFileError:
        return "no private key, or a damaged one"


def generate(bits: int = 2048) -> RSAPrivateKey:
    """Return a fresh private key with a modulus of `bits` bits (1024 or more, else ValueError)."""
    return generate_private_key(public_exponent=65537, key_size=bits)


def to_xml(public: RSAPublicKey) -> str:
    """Return the key as .NET's `RSA.ToXmlString(false)` writes it: one line, big-endian base64."""
    numbers = public.public_numbers()
    return (
        f"<RSAKeyValue><Modulus>{_base64(numbers.n)}</Modulus>"
        f"<Exponent>{_base64(numbers.e)}</Exponent></RSAKeyValue>"
    )


def _base64(number: int) -> str:
    return base64.b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode("ascii")


def write_pair(directory: Path, key: RSAPrivateKey) -> list[Path]:
    """Write `private.pem` (mode 0600), `public.pem` and `public.xml`; return their paths.

    Raises: SpoolerError if one of them exists (then nothing is written), or can't be written.
    """
    public = key.public_key()
    files = {
        directory / "private.pem": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        directory / "public.pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        directory / "public.xml": to_xml(public).encode("ascii"),
    }
    for path in files:
        if os.path.lexists(path):
            raise SpoolerError(f"{path}: exists already, and keys are never overwritten; name another folder")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            _write_new(path, content, mode=0o600 if path.name == "private.pem" else 0o644)
    except OSError as error:
        raise SpoolerError(f"{error.filename or directory}: can't be written: {error.strerror}") from None
    return list(files)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    # RACE: O_EXCL, so that a file made since the look above isn't overwritten, and no link followed.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
