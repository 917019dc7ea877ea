"""One worker's server: slow and silent clients, and the orderly end."""

import contextlib
import fcntl
import gc
import select
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from running_service import (
    HOST,
    PATIENCE_SECONDS,
    Address,
    connect,
    exchange,
    head,
    is_listening,
    make_body,
    make_site,
    post,
    read_all,
    serving,
    status_of,
    wait_until,
)
from structlog.testing import capture_logs
from waitress.server import create_server

from spooler.accepted import Accepted
from spooler.acceptors import _MOST_HANDED_OVER, Acceptors
from spooler.acceptors import _THREADS as ACCEPTORS
from spooler.durable import opened_folder
from spooler.endpoint import BEGUN
from spooler.listening import Listener
from spooler.receiver import Receiver
from spooler.server import Server

BODY = make_body()
REQUEST = head(BODY) + BODY


class Gate:
    """An application that answers when it is told to, and says what it was given."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.may_answer = threading.Event()
        self.environs: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.environs.append(environ)
        self.begun.release()
        assert self.may_answer.wait(PATIENCE_SECONDS)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]


@contextlib.contextmanager
def server_on(
    bound: socket.socket, application: Callable[..., Any], *, handed_over: bool = False
) -> Iterator[tuple[Server, threading.Thread]]:
    """Run a server in a thread; it is stopped at the end if the test didn't do so."""
    server = Server(application, [Listener(bound, handed_over)], 1 << 20)
    thread = threading.Thread(target=server.run, args=(lambda: None,))
    thread.start()
    try:
        yield server, thread
    finally:
        server.stop()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def bind() -> tuple[socket.socket, Address]:
    bound = socket.create_server((HOST, 0))
    return bound, bound.getsockname()[:2]


# Slow clients


def drip(address: Address, at_once: bytes, slowly: bytes) -> tuple[float, bytes]:
    """Send a byte each fifth of a second; return after how many seconds it was cut, and what was answered."""
    begun = time.monotonic()
    with connect(address) as connection:
        connection.sendall(at_once)
        connection.settimeout(0.2)
        for at in range(len(slowly)):
            with contextlib.suppress(TimeoutError):
                with contextlib.suppress(ConnectionError):
                    connection.sendall(slowly[at : at + 1])
                    answer = connection.recv(1000)
                    return time.monotonic() - begun, answer
                return time.monotonic() - begun, b""
    raise AssertionError("it was never cut")


def test_a_request_that_drips_in_is_cut_and_honest_ones_are_answered_meanwhile(tmp_path: Path) -> None:
    receiver = Receiver(make_site(tmp_path / "site").configuration())
    slow = {"header": (b"POST", REQUEST[4:]), "body": (head(BODY), BODY), "silence": (b"", b"")}
    cut: dict[str, tuple[float, bytes]] = {}
    with capture_logs() as lines, serving(receiver, request_within_seconds=1.0) as address:
        dripping = [
            threading.Thread(target=lambda name=name: cut.update({name: drip(address, *slow[name])}))
            for name in ("header", "body")
        ]
        with connect(address) as silent, connect(address) as begun:
            begun.sendall(b"POST /webhook")
            for thread in dripping:
                thread.start()
            while any(thread.is_alive() for thread in dripping):
                assert post(address, make_body()).status == 200
                time.sleep(0.05)
            assert read_all(silent) == b""
            assert read_all(begun) == b""
    assert [answer for _seconds, answer in cut.values()] == [b"", b""]
    assert min(seconds for seconds, _answer in cut.values()) >= 1.0
    assert [line["event"] for line in lines].count("too slow") == 3


def test_each_request_that_stands_still_is_told_of_whenever_it_began(tmp_path: Path) -> None:
    receiver = Receiver(make_site(tmp_path / "site").configuration())
    with (
        capture_logs() as lines,
        serving(receiver, request_within_seconds=1.0) as address,
        contextlib.ExitStack() as connections,
    ):
        time.sleep(0.5)  # one regular look is due at other moments than another
        begun = []
        for _ in range(40):
            begun.append(connections.enter_context(connect(address)))
            begun[-1].sendall(head(BODY))
            time.sleep(0.03)
        while any(not select.select([connection], [], [], 0.03)[0] for connection in begun):
            connect(address).close()  # so that the loop turns at any moment
        assert {read_all(connection) for connection in begun} == {b""}
    assert [line["event"] for line in lines].count("too slow") == 40


