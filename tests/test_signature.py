"""Which signatures are accepted, which are refused, and what is found out about one."""

import base64
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from conftest import examples
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicNumbers
from hypothesis import given, settings
from hypothesis import strategies as st

from spooler.algorithm import Algorithm, HashName, PaddingName
from spooler.errors import SignatureRefusedError, SpoolerError
from spooler.keypair import generate
from spooler.keys import Key, load_key
from spooler.signature import (
    HASHES,
    PADDINGS,
    SignatureMalformedError,
    SignatureMismatchError,
    SignatureMissingError,
    decode,
    identify,
    made_over_another_body,
    sign,
    verify,
)

VECTORS = sorted((Path(__file__).parent / "vectors").iterdir())
ALGORITHMS = [Algorithm(hash_, padding) for hash_ in HASHES for padding in PADDINGS]
PLAIN = Algorithm("sha256", "pkcs1v15")


class Vector:
    """A body that .NET or PHP signed, with everything that belongs to it."""

    def __init__(self, folder: Path) -> None:
        self.body = (folder / "body.json").read_bytes()
        self.signature = decode((folder / "signature.txt").read_text())
        self.key = load_key(next(folder.glob("public.*")))
        hashes: dict[str, HashName] = {name: name for name in HASHES}
        self.algorithm = Algorithm(hashes[(folder / "hash.txt").read_text().strip()], "pkcs1v15")


@pytest.fixture(params=VECTORS, ids=lambda folder: folder.name)
def vector(request: pytest.FixtureRequest) -> Vector:
    return Vector(request.param)


@pytest.fixture(scope="module")
def pair() -> tuple[RSAPrivateKey, Key]:
    return _pair("ours.pem")


@pytest.fixture(scope="module")
def stranger() -> tuple[RSAPrivateKey, Key]:
    return _pair("stranger.pem")


def _pair(name: str) -> tuple[RSAPrivateKey, Key]:
    private = generate(2048)
    return private, Key(private.public_key(), name, "PEM public key")


def _accepted(body: bytes, signature: bytes, key: Key, algorithm: Algorithm) -> bool:
    try:
        return verify(body, signature, [key], algorithm) is key
    except SignatureMismatchError:
        return False


def _flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_the_names_of_hashes_and_paddings_are_those_of_the_tables() -> None:
    assert get_args(HashName) == tuple(HASHES)
    assert get_args(PaddingName) == tuple(PADDINGS)


def test_the_vectors_are_there() -> None:
    assert len(VECTORS) >= 4


def test_what_dotnet_and_php_signed_is_accepted_under_its_own_algorithm_only(vector: Vector) -> None:
    accepted = [a for a in ALGORITHMS if _accepted(vector.body, vector.signature, vector.key, a)]
    assert accepted == [vector.algorithm]


def test_one_flipped_bit_anywhere_in_the_body_is_refused(vector: Vector) -> None:
    for bit in range(len(vector.body) * 8):
        assert not _accepted(_flipped(vector.body, bit), vector.signature, vector.key, vector.algorithm), bit


def test_one_flipped_bit_anywhere_in_the_signature_is_refused(vector: Vector) -> None:
    for bit in range(len(vector.signature) * 8):
        assert not _accepted(vector.body, _flipped(vector.signature, bit), vector.key, vector.algorithm), bit


def test_one_flipped_bit_in_the_modulus_of_the_key_is_refused(vector: Vector) -> None:
    numbers = vector.key.public.public_numbers()
    for bit in range(1, vector.key.bits - 1):  # the lowest makes it even, the highest shorter: no such keys
        wrong = Key(RSAPublicNumbers(numbers.e, numbers.n ^ (1 << bit)).public_key(), "wrong", "test")
        assert not _accepted(vector.body, vector.signature, wrong, vector.algorithm), bit


def test_a_body_cut_short_or_made_longer_is_refused(vector: Vector) -> None:
    for body in (b"", vector.body[:-1], vector.body[1:], vector.body + b"\n", vector.body + b"\0"):
        assert not _accepted(body, vector.signature, vector.key, vector.algorithm)


def test_a_signature_cut_short_or_made_longer_is_refused(vector: Vector) -> None:
    for signature in (b"", vector.signature[1:], b"\0" + vector.signature, vector.signature * 2):
        assert not _accepted(vector.body, signature, vector.key, vector.algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=str)
def test_what_is_signed_is_accepted_and_identified(
    algorithm: Algorithm, pair: tuple[RSAPrivateKey, Key], stranger: tuple[RSAPrivateKey, Key]
) -> None:
    private, key = pair
    body = b'{"Type": "contact_optout"}'
    signature = decode(sign(body, private, algorithm))
    assert verify(body, signature, [stranger[1], key], algorithm) is key
    assert [a for a in ALGORITHMS if _accepted(body, signature, key, a)] == [algorithm]
    (match,) = identify(body, signature, [stranger[1], key])
    assert (match.key, match.algorithm, match.body_change) == (key, algorithm, "")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
@pytest.mark.parametrize("salt", ["digest", "max", "0", "20"])
def test_pss_signatures_of_openssl_are_accepted_whatever_their_salt(salt: str, tmp_path: Path) -> None:
    run = subprocess.check_call
    secret, public, body, signature = (tmp_path / name for name in ("private", "public", "body", "signature"))
    run(["openssl", "genrsa", "-out", secret, "2048"], stderr=subprocess.DEVNULL)
    run(["openssl", "rsa", "-in", secret, "-pubout", "-out", public], stderr=subprocess.DEVNULL)
    body.write_bytes(b"{}")
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", f"rsa_pss_saltlen:{salt}"]
    run(["openssl", "dgst", "-sha256", "-sign", secret, *pss, "-out", signature, body])
    key = load_key(public)
    assert verify(b"{}", signature.read_bytes(), [key], Algorithm("sha256", "pss")) is key


