"""Signatures: reading one from a header, checking it, making it, and finding out how one was made.

Owns: what the names of hashes and paddings in `spooler.algorithm` stand for, and what counts as one
well-formed signature.
Promises: pure functions. A signature is accepted only if one of the keys made it over exactly these
bytes with exactly this algorithm; everything else raises a SignatureRefusedError with words for the log.
Does not promise: freshness. A captured request that is sent again has a good signature.
"""

import base64
import binascii
import codecs
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from spooler.algorithm import Algorithm, HashName, PaddingName
from spooler.errors import SignatureRefusedError, SpoolerError
from spooler.keys import Key

HEADER = "X-DI-Signature"
MAX_HEADER_CHARACTERS = 4096  # a 16384-bit key's signature takes 2,732

HASHES: dict[HashName, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - older .NET senders sign with it; the configuration must ask for it
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}

# From a hash and whether a signature is being made: signers use a salt of the digest's length,
# and a verifier takes any length, because .NET, PHP and OpenSSL differ in their defaults.
PADDINGS: dict[PaddingName, Callable[[hashes.HashAlgorithm, bool], AsymmetricPadding]] = {
    "pkcs1v15": lambda _hash, _signing: PKCS1v15(),
    "pss": lambda hash_, signing: PSS(MGF1(hash_), PSS.DIGEST_LENGTH if signing else PSS.AUTO),
}

# What happens to a captured body on its way through editors, shells and log files, undone.
# One of each group at most, the groups in this order.
_CHANGES: tuple[dict[str, Callable[[bytes], bytes]], ...] = (
    {
        "with its CRLF line ends made LF": lambda body: body.replace(b"\r\n", b"\n"),
        "with its LF line ends made CRLF": lambda body: re.sub(rb"\r?\n", b"\r\n", body),
    },
    {
        "without the line break at its end": lambda body: body.removesuffix(b"\n").removesuffix(b"\r"),
        "with a line break (LF) added at its end": lambda body: body + b"\n",
        "with a line break (CRLF) added at its end": lambda body: body + b"\r\n",
    },
    {
        "without the byte order mark (BOM) in front": lambda body: body.removeprefix(codecs.BOM_UTF8),
        "with a byte order mark (BOM) added in front": lambda body: codecs.BOM_UTF8 + body,
    },
)

_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")


class SignatureMissingError(SignatureRefusedError):
    """The request carries no signature at all."""


class SignatureMalformedError(SignatureRefusedError):
    """The header isn't one signature in strict base64."""


class SignatureMismatchError(SignatureRefusedError):
    """None of the keys made the signature over this body; `length_fits`: one of them could have."""

    def __init__(self, reason: str, *, length_fits: bool) -> None:
        super().__init__(reason)
        self.length_fits = length_fits


@dataclass(frozen=True, slots=True)
class Match:
    """How a signature was made; `body_change` says what had to be done to the body first ("": nothing)."""

    key: Key
    algorithm: Algorithm
    body_change: str = ""


def decode(header: str | None) -> bytes:
    """Return the one signature that a header's value holds.

    Raises: SignatureMissingError, SignatureMalformedError.
    """
    # TRUST: this is the first look at a value from the network. Cheap refusals come first.
    if header is None:
        raise SignatureMissingError(f"no {HEADER} header")
    if len(header) > MAX_HEADER_CHARACTERS:
        raise SignatureMalformedError(f"signature of {len(header)} characters, over {MAX_HEADER_CHARACTERS}")
    text = header.strip(" ")
    if not text:
        raise SignatureMissingError(f"empty {HEADER} header")
    if "," in text:  # servers join a repeated header with a comma
        raise SignatureMalformedError("more than one signature (a comma in the header)")
    if found := _NOT_BASE64.search(text):
        position, character = found.start() + 1, found[0]
        raise SignatureMalformedError(f"signature isn't base64: character {position} is {character!a}")
    return _decode_strictly(text)