def test_a_request_that_is_slow_but_not_too_slow_is_answered(tmp_path: Path) -> None:
    receiver = Receiver(make_site(tmp_path / "site").configuration())
    with serving(receiver) as address, connect(address) as connection:
        for piece in (REQUEST[:10], REQUEST[10:-10], REQUEST[-10:]):
            connection.sendall(piece)
            time.sleep(0.1)
        assert status_of(read_all(connection)) == 200


def test_idle_connections_keep_no_honest_request_from_being_answered(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with contextlib.ExitStack() as idle, serving(Receiver(site.configuration())) as address:
        for number in range(300):
            connection = idle.enter_context(connect(address))
            connection.sendall(REQUEST[: number % 3 * 20])
        for _ in range(20):
            assert post(address, make_body()).status == 200
        idle.close()
    assert len(site.files("incoming")) == 20


def test_the_receiver_learns_when_the_first_byte_of_a_request_came() -> None:
    gate = Gate()
    gate.may_answer.set()
    with serving(gate) as address, connect(address) as connection:
        before = time.monotonic()
        connection.sendall(REQUEST[:1])
        time.sleep(0.3)
        after = time.monotonic()
        connection.sendall(REQUEST[1:])
        assert status_of(read_all(connection)) == 200
    (environ,) = gate.environs
    assert before <= environ[BEGUN] < after - 0.1


# The orderly end


def test_what_has_begun_is_answered_and_then_nobody_listens() -> None:
    gate = Gate()
    bound, address = bind()
    with server_on(bound, gate) as (server, thread), contextlib.ExitStack() as connections:
        answered, halfway, silent = (connections.enter_context(connect(address)) for _ in range(3))
        answered.sendall(REQUEST)
        halfway.sendall(REQUEST[:-20])
        assert gate.begun.acquire(timeout=PATIENCE_SECONDS)
        server.stop()
        while is_listening(address):
            time.sleep(0.01)
        silent.sendall(REQUEST)
        halfway.sendall(REQUEST[-20:])
        gate.may_answer.set()
        for connection in (answered, halfway, silent):
            assert status_of(read_all(connection)) == 200
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def test_what_waits_for_a_thread_is_answered_too() -> None:
    gate = Gate()
    bound, address = bind()
    with server_on(bound, gate) as (server, _thread), contextlib.ExitStack() as connections:
        waiting = [connections.enter_context(connect(address)) for _ in range(40)]
        for connection in waiting:
            connection.sendall(REQUEST)
        for _ in range(8):  # as many as there are threads; the others wait in the queue, or to be accepted
            assert gate.begun.acquire(timeout=PATIENCE_SECONDS)
        server.stop()
        gate.may_answer.set()
        assert [status_of(read_all(connection)) for connection in waiting] == [200] * 40


def test_while_all_acceptors_wait_for_the_disk_others_accept_and_the_end_waits_too() -> None:
    gate = Gate()
    bound, address = bind()
    with server_on(bound, gate) as (server, thread), contextlib.ExitStack() as connections:
        waiting = []
        for _ in range(ACCEPTORS + 8):  # and threads behind the loop
            waiting.append(connections.enter_context(connect(address)))
            waiting[-1].sendall(REQUEST)
            # One after the other: an acceptor takes together what comes together.
            assert gate.begun.acquire(timeout=PATIENCE_SECONDS)
        server.stop()
        wait_until(lambda: not is_listening(address))
        time.sleep(1.0)  # many turns of the loop
        assert thread.is_alive()
        gate.may_answer.set()
        assert [status_of(read_all(connection)) for connection in waiting] == [200] * len(waiting)


def test_a_request_that_drips_in_doesnt_hold_up_the_end() -> None:
    gate = Gate()
    bound, address = bind()
    server = Server(gate, [Listener(bound, handed_over=False)], 1 << 20, request_within_seconds=0.5)
    thread = threading.Thread(target=server.run, args=(lambda: None,))
    thread.start()
    with connect(address) as connection:
        connection.sendall(REQUEST[:-1])
        server.stop()
        begun = time.monotonic()
        thread.join(PATIENCE_SECONDS)
        assert time.monotonic() - begun < 6
        assert read_all(connection) == b""
    assert not thread.is_alive()


def test_a_socket_that_was_handed_over_keeps_what_waits_for_the_next_server() -> None:
    gate = Gate()
    gate.may_answer.set()
    bound, address = bind()
    kept = bound.dup()  # as systemd does
    with server_on(bound, gate, handed_over=True) as (_server, _thread):
        assert status_of(exchange(address, REQUEST)) == 200
    with connect(address) as waiting:
        waiting.sendall(REQUEST)
        with server_on(kept, gate, handed_over=True):
            assert status_of(read_all(waiting)) == 200


def test_several_sockets_are_served_at_once(tmp_path: Path) -> None:
    gate = Gate()
    gate.may_answer.set()
    sockets = [bind() for _ in range(3)]
    listeners = [Listener(bound, handed_over=False) for bound, _address in sockets]
    server = Server(gate, listeners, 1 << 20)
    thread = threading.Thread(target=server.run, args=(lambda: None,))
    thread.start()
    for _bound, address in sockets:
        assert status_of(exchange(address, REQUEST)) == 200
    server.stop()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert not any(is_listening(address) for _bound, address in sockets)


def test_a_socket_that_many_come_in_by_leaves_another_its_turn() -> None:
    (busy, busy_address), (quiet, quiet_address) = bind(), bind()
    ports: list[str] = []  # by which requests came in, in the order in which they did
    ended = threading.Event()

    def slowly(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        ports.append(environ["SERVER_PORT"])
        time.sleep(0.02)
        start_response("200 OK", [])
        return [b"ok"]

    def send() -> None:
        while not ended.is_set():
            assert status_of(exchange(busy_address, REQUEST)) == 200

    server = Server(slowly, [Listener(one, handed_over=False) for one in (busy, quiet)], 1 << 20)
    running = threading.Thread(target=server.run, args=(lambda: None,))
    running.start()
    with ThreadPoolExecutor(32) as pool:  # so many that somebody always waits to be accepted
        sending = [pool.submit(send) for _ in range(32)]
        wait_until(lambda: len(ports) > 100)
        waited = []
        for _ in range(5):
            before = len(ports)
            assert status_of(exchange(quiet_address, REQUEST)) == 200
            waited.append(ports[before:].index(str(quiet.getsockname()[1])))
        ended.set()
        for one in sending:
            one.result(PATIENCE_SECONDS)
    server.stop()
    running.join(PATIENCE_SECONDS)
    assert max(waited) < 100


@pytest.mark.parametrize("size", [1 << 20, 3 << 20])
def test_a_body_in_memory_never_goes_to_a_temporary_file(tmp_path: Path, size: int) -> None:
    site = make_site(tmp_path / "site", receiver='max_body = "3MiB"')
    gate = Gate()
    gate.may_answer.set()
    body = make_body(size=size)
    with serving(gate, max_body=site.configuration().receiver.max_body) as address:
        assert status_of(exchange(address, head(body) + body)) == 200
    assert not hasattr(gate.environs[0]["wsgi.input"], "name")


def test_chunks_over_the_limit_are_413_where_no_temporary_file_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))  # as for a confined receiver
    body = make_body(size=(1 << 20) + 1000)
    sent = head(body, "Transfer-Encoding: chunked") + b"%x\r\n" % len(body) + body
    with serving(Receiver(make_site(tmp_path / "site").configuration())) as address:
        assert status_of(exchange(address, sent)) == 413


