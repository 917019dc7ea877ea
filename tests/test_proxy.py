"""What the trusted proxy says about a client, and what everybody else says to no avail."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from running_service import make_certificate, nginx, rfc_9440

from spooler.errors import CertificateRefusedError
from spooler.proxy import UNIX, certificate_fingerprint, peer

LOOPBACK = "127.0.0.1"
STRANGER = "192.0.2.66"


RIGHT = make_certificate("sender.example")
OTHER = make_certificate("sender.example")
FINGERPRINT = hashlib.sha256(RIGHT.public_bytes(Encoding.DER)).hexdigest()
EVERYBODY = {"HTTP_CLIENT_CERT": rfc_9440(RIGHT), "HTTP_X_SSL_CLIENT_CERT": nginx(RIGHT)}


def of(trusted: str, address: str, **headers: str) -> str:
    return certificate_fingerprint({"REMOTE_ADDR": address, **headers}, trusted)


def test_the_fingerprint_is_the_one_that_openssl_prints() -> None:
    assert RIGHT.fingerprint(hashes.SHA256()).hex() == FINGERPRINT


def test_both_forms_of_the_header_give_the_same_fingerprint() -> None:
    assert of(LOOPBACK, LOOPBACK, HTTP_CLIENT_CERT=rfc_9440(RIGHT)) == FINGERPRINT
    assert of(LOOPBACK, LOOPBACK, HTTP_X_SSL_CLIENT_CERT=nginx(RIGHT)) == FINGERPRINT
    assert of(LOOPBACK, LOOPBACK, **EVERYBODY) == FINGERPRINT


def test_a_proxy_on_a_unix_socket_is_believed_where_it_is_the_trusted_one() -> None:
    assert of(UNIX, "localhost", **EVERYBODY) == FINGERPRINT
    assert of(UNIX, "", **EVERYBODY) == FINGERPRINT


@pytest.mark.parametrize(
    ("trusted", "address"),
    [
        (LOOPBACK, "::ffff:127.0.0.1"),
        ("::ffff:127.0.0.1", LOOPBACK),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_the_proxy_is_known_however_its_address_is_written(trusted: str, address: str) -> None:
    assert of(trusted, address, **EVERYBODY) == FINGERPRINT
    assert peer({"REMOTE_ADDR": address, "HTTP_X_FORWARDED_FOR": STRANGER}, trusted) == STRANGER


@pytest.mark.parametrize(
    ("trusted", "address"),
    [
        (LOOPBACK, STRANGER),
        (LOOPBACK, "127.0.0.11"),
        (LOOPBACK, "::1"),
        (LOOPBACK, "localhost"),
        (LOOPBACK, ""),
        (UNIX, LOOPBACK),
        (UNIX, STRANGER),
        (UNIX, UNIX + "."),
    ],
)
def test_nobody_but_the_trusted_proxy_is_believed(trusted: str, address: str) -> None:
    with pytest.raises(CertificateRefusedError) as refused:
        of(trusted, address, **EVERYBODY)
    told = (
        f"presented by {peer({'REMOTE_ADDR': address}, '')}, which isn't receiver.trusted_proxy ({trusted})"
    )
    assert str(refused.value) == f"a client certificate was {told}"


@pytest.mark.parametrize(
    "headers", [{}, {"HTTP_CLIENT_CERT": ""}, {"HTTP_CLIENT_CERT": "", "HTTP_X_SSL_CLIENT_CERT": ""}]
)
@pytest.mark.parametrize("address", [LOOPBACK, STRANGER])
def test_where_no_certificate_is_presented_it_is_said(headers: dict[str, str], address: str) -> None:
    with pytest.raises(CertificateRefusedError, match=r"^no client certificate was presented$"):
        of(LOOPBACK, address, **headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_CLIENT_CERT": ":"},
        {"HTTP_CLIENT_CERT": "::"},
        {"HTTP_CLIENT_CERT": rfc_9440(RIGHT)[1:-1]},
        {"HTTP_CLIENT_CERT": rfc_9440(RIGHT)[:-1]},
        {"HTTP_CLIENT_CERT": f"{rfc_9440(RIGHT)}, {rfc_9440(RIGHT)}"},
        {"HTTP_CLIENT_CERT": ":not base64:"},
        {"HTTP_CLIENT_CERT": nginx(RIGHT)},
        {"HTTP_X_SSL_CLIENT_CERT": rfc_9440(RIGHT)},
        # One header sent twice arrives as one, with a comma between.
        {"HTTP_X_SSL_CLIENT_CERT": f"{nginx(RIGHT)}, {nginx(OTHER)}"},
        {"HTTP_X_SSL_CLIENT_CERT": f"{nginx(RIGHT)}, {nginx(RIGHT)}"},
        {"HTTP_X_SSL_CLIENT_CERT": nginx(RIGHT).replace("%0A", "%0A*", 3)},
        {"HTTP_X_SSL_CLIENT_CERT": nginx(RIGHT)[20:]},
        {"HTTP_X_SSL_CLIENT_CERT": "-----BEGIN CERTIFICATE-----\u00e9-----END CERTIFICATE-----"},
        {"HTTP_CLIENT_CERT": "damaged", "HTTP_X_SSL_CLIENT_CERT": "damaged"},
    ],
)
def test_a_damaged_certificate_counts_for_none(headers: dict[str, str]) -> None:
    with pytest.raises(CertificateRefusedError, match=r"that was presented can't be read$"):
        of(LOOPBACK, LOOPBACK, **headers)


@pytest.mark.parametrize("other", [nginx(OTHER), "damaged"])
def test_headers_that_contradict_each_other_count_for_none(other: str) -> None:
    with pytest.raises(CertificateRefusedError, match=r"tell of different certificates$"):
        of(LOOPBACK, LOOPBACK, HTTP_CLIENT_CERT=rfc_9440(RIGHT), HTTP_X_SSL_CLIENT_CERT=other)


def test_the_peer_is_who_connected() -> None:
    assert peer({"REMOTE_ADDR": STRANGER}, LOOPBACK) == STRANGER
    assert peer({"REMOTE_ADDR": "localhost"}, LOOPBACK) == UNIX
    assert peer({}, LOOPBACK) == UNIX


@pytest.mark.parametrize(
    ("claimed", "believed"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("6.6.6.6, 198.51.100.7", "198.51.100.7"),  # a proxy appends; what is in front came from outside
        ("2001:DB8::1", "2001:db8::1"),
        ("nobody", LOOPBACK),
        ("198.51.100.7:80", LOOPBACK),
        ("198.51.100.7\nforged=line", LOOPBACK),
        ("", LOOPBACK),
    ],
)
def test_the_trusted_proxy_says_who_is_behind_it(claimed: str, believed: str) -> None:
    assert peer({"REMOTE_ADDR": LOOPBACK, "HTTP_X_FORWARDED_FOR": claimed}, LOOPBACK) == believed


def test_anybody_else_who_says_so_is_taken_for_who_he_is() -> None:
    said = {"REMOTE_ADDR": STRANGER, "HTTP_X_FORWARDED_FOR": "198.51.100.7"}
    assert peer(said, LOOPBACK) == STRANGER
    assert peer(said, UNIX) == STRANGER