def _decode_strictly(text: str) -> bytes:
    try:
        signature = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise SignatureMalformedError(f"signature isn't base64: {error} ({len(text)} characters)") from None
    # Python takes surplus padding and loose bits at the end: two texts would be one signature.
    if base64.b64encode(signature).decode("ascii") != text:
        raise SignatureMalformedError("signature isn't base64: its end is not as an encoder writes it")
    return signature


def verify(body: bytes, signature: bytes, keys: Sequence[Key], algorithm: Algorithm) -> Key:
    """Return the first of `keys` that made `signature` over `body`. Raises: SignatureMismatchError."""
    fitting = [key for key in keys if key.signature_bytes == len(signature)]
    for key in fitting:
        if _matches(body, signature, key, algorithm):
            return key
    raise SignatureMismatchError(_mismatch(signature, keys, fitting, algorithm), length_fits=bool(fitting))


def _matches(body: bytes, signature: bytes, key: Key, algorithm: Algorithm) -> bool:
    hash_ = HASHES[algorithm.hash]
    try:
        key.public.verify(signature, body, PADDINGS[algorithm.padding](hash_, False), hash_)
    except InvalidSignature:
        return False
    return True


def _mismatch(signature: bytes, keys: Sequence[Key], fitting: Sequence[Key], algorithm: Algorithm) -> str:
    if not keys:
        return "there is no key to check the signature with"
    if fitting:
        return f"signature matches none of {', '.join(key.name for key in fitting)} ({algorithm})"
    lengths = ", ".join(f"{key.signature_bytes} ({key.name})" for key in keys)
    return f"signature is {len(signature)} bytes long, and those of the keys are {lengths}"


def sign(body: bytes, private_key: RSAPrivateKey, algorithm: Algorithm) -> str:
    """Return the signature of `body` as a header carries it (base64).

    Raises: SpoolerError if the key is too small for the algorithm (1024 bits for sha512 with pss).
    """
    hash_ = HASHES[algorithm.hash]
    try:
        signature = private_key.sign(body, PADDINGS[algorithm.padding](hash_, True), hash_)
    except ValueError:
        raise SpoolerError(f"a {private_key.key_size}-bit key is too small for {algorithm}") from None
    return base64.b64encode(signature).decode("ascii")


def identify(body: bytes, signature: bytes, keys: Sequence[Key]) -> list[Match]:
    """Return every way in which one of `keys` made `signature`: over `body` as it is or, only if there
    is none, over the body with the fewest changes that captures commonly suffer. Empty: no way is found.

    Tries hundreds of combinations: for a person with one captured request, never for serving.
    """
    fitting = [key for key in keys if key.signature_bytes == len(signature)]
    for change, variant in _variants(body):
        found = [
            Match(key, algorithm, change)
            for key in fitting
            for algorithm in _algorithms()
            if _matches(variant, signature, key, algorithm)
        ]
        if found:
            return found
    return []


def made_over_another_body(signature: bytes, keys: Sequence[Key]) -> Match | None:
    """Return which of `keys` made `signature`, whatever the body was, or None if that can't be told.

    PKCS #1 v1.5 only: there the public key brings the signed digest to light; PSS hides it in a salt.
    """
    for key in (key for key in keys if key.signature_bytes == len(signature)):
        for name, hash_ in HASHES.items():
            try:
                key.public.recover_data_from_signature(signature, PKCS1v15(), hash_)
            except InvalidSignature:
                continue
            return Match(key, Algorithm(name, "pkcs1v15"))
    return None


def _algorithms() -> list[Algorithm]:
    return [Algorithm(hash_, padding) for padding in PADDINGS for hash_ in HASHES]


def _variants(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the body as it is, then with one change, then with more, each said in words."""
    choices = itertools.product(*([None, *changes.items()] for changes in _CHANGES))
    seen = set()
    for combination in sorted(choices, key=lambda chosen: len(chosen) - chosen.count(None)):
        changes = [change for change in combination if change]
        variant = body
        for _, change in changes:
            variant = change(variant)
        if variant not in seen:
            seen.add(variant)
            yield " and ".join(words for words, _ in changes), variant
