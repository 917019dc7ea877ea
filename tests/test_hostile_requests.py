"""Requests of any bytes against the parser, and headers of any text against what reads them."""

import contextlib
import email
import email.policy
from collections.abc import Sequence
from urllib.parse import quote

import pytest
from conftest import examples
from hostile import damaged, texts
from hypothesis import example, given, settings
from hypothesis import strategies as st
from running_service import head, make_body, make_certificate, nginx, rfc_9440
from waitress.adjustments import Adjustments

from spooler import mail, proxy
from spooler.alert_texts import Failure, failed
from spooler.config import Alerts
from spooler.errors import CertificateRefusedError
from spooler.http_requests import Parser

BODY = make_body()
MAX_BODY = 2000
CHUNKED = "Transfer-Encoding: chunked"
PIECES = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
RIGHT = [
    head(BODY) + BODY,
    head(BODY, CHUNKED) + PIECES,
    head(b"") + b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET http://a/healthz?x=1 HTTP/1.0\r\n\r\n",
]
INSERTS = [
    b"\r\n",
    b"\n",
    b"\r",
    b":",
    b" ",
    b"\0",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
]
INSERTS += [b"%00", b"%ff", b"//", b"http://[", b"\xff", b"ffffffffffffffff\r\n", b"-1", b";a=b"]
GUIDANCE = st.sampled_from(RIGHT)
inserted = GUIDANCE.flatmap(
    lambda request: st.lists(
        st.tuples(st.integers(0, len(request)), st.sampled_from(INSERTS)), max_size=3
    ).map(lambda changes: _insert(request, changes))
)
requests = GUIDANCE.flatmap(damaged) | inserted | st.binary(max_size=200)


def _insert(request: bytes, changes: Sequence[tuple[int, bytes]]) -> bytes:
    for at, piece in changes:
        request = request[:at] + piece + request[at:]
    return request


def parse(pieces: Sequence[bytes]) -> tuple[object, ...]:
    """Feed a request in pieces as the channel does; return what came of it."""
    parser = Parser(Adjustments(max_request_body_size=MAX_BODY, max_request_header_size=16384))
    taken = 0
    for piece in pieces:
        rest = piece
        while rest and not parser.completed:
            consumed = parser.received(rest)
            assert 0 < consumed <= len(rest)
            taken += consumed
            rest = rest[consumed:]
        if parser.completed:
            break
    if parser.error:
        assert parser.error.code in {400, 413, 431}
        return parser.completed, parser.error.code
    if not parser.completed:
        return (False,)
    if parser.empty:
        return True, "empty"
    body = parser.get_body_stream().read()
    assert len(body) <= MAX_BODY
    assert parser.version in {"1.0", "1.1"}
    length = parser.headers.get("CONTENT_LENGTH", "0")
    assert len(body) == int(length)
    return True, taken, parser.command, parser.path, parser.query, sorted(parser.headers.items()), body


@settings(max_examples=examples(200))
@given(requests, st.lists(st.integers(1, 60), max_size=30))
def test_a_request_means_the_same_however_the_network_cuts_it_up(request: bytes, sizes: list[int]) -> None:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(request[at : at + size])
        at += size
    pieces.append(request[at:])
    whole, cut = parse([request]), parse([piece for piece in pieces if piece])
    # Where two things are wrong with it, what comes first decides.
    assert whole == cut or (len(whole) == len(cut) == 2 and "empty" not in {*whole, *cut})


def _quoted(text: str) -> str:
    return quote(text, errors="replace")


RIGHT_CERTIFICATE = make_certificate("sender.example")
headers = texts | st.sampled_from([rfc_9440(RIGHT_CERTIFICATE), nginx(RIGHT_CERTIFICATE)]).flatmap(
    lambda value: damaged(value.encode()).map(lambda raw: raw.decode("latin-1"))
)


@settings(max_examples=examples(150))
@given(headers, headers, texts.map(_quoted) | texts)
@example("::", "", "fe80::1%\x1b[31m\nforged=1")
def test_headers_of_a_proxy_give_a_fingerprint_or_none(
    client_cert: str, escaped: str, forwarded: str
) -> None:
    environ = {
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_CLIENT_CERT": client_cert,
        "HTTP_X_SSL_CLIENT_CERT": escaped,
        "HTTP_X_FORWARDED_FOR": forwarded,
    }
    with contextlib.suppress(CertificateRefusedError):
        found = proxy.certificate_fingerprint(environ, "127.0.0.1")
        assert len(found) == 64
        assert found.isalnum()
    with pytest.raises(CertificateRefusedError):
        proxy.certificate_fingerprint(environ, "192.0.2.1")
    peer = proxy.peer(environ, "127.0.0.1")
    assert len(peer) < 100
    assert peer.isprintable()
    assert " " not in peer


SETTINGS = Alerts(sender="spooler@example.com", to=("admin@example.com",))


@settings(max_examples=examples(60))
@given(texts, texts, texts)
def test_a_mail_is_one_mail_with_its_own_headers_whatever_it_tells(file: str, id_: str, reason: str) -> None:
    text = failed("crm", 1, [Failure(file, id_, reason)])
    raw = mail._message(SETTINGS, text.subject, text.body, "id").as_bytes(policy=email.policy.SMTP)
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    read = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(read, email.message.EmailMessage)
    assert not read.is_multipart()
    assert [read.get_all(name) for name in ("Subject", "To", "Bcc")] == [
        ["1 failed today"],
        ["admin@example.com"],
        None,
    ]
    assert read.get_content().replace("\r\n", "\n") == text.body