def test_a_mismatch_tells_whether_the_length_would_have_fitted(pair: tuple[RSAPrivateKey, Key]) -> None:
    for length, fits in ((256, True), (255, False), (0, False), (1 << 20, False)):
        with pytest.raises(SignatureMismatchError) as refused:
            verify(b"", bytes(length), [pair[1]], PLAIN)
        assert refused.value.length_fits is fits
        assert "ours.pem" in str(refused.value)


def test_without_keys_everything_is_refused() -> None:
    with pytest.raises(SignatureMismatchError, match="no key"):
        verify(b"", bytes(256), [], PLAIN)


def test_a_key_too_small_for_its_algorithm_is_said_in_one_line() -> None:
    with pytest.raises(SpoolerError, match="a 1024-bit key is too small for sha512 with pss"):
        sign(b"", generate(1024), Algorithm("sha512", "pss"))


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("QUJD,QUJD", "more than one"),
        ("QUJD, QUJD", "more than one"),
        ("QUI", "padding"),
        ("QQ=", "padding"),
        ("QUJD=", "base64"),
        ("QUJD====", "base64"),
        ("QQ==QUJD", "base64"),
        ("QR==", "its end"),  # the same byte as QQ==
        ("=", "base64"),
        ("QU JD", "character 3 is ' '"),
        ("QUJD\n", r"character 5 is '\n'"),
        ("\tQUJD", r"character 1 is '\t'"),
        ("QUJ-", "character 4 is '-'"),
        ("QUJ_", "character 4 is '_'"),
        ("QUJé", r"character 4 is '\xe9'"),
        ("QUJ\N{FULLWIDTH LATIN CAPITAL LETTER D}", "character 4"),
        ("\N{NO-BREAK SPACE}QUJD", "character 1"),
        ("A" * 4100, "over 4096"),
        (" " * 5000, "over 4096"),
    ],
)
def test_what_is_not_exactly_one_signature_in_base64_is_refused(header: str, words: str) -> None:
    with pytest.raises(SignatureMalformedError) as refused:
        decode(header)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("header", [None, "", "   "])
def test_no_signature_and_an_empty_one_are_missing(header: str | None) -> None:
    with pytest.raises(SignatureMissingError):
        decode(header)


def test_spaces_around_a_signature_do_no_harm() -> None:
    assert decode("  QUJD ") == b"ABC"


@given(st.binary(min_size=1, max_size=600))
def test_every_encoded_signature_is_read_back(signature: bytes) -> None:
    assert decode(base64.b64encode(signature).decode()) == signature


@settings(max_examples=examples(300))
@given(st.text() | st.text("QUJDab0+/= ,", max_size=12))
def test_any_text_is_either_refused_or_the_one_encoding_of_its_bytes(header: str) -> None:
    try:
        signature = decode(header)
    except SignatureRefusedError:
        return
    assert base64.b64encode(signature).decode() == header.strip(" ")


@pytest.mark.parametrize(
    ("captured", "change"),
    [
        (b'{\r\n"a": 1}\r\n\n', "without the line break at its end"),
        (b'{\r\n"a": 1}\r\n\r\n', "without the line break at its end"),
        (b'{\r\n"a": 1}', "with a line break (CRLF) added at its end"),
        (b'{\n"a": 1}\n', "with its LF line ends made CRLF"),
        (b'\xef\xbb\xbf{\r\n"a": 1}\r\n', "without the byte order mark (BOM) in front"),
        (b'{\n"a": 1}', "with its LF line ends made CRLF and with a line break (CRLF) added at its end"),
    ],
)
def test_a_capture_that_was_changed_on_its_way_is_recognised(
    captured: bytes, change: str, pair: tuple[RSAPrivateKey, Key]
) -> None:
    signature = decode(sign(b'{\r\n"a": 1}\r\n', pair[0], PLAIN))
    (match,) = identify(captured, signature, [pair[1]])
    assert (match.algorithm, match.body_change) == (PLAIN, change)


@pytest.mark.parametrize(
    ("sent", "captured", "change"),
    [
        (b"{\n}", b"{\r\n}", "with its CRLF line ends made LF"),
        (b"{}\n", b"{}", "with a line break (LF) added at its end"),
        (b"\xef\xbb\xbf{}", b"{}", "with a byte order mark (BOM) added in front"),
    ],
)
def test_a_capture_that_lost_something_is_recognised(
    sent: bytes, captured: bytes, change: str, pair: tuple[RSAPrivateKey, Key]
) -> None:
    signature = decode(sign(sent, pair[0], PLAIN))
    assert [match.body_change for match in identify(captured, signature, [pair[1]])] == [change]


def test_another_body_is_not_identified_but_its_signer_is(
    pair: tuple[RSAPrivateKey, Key], stranger: tuple[RSAPrivateKey, Key]
) -> None:
    algorithm = Algorithm("sha384", "pkcs1v15")
    signature = decode(sign(b'{"amount": 1}', pair[0], algorithm))
    assert identify(b'{"amount": 2}', signature, [stranger[1], pair[1]]) == []
    match = made_over_another_body(signature, [stranger[1], pair[1]])
    assert match is not None
    assert (match.key, match.algorithm) == (pair[1], algorithm)
    assert made_over_another_body(signature, [stranger[1]]) is None
