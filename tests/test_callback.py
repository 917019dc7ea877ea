"""One request, over real sockets, with receivers that behave in every way they shouldn't."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from scripted_receiver import ScriptedReceiver

from spooler.callback import check_url, post

SIGNATURE = "c2lnbmVk"


@contextmanager
def serving(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Accept connections and let `behave` have each; the URL is yielded."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        behave(connection)

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            server.shutdown(socket.SHUT_RDWR)  # wakes the thread, which close alone does not


def replying(*pieces: bytes, pause_seconds: float = 0.0) -> Callable[[socket.socket], None]:
    """Read a request whose body is `{}` and send the pieces, with a pause before each."""

    def behave(connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b"{}"):  # closing with something unread would reset the connection
            request += connection.recv(65536)
        for piece in pieces:
            time.sleep(pause_seconds)
            connection.sendall(piece)

    return behave


def test_the_request_is_a_post_of_these_bytes_with_the_signature_in_its_header() -> None:
    with ScriptedReceiver() as receiver:
        reply = post(receiver.url + "?a=b%20c", b'{"\xff', SIGNATURE)
    (request,) = receiver.received
    assert (reply.status, reply.error) == (200, "")
    assert 0 < reply.seconds < 5
    assert request.path == "/webhook/crm?a=b%20c"
    assert request.body == b'{"\xff'
    assert request.headers.get_all("X-DI-Signature") == [SIGNATURE]
    assert request.headers.get_all("Content-Type") == ["application/json"]
    assert request.headers.get_all("Host") == [receiver.url.split("/")[2]]


@pytest.mark.parametrize("status", [200, 201, 204, 302, 401, 503])
def test_any_status_is_handed_back_as_it_is(status: int) -> None:
    with ScriptedReceiver([status]) as receiver:
        assert post(receiver.url, b"{}", SIGNATURE).status == status
    assert len(receiver.received) == 1


def test_a_closed_port_is_an_error_with_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    reply = post(f"http://127.0.0.1:{port}/", b"{}", SIGNATURE)
    assert (reply.status, reply.error) == (None, "Connection refused")


def test_an_unknown_host_is_an_error_with_words() -> None:
    reply = post("http://no..such.host.invalid/", b"{}", SIGNATURE)
    assert reply.status is None
    assert reply.error


def test_a_receiver_that_hangs_costs_no_more_than_the_time_out() -> None:
    with serving(lambda connection: time.sleep(5)) as url:
        reply = post(url, b"{}", SIGNATURE, 0.1)
    assert (reply.status, reply.error) == (None, "no whole reply within 0.1 s")
    assert 0.1 <= reply.seconds < 2


def test_a_receiver_that_accepts_no_connection_costs_no_more_than_the_time_out() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        with socket.create_connection(address):  # fills the queue: the kernel leaves the next one waiting
            reply = post(f"http://127.0.0.1:{address[1]}/", b"{}", SIGNATURE, 0.1)
    assert (reply.status, reply.error) == (None, "no whole reply within 0.1 s")
    assert reply.seconds < 2


@pytest.mark.parametrize(
    "beginning",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"],
    ids=["status line", "headers", "body"],
)
def test_a_receiver_that_drips_cannot_stretch_the_time_out(beginning: bytes) -> None:
    with serving(replying(beginning, *[b"H"] * 99, pause_seconds=0.04)) as url:
        reply = post(url, b"{}", SIGNATURE, 0.15)
    assert (reply.status, reply.error) == (None, "no whole reply within 0.15 s")
    assert 0.15 <= reply.seconds < 2


def test_a_receiver_that_reads_nothing_cannot_stretch_the_time_out() -> None:
    with serving(lambda connection: time.sleep(5)) as url:
        reply = post(url, bytes(32 << 20), SIGNATURE, 0.15)
    assert (reply.status, reply.error) == (None, "no whole reply within 0.15 s")
    assert reply.seconds < 2


def test_a_slow_reply_within_the_time_out_counts() -> None:
    with serving(replying(b"HTTP/1.1 200 OK\r\n", b"Content-Length: 2\r\n\r\nok", pause_seconds=0.1)) as url:
        assert post(url, b"{}", SIGNATURE, 5.0).status == 200


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "without response"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "ended early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsh", "IncompleteRead"),
        (b"HTTP/1.1 OK 200\r\n\r\n", "HTTP/1.1 OK 200"),
        (b"\x1b[31mred\x07\r\n", "red"),
    ],
    ids=["nothing", "half a body", "half a chunk", "no status", "no HTTP"],
)
def test_a_broken_reply_is_an_error_in_printable_words(answer: bytes, words: str) -> None:
    with serving(replying(answer)) as url:
        reply = post(url, b"{}", SIGNATURE)
    assert reply.status is None
    assert words in reply.error
    assert reply.error.isprintable()


def test_a_refusal_that_comes_before_the_whole_body_was_read_is_still_a_status() -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")

    with serving(refuse) as url:
        assert post(url, bytes(8 << 20), SIGNATURE).status == 413


@pytest.mark.parametrize("url", ["http://h", "https://h:8443/webhook/crm?x=y", "http://[::1]:8080/"])
def test_what_can_be_posted_to_is_a_url(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:8080", "ftp://host/", "http://", "http:///path", "http://:80/", "http://h:0/"),
        *("http://h:x/", "http://h:99999/", "http://[::1/", "http://h/a b", "http://h/\n", "http://hé/"),
        "http://user:secret@h/",
    ],
)
def test_what_cannot_be_posted_to_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        post(url, b"{}", SIGNATURE)
