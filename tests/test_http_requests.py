"""Requests as bytes on a real socket: what is no valid HTTP, what is too large, and what is just right."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from running_service import (
    Address,
    Site,
    call,
    connect,
    exchange,
    head,
    make_body,
    make_site,
    read_all,
    request,
    serving,
    signed,
    status_of,
)
from structlog.testing import capture_logs
from waitress.adjustments import Adjustments

from spooler.answers import Answer
from spooler.http_requests import Parser
from spooler.receiver import Receiver
from spooler.signature import HEADER

MAX_BODY = 32 * 1024
BODY = make_body()
CHUNKED = "Transfer-Encoding: chunked"


@dataclass(frozen=True)
class Wire:
    site: Site
    address: Address

    def stored(self) -> list[bytes]:
        """Return what every file outside of `rejected/` holds."""
        return [path.read_bytes() for path in self.site.all_files() if path.parent.name != "rejected"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    site = make_site(tmp_path_factory.mktemp("wire") / "site")
    with serving(Receiver(site.configuration()), max_body=MAX_BODY) as address:
        yield Wire(site, address)


@pytest.fixture
def wire(served: Wire) -> Iterator[Wire]:
    yield served
    for path in served.site.all_files():
        path.unlink()


def length(text: object) -> str:
    return f"Content-Length: {text}"


def chunks(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def lines(*text: str) -> bytes:
    return "\r\n".join([*text, "", ""]).encode("latin-1")


NO_HTTP = {
    "the body is told by Content-Length and by chunks": head(BODY, length(len(BODY)), CHUNKED) + BODY,
    "the same the other way round": head(BODY, CHUNKED, length(len(BODY))) + chunks(BODY, 10),
    "two lengths that differ": head(BODY, length(len(BODY)), length(1)) + BODY,
    "two lengths that agree": head(BODY, length(len(BODY)), length(len(BODY))) + BODY,
    "a list of lengths": head(BODY, length(f"{len(BODY)}, {len(BODY)}")) + BODY,
    "a length of 5,000 digits": head(BODY, length("1" * 5000)) + BODY,
    "a length with a sign": head(BODY, length(f"+{len(BODY)}")) + BODY,
    "a length below nothing": head(BODY, length(-1)) + BODY,
    "a length with an underscore": head(BODY, length("1_0")) + BODY,
    "a length in hexadecimal": head(BODY, length("0x10")) + BODY,
    "a length of nothing": head(BODY, length("")) + BODY,
    "a length that Expect comes with": head(BODY, length("ten"), "Expect: 100-continue") + BODY,
    "chunks told twice": head(BODY, CHUNKED, CHUNKED) + chunks(BODY, 10),
    "chunks told twice in a line": head(BODY, CHUNKED + ", chunked") + chunks(BODY, 10),
    "chunks told with a comma": head(BODY, CHUNKED + ",") + chunks(BODY, 10),
    "a compressed body": head(BODY, "Transfer-Encoding: gzip, chunked") + chunks(BODY, 10),
    "an encoding of identity": head(BODY, "Transfer-Encoding: identity") + BODY,
    "an encoding of nothing": head(BODY, "Transfer-Encoding:") + BODY,
    "an encoding with a vertical tab": head(BODY, "Transfer-Encoding: \x0bchunked") + chunks(BODY, 10),
    "an encoding folded onto the next line": head(BODY, "Transfer-Encoding:\r\n chunked") + chunks(BODY, 10),
    "an encoding doubled on the next line": head(BODY, CHUNKED, " , chunked") + chunks(BODY, 10),
    "a length folded onto the next line": head(BODY, f"Content-Length:\r\n\t{len(BODY)}") + BODY,
    "a signature folded onto the next line": head(BODY).replace(b"Signature: ", b"Signature:\r\n ") + BODY,
    "an encoding with a space before the colon": head(BODY, "Transfer-Encoding : chunked") + BODY,
    "chunks before HTTP/1.1": (head(BODY, CHUNKED) + chunks(BODY, 10)).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a chunk's size that is no number": head(BODY, CHUNKED) + b"zz\r\n" + BODY,
    "a chunk's size with a sign": head(BODY, CHUNKED) + b"+5\r\nabcde\r\n0\r\n\r\n",
    "a chunk that is longer than it says": head(BODY, CHUNKED) + b"3\r\nabcdef\r\n0\r\n\r\n",
    "a chunk's extension with a line break": head(BODY, CHUNKED) + b"3;\n\r\nabc\r\n0\r\n\r\n",
    "a body in crumbs": head(BODY, CHUNKED) + chunks(b"a" * 20_000, 1),
    "chunks with long extensions": head(BODY, CHUNKED) + (b"1;" + b"a" * 8000 + b"\r\na\r\n") * 9,
    "a NUL in a value": head(BODY, "X-Note: a\0b") + BODY,
    "a NUL in a name": head(BODY, "X\0-Note: a") + BODY,
    "a bare line feed": head(BODY, "X-Note: a\nX-Other: b") + BODY,
    "a bare carriage return": head(BODY, "X-Note: a\rb") + BODY,
    "a space before the colon": head(BODY, "X-Note : a") + BODY,
    "a line without a colon": head(BODY, "X-Note") + BODY,
    "a first header that goes on from nothing": lines("POST /webhook/crm HTTP/1.1", " X-Note: a"),
    "garbage": bytes(range(256)) + b"\r\n\r\n",
    "a TLS greeting": bytes.fromhex("16030100050100000103030d0a0d0a"),
    "no method": lines("/webhook/crm HTTP/1.1"),
    "a method in small letters": head(BODY).replace(b"POST", b"post") + BODY,
    "no version": head(BODY).replace(b" HTTP/1.1", b"") + BODY,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": head(BODY).replace(b"HTTP/1.1", b"HTTP/1.2") + BODY,
    "another protocol": head(BODY).replace(b"HTTP/1.1", b"RTSP/1.0") + BODY,
    "an address that is none": head(BODY, path="http://[::1/webhook/crm") + BODY,
    "a space in the path": head(BODY, path="/webhook/ crm") + BODY,
}


@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_valid_http_is_400(wire: Wire, sent: bytes) -> None:
    answer = exchange(wire.address, sent)
    assert status_of(answer) == 400
    assert_is_of_the_table(answer, Answer.BAD_REQUEST)
    assert wire.site.all_files() == []


def assert_is_of_the_table(answer: bytes, expected: Answer) -> None:
    header, _, body = answer.partition(b"\r\n\r\n")
    names = sorted(line.partition(b":")[0].lower() for line in header.split(b"\r\n")[1:])
    assert names == [b"connection", b"content-length", b"content-type", b"date"]
    assert b"\r\nConnection: close\r\n" in header
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in header
    assert body.decode() == expected.text


CUT_SHORT = {
    "in the body": head(BODY) + BODY[:-1],
    "before the body": head(BODY),
    "in the headers": head(BODY)[:-2],
    "in the first line": b"POST /web",
    "in a chunk": head(BODY, CHUNKED) + chunks(BODY, 10)[:20],
    "before the last chunk": head(BODY, CHUNKED) + chunks(BODY, 10)[:-5],
    "before the last line break": head(BODY, CHUNKED) + chunks(BODY, 10)[:-2],
    "at another protocol's greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("sent", CUT_SHORT.values(), ids=CUT_SHORT)
def test_a_request_that_is_cut_short_is_400(wire: Wire, sent: bytes) -> None:
    assert status_of(exchange(wire.address, sent, finish=True)) == 400
    assert wire.site.all_files() == []


def test_who_comes_and_goes_without_a_word_is_nobodys_concern(wire: Wire) -> None:
    with capture_logs() as logged:
        assert exchange(wire.address, finish=True) == b""
        connect(wire.address).close()
        assert status_of(exchange(wire.address, head(BODY) + BODY)) == 200
    assert [line["event"] for line in logged] == ["stored"]


def test_who_leaves_in_the_middle_is_logged_and_nothing_is_stored(wire: Wire) -> None:
    with connect(wire.address) as connection:
        connection.sendall(head(BODY) + BODY[:-1])
    assert status_of(exchange(wire.address, head(BODY) + BODY)) == 200
    assert wire.stored() == [BODY]


# 413 and 431

LARGE = make_body(size=MAX_BODY + 1)
TOO_LARGE = {
    "by its length": head(LARGE) + LARGE,
    "by its length alone": head(LARGE),
    "by its length, and Expect": head(LARGE, length(len(LARGE)), "Expect: 100-continue"),
    "by a length of 4,000 digits": head(LARGE, length("1" * 4000)),
    "in one chunk": head(LARGE, CHUNKED) + chunks(LARGE, len(LARGE)),
    "in many chunks": head(LARGE, CHUNKED) + chunks(LARGE, 100),
    "in a chunk without end": head(LARGE, CHUNKED) + b"ffffffffff\r\n" + LARGE * 3,
    "by the size of a chunk's size": head(LARGE, CHUNKED) + b"0" * len(LARGE) * 2,
    "by a chunk's extension": head(LARGE, CHUNKED) + b"1;" + b"a" * len(LARGE) * 2,
    "by what follows the last chunk": head(LARGE, CHUNKED) + b"0\r\nX: " + b"a" * len(LARGE) * 2,
}


@pytest.mark.parametrize("sent", [TOO_LARGE["in one chunk"], head(LARGE) + LARGE], ids=["chunk", "length"])
def test_the_log_tells_max_body_as_the_configuration_has_it(wire: Wire, sent: bytes) -> None:
    with capture_logs() as logged:
        exchange(wire.address, sent)
    assert [line["reason"] for line in logged if line["event"] == "refused"] == [
        f"exceeds max_body of {MAX_BODY}"
    ]


@pytest.mark.parametrize("sent", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_body_over_max_body_is_413_and_never_asked_for(wire: Wire, sent: bytes) -> None:
    answer = exchange(wire.address, sent)
    assert status_of(answer) == 413
    assert_is_of_the_table(answer, Answer.TOO_LARGE)
    assert wire.site.all_files() == []


def test_who_goes_on_sending_still_reads_why_it_was_refused(wire: Wire) -> None:
    body = b"x" * (8 << 20)
    for headers in (signed(body), {"X-Large": "x" * 20_000}):
        for _ in range(3):
            expected = 413 if HEADER in headers else 431
            assert request(wire.address, body, headers).status == expected
    assert wire.site.all_files() == []


TOO_LONG = {
    "one header": head(BODY, "X-Note: " + "a" * 16384),
    "many headers": head(BODY, *(f"X-Note-{number}: {number}" for number in range(2000))),
    "headers without end": lines("POST /webhook/crm HTTP/1.1", "X-Note: " + "a" * 20000)[:-2],
    "a path": head(BODY, path="/webhook/" + "a" * 17000),
    "a line without end": b"P" * 20000,
}


@pytest.mark.parametrize("sent", TOO_LONG.values(), ids=TOO_LONG)
def test_headers_that_are_too_large_are_431(wire: Wire, sent: bytes) -> None:
    answer = exchange(wire.address, sent)
    assert status_of(answer) == 431
    assert_is_of_the_table(answer, Answer.HEADERS_TOO_LARGE)


# What is accepted

LARGEST = make_body(size=MAX_BODY)
ACCEPTED = {
    "plain": (head(BODY) + BODY, BODY),
    "of exactly max_body": (head(LARGEST) + LARGEST, LARGEST),
    "of max_body in one chunk": (head(LARGEST, CHUNKED) + chunks(LARGEST, MAX_BODY), LARGEST),
    "of max_body in small chunks": (head(LARGEST, CHUNKED) + chunks(LARGEST, 7), LARGEST),
    "with an extension": (head(b"abc", CHUNKED) + b"3;note=a\r\nabc\r\n0\r\nX-Note: a\r\n\r\n", b"abc"),
    "by HTTP/1.0": ((head(BODY) + BODY).replace(b"HTTP/1.1", b"HTTP/1.0"), BODY),
    "with a full URL": (head(BODY, path="http://hooks.example/webhook/crm?a=b") + BODY, BODY),
    "after an empty line": (b"\r\n" + head(BODY) + BODY, BODY),
    "names in small letters": (head(BODY).replace(HEADER.encode(), HEADER.lower().encode()) + BODY, BODY),
    "header near the limit": (head(BODY, "X-Note: " + "a" * 15000) + BODY, BODY),
    "empty": (head(b""), b""),
}


@pytest.mark.parametrize(("sent", "body"), ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_valid_is_stored(wire: Wire, sent: bytes, body: bytes) -> None:
    answer = exchange(wire.address, sent)
    assert status_of(answer) == 200
    assert_is_of_the_table(answer, Answer.STORED)
    assert wire.stored() == [body]


def test_a_request_may_come_in_any_pieces(wire: Wire) -> None:
    sent = head(BODY, CHUNKED) + chunks(BODY, 50)
    with connect(wire.address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(sent)):
            connection.sendall(sent[at : at + 1])
        assert status_of(read_all(connection)) == 200
    assert wire.stored() == [BODY]


def test_a_sender_that_says_it_is_done_still_reads_its_answer(wire: Wire) -> None:
    assert status_of(exchange(wire.address, head(BODY) + BODY, finish=True)) == 200


def test_a_sender_that_waits_for_100_is_told_to_go_on(wire: Wire) -> None:
    with connect(wire.address) as connection:
        connection.sendall(head(BODY, length(len(BODY)), "Expect: 100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert wire.site.all_files() == []
        connection.sendall(BODY)
        assert status_of(read_all(connection)) == 200


def test_a_sender_that_waits_for_100_with_nothing_to_send_is_answered_at_once(wire: Wire) -> None:
    for told in (length(0), "X-Note: no length at all"):
        with connect(wire.address) as connection:
            connection.sendall(lines("POST /webhook/crm HTTP/1.1", told, "Expect: 100-continue"))
            assert status_of(read_all(connection)) == 401


def test_a_connection_serves_one_request_and_says_so_once(wire: Wire) -> None:
    second = make_body()
    for spoken in (b"HTTP/1.1", b"HTTP/1.0"):
        kept = head(BODY, length(len(BODY)), "Connection: keep-alive").replace(b"HTTP/1.1", spoken)
        answer = exchange(wire.address, kept + BODY + head(second) + second)
        assert_is_of_the_table(answer, Answer.STORED)
    assert wire.stored() == [BODY, BODY]


def test_a_header_that_is_sent_twice_is_no_signature(wire: Wire) -> None:
    twice = f"{HEADER}: {signed(BODY)[HEADER]}"
    assert status_of(exchange(wire.address, head(BODY, length(len(BODY)), twice) + BODY)) == 401


def test_a_header_with_underscores_stands_for_no_other(wire: Wire) -> None:
    forged = head(BODY).replace(HEADER.encode(), HEADER.replace("-", "_").encode())
    assert status_of(exchange(wire.address, forged + BODY)) == 401


def test_the_trusted_proxy_may_say_who_is_behind_it(wire: Wire) -> None:
    with capture_logs() as logged:
        said = head(BODY, length(len(BODY)), "X-Forwarded-For: 6.6.6.6, 198.51.100.7")
        assert status_of(exchange(wire.address, said + BODY)) == 200
    assert [line["peer"] for line in logged] == ["198.51.100.7"]


def test_the_answers_are_those_of_the_application_called_without_a_server(wire: Wire, tmp_path: Path) -> None:
    receiver = Receiver(make_site(tmp_path / "site").configuration())
    for body, headers in ((BODY, signed(BODY)), (BODY, {}), (BODY + b" ", signed(BODY))):
        over_socket, called = request(wire.address, body, headers), call(receiver, body, headers)
        assert over_socket.body == called.body
        assert over_socket.status == called.status
        assert called.headers.items() <= over_socket.headers.items()


def test_waitress_is_of_the_version_whose_inner_parts_are_relied_on() -> None:
    assert version("waitress").startswith("3.0.")


def test_what_is_no_request_has_a_path_all_the_same_for_waitress_logs_it_when_its_sender_has_gone() -> None:
    parser = Parser(Adjustments())
    parser.received(b"garbage\r\n\r\n")
    assert parser.error
    assert parser.path == ""