def test_of_those_that_are_accepted_together_each_is_answered_by_what_it_sent(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    bodies = [make_body(size=size) for size in (500, 900, 5000, 30_000, 70_000, 600)]
    length = "Content-Length: {}".format
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(bodies[1]), bodies[1])
    sent = [
        (head(bodies[0], length(500)) + bodies[0], 200),
        (head(bodies[1], "Transfer-Encoding: chunked") + chunks, 200),
        *((head(body, length(len(body))) + body, 200) for body in bodies[2:5]),
        (head(b"forged", length(len(bodies[0]))) + bodies[0], 401),
        (head(bodies[0], length(500), length(500)) + bodies[0], 400),
        (head(b"", path="/healthz").replace(b"POST", b"GET"), 200),
        (head(bodies[0], length(500), path="/webhook/nowhere") + bodies[0], 404),
        (head(bodies[5], length(600)) + bodies[5], 200),
    ]
    with (
        serving(Receiver(site.configuration())) as address,
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor(len(sent)) as pool,
    ):
        with opened_folder(site.folder("incoming")) as incoming:
            fcntl.flock(incoming, fcntl.LOCK_EX)  # acceptors wait, and the others gather
            first = [pool.submit(exchange, address, sent[0][0]) for _ in range(ACCEPTORS)]
            time.sleep(0.2)
            gone = stack.enter_context(connect(address))
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connections = [stack.enter_context(connect(address)) for _ in sent]
            for connection, (request, _status) in zip(connections, sent, strict=True):
                connection.sendall(request)
            gone.close()  # with a reset
        assert [status_of(read_all(connection)) for connection in connections] == [
            status for _, status in sent
        ]
        assert [status_of(one.result()) for one in first] == [200] * ACCEPTORS
    stored = [path.read_bytes() for path in site.files("incoming")]
    assert sorted(stored) == sorted([bodies[0]] * (1 + ACCEPTORS) + bodies[1:])


