"""Plain requests: read in one pass to the very environment that waitress makes of them, or not at all."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running_service import head, make_body
from waitress.server import create_server

from spooler.accepted import Accepted
from spooler.http_requests import Parser, Task
from spooler.plain_request import PlainRequests

ADDRESS = ("192.0.2.1", 40000)
MAX_BODY = 1000
BODY = make_body()
LENGTH = f"Content-Length: {len(BODY)}"
_OBJECTS = {"wsgi.input", "wsgi.file_wrapper", "wsgi.errors", "waitress.client_disconnected"}


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = create_server(
            lambda _environ, _start: [],
            sockets=[listening],
            max_request_body_size=MAX_BODY + 1,
            ident=None,
            clear_untrusted_proxy_headers=False,
        )
        yield server
        server.close()


def read_plainly(server: Any, sent: bytes) -> dict[str, Any] | None:
    return PlainRequests(server).read(sent, ADDRESS, 1.5)


def read_by_waitress(server: Any, sent: bytes) -> dict[str, Any] | None:
    """Return what comes of the long way; None if it is refused, isn't whole, or more follows."""
    request, rest = Parser(server.adj, 1.5), sent
    while rest and not request.completed:
        rest = rest[request.received(rest) :]
    if not request.completed or request.error or request.empty or rest:
        return None
    with socket.socket() as unused:
        environ: dict[str, Any] = Task(Accepted(server, unused, ADDRESS, 1.5), request).get_environment()
    return environ


def assert_same(plain: dict[str, Any], by_waitress: dict[str, Any]) -> None:
    assert plain["wsgi.input"].read() == by_waitress["wsgi.input"].read()
    assert {name: value for name, value in plain.items() if name not in _OBJECTS} == {
        name: value for name, value in by_waitress.items() if name not in _OBJECTS
    }


PLAIN = {
    "as the sender writes it": head(BODY, LENGTH, "Content-Type: application/json; charset=utf-8") + BODY,
    "as nginx hands it on": head(
        BODY, LENGTH, "X-Forwarded-For: 192.0.2.7", "X-SSL-Client-Cert: -----BEGIN%20CERTIFICATE-----%0AMII"
    ).replace(b"HTTP/1.1", b"HTTP/1.0")
    + BODY,
    "with many words in a value": head(BODY, LENGTH, "User-Agent: a (b; c)  d/1.0 e") + BODY,
    "to a webhook that isn't there": head(BODY, LENGTH, path="/webhook/a-b_c/d") + BODY,
    "with a length that begins with 0": head(BODY, f"Content-Length: 00{len(BODY)}") + BODY,
}


@pytest.mark.parametrize("sent", PLAIN.values(), ids=PLAIN)
def test_what_senders_and_proxies_write_is_plain(server: Any, sent: bytes) -> None:
    plain, by_waitress = read_plainly(server, sent), read_by_waitress(server, sent)
    assert plain is not None
    assert by_waitress is not None
    assert_same(plain, by_waitress)