def test_who_has_to_wait_for_the_loop_holds_up_nobody_who_was_accepted_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On a busy machine a request may come late, and only what is invalid is to wait for the loop.
    monkeypatch.setattr("spooler.accepted.MOMENT_SECONDS", PATIENCE_SECONDS)
    gate, loop_waits, loop_may_go_on = Gate(), threading.Event(), threading.Event()

    def each_second() -> None:
        loop_waits.set()
        assert loop_may_go_on.wait(PATIENCE_SECONDS)

    bound, address = bind()
    server = Server(gate, [Listener(bound, handed_over=False)], 1 << 20)
    thread = threading.Thread(target=server.run, args=(each_second,))
    thread.start()
    with contextlib.ExitStack() as stack:
        stack.callback(thread.join, PATIENCE_SECONDS)
        stack.callback(server.stop)
        stack.callback(loop_may_go_on.set)
        stack.callback(gate.may_answer.set)

        def send(sent: bytes) -> socket.socket:
            connection = stack.enter_context(connect(address))
            connection.sendall(sent)
            return connection

        assert loop_waits.wait(PATIENCE_SECONDS)
        for _ in range(_MOST_HANDED_OVER):
            send(b"GET x\r\n\r\n")
        for _ in range(ACCEPTORS):
            send(REQUEST)
            assert gate.begun.acquire(timeout=PATIENCE_SECONDS)
        together = [send(b"GET x\r\n\r\n" if number == 7 else REQUEST) for number in range(16)]
        gate.may_answer.set()
        for number, connection in enumerate(together):
            connection.settimeout(5)
            assert number == 7 or status_of(read_all(connection)) == 200


def is_answered(address: Address) -> bool:
    """Send a request; one that takes too long to come in would be for the loop, where there is one."""
    with connect(address) as connection, contextlib.suppress(TimeoutError):
        connection.settimeout(1)
        connection.sendall(REQUEST)
        return status_of(read_all(connection)) == 200
    return False


def test_a_defect_costs_a_connection_and_no_acceptor() -> None:
    def wake_loop() -> None:
        raise RuntimeError

    def application(_environ: object, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"ok"]

    bound, address = bind()
    with bound, contextlib.closing(create_server(application, sockets=[bound])) as server:
        acceptors = Acceptors([server], wake_loop)
        with capture_logs() as lines:
            acceptors.start()
            with contextlib.ExitStack() as stack:
                stack.callback(acceptors.stop)
                for _ in range(2 * ACCEPTORS):
                    stack.enter_context(connect(address)).sendall(b"GET x\r\n\r\n")
                    time.sleep(0.05)  # one by one
                wait_until(lambda: is_answered(address), "an acceptor still answers")
        assert "defect" in {line["event"] for line in lines}


@pytest.mark.parametrize("size", [500, 50_000])
def test_the_memory_of_a_request_is_given_back_with_its_answer(tmp_path: Path, size: int) -> None:
    def accepted() -> list[Accepted]:
        return [one for one in gc.get_objects() if isinstance(one, Accepted)]

    with serving(Receiver(make_site(tmp_path / "site").configuration())) as address:
        gc.collect()
        gc.disable()
        others = len(accepted())
        try:
            assert post(address, make_body(size=size)).status == 200
            wait_until(lambda: len(accepted()) <= others, seconds=5)
        finally:
            gc.enable()