NOT_PLAIN = {
    "nothing": b"",
    "not all of the head": head(BODY, LENGTH)[:-1],
    "not all of the body": head(BODY, LENGTH) + BODY[:-1],
    "more than the body": head(BODY, LENGTH) + BODY + b"P",
    "a body that is too large": head(BODY, f"Content-Length: {MAX_BODY + 1}") + b"a" * (MAX_BODY + 1),
    "no body": head(b"", "Content-Length: 0"),
    "no length": head(b""),
    "two lengths": head(BODY, LENGTH, LENGTH) + BODY,
    "a length that is no number": head(BODY, "Content-Length: 0x10") + BODY,
    "a length of many digits": head(BODY, f"Content-Length: {len(BODY):020}") + BODY,
    "two signatures": head(BODY, LENGTH, "X-DI-Signature: a") + BODY,
    "chunks": head(BODY, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunks and a length": head(BODY, LENGTH, "Transfer-Encoding: chunked") + BODY,
    "a question before the body": head(BODY, LENGTH, "Expect: 100-continue") + BODY,
    "another method": head(BODY, LENGTH).replace(b"POST", b"PUT") + BODY,
    "another version": head(BODY, LENGTH).replace(b"HTTP/1.1", b"HTTP/1.2") + BODY,
    "a path with an escape": head(BODY, LENGTH, path="/webhook/%63rm") + BODY,
    "a path with two slashes": head(BODY, LENGTH, path="//webhook/crm") + BODY,
    "a path with dots": head(BODY, LENGTH, path="/webhook/../crm") + BODY,
    "a question in the path": head(BODY, LENGTH, path="/webhook/crm?a=b") + BODY,
    "a whole address": head(BODY, LENGTH, path="http://localhost/webhook/crm") + BODY,
    "a name with an underscore": head(BODY, LENGTH, "X_DI: a") + BODY,
    "a space before the colon": head(BODY, LENGTH, "X-A : a") + BODY,
    "no space behind the colon": head(BODY, LENGTH, "X-A:a") + BODY,
    "a value that ends with a space": head(BODY, LENGTH, "X-A: a ") + BODY,
    "a value with a tab": head(BODY, LENGTH, "X-A: a\tb") + BODY,
    "a value with a NUL": head(BODY, LENGTH, "X-A: a\0b") + BODY,
    "a value of no ASCII": head(BODY, LENGTH, "X-A: ä") + BODY,
    "a folded header": head(BODY, LENGTH, "X-A: a\r\n b") + BODY,
    "a bare line feed": head(BODY, LENGTH, "X-A: a\nX-B: b") + BODY,
    "a bare carriage return": head(BODY, LENGTH, "X-A: a\rX-B: b") + BODY,
    "an empty line in front": b"\r\n" + head(BODY, LENGTH) + BODY,
}


@pytest.mark.parametrize("sent", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_is_unusual_in_the_least_is_not_plain(server: Any, sent: bytes) -> None:
    assert read_plainly(server, sent) is None


_LINES = st.sampled_from(
    [
        *(
            "POST /webhook/crm HTTP/1.1",
            "POST /a HTTP/1.0",
            "POST / HTTP/1.1",
            "Host: a",
            "host: b",
            "Host:c",
        ),
        *("Content-Length: 3", "content-length: 03", "Content-Length: 3 ", "Content-Length: 3,3", "A-: -"),
        *("Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Expect: 100-continue", "X-A: a b"),
        *(
            "Content-Type: text/plain",
            "Connection: keep-alive",
            "X_A: b",
            "X-A :b",
            " X-A: b",
            "",
            "\t",
            ":",
            "a",
        ),
    ]
)
_ENDS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n\r\n", "\0"])


@given(
    st.lists(st.tuples(_LINES, _ENDS), max_size=6),
    st.sampled_from(["abc", "ab", "abcd", "", "\r\nabc"]),
    st.booleans(),
)
def test_whatever_is_plain_is_the_same_to_waitress(
    server: Any, lines: list[tuple[str, str]], body: str, is_begun: bool
) -> None:
    begin = "POST /webhook/crm HTTP/1.1\r\nContent-Length: 3\r\n" if is_begun else ""
    sent = (begin + "".join(line + end for line, end in lines) + "\r\n" + body).encode("latin-1")
    if (plain := read_plainly(server, sent)) is not None:
        by_waitress = read_by_waitress(server, sent)
        assert by_waitress is not None
        assert_same(plain, by_waitress)


@given(at=st.integers(0, 1000), what=st.binary(max_size=2), most=st.integers(0, 2))
def test_a_plain_request_with_any_bytes_changed_is_still_the_same_to_waitress(
    server: Any, at: int, what: bytes, most: int
) -> None:
    sent = PLAIN["as the sender writes it"]
    place = at % len(sent)
    changed = sent[:place] + what + sent[place + most :]
    if (plain := read_plainly(server, changed)) is not None:
        by_waitress = read_by_waitress(server, changed)
        assert by_waitress is not None
        assert_same(plain, by_waitress)
