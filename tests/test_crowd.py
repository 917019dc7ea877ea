"""Too many connections, and too much that comes in at once: who has to go, and who is served all the same."""

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from bad_requests import CHUNKED
from running_service import (
    HOST,
    PATIENCE_SECONDS,
    connect,
    exchange,
    head,
    make_body,
    make_site,
    post,
    read_all,
    serving,
    status_of,
    wait_until,
)
from structlog.testing import capture_logs
from test_server import Gate, server_on

from spooler import server
from spooler.receiver import Receiver

MIB = 1 << 20
LARGE = make_body(size=MIB)
MOST_BYTES = 8 * MIB  # of requests that aren't answered, in one process


@contextlib.contextmanager
def held(address: tuple[str, int] | str, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Hold connections on which this was sent, one after the other."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect(address)) for _ in range(count)]
        for connection in connections:
            with contextlib.suppress(OSError):  # refused, and closed, meanwhile
                connection.sendall(sent)
        yield connections


def is_open(connection: socket.socket) -> bool:
    return not select.select([connection], [], [], 0)[0]


def test_bodies_that_dont_end_are_given_up_when_they_are_too_much_and_honest_ones_are_not(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path / "site")
    sent = head(LARGE) + LARGE[:-100]
    with serving(Receiver(site.configuration())) as address, held(address, 40, sent) as connections:
        for body in (make_body(), LARGE, make_body(), make_body(size=100_000)):
            assert post(address, body).status == 200
        wait_until(lambda: sum(map(is_open, connections)) <= MOST_BYTES // MIB, "the rest was given up")
        given_up = [read_all(connection) for connection in connections if not is_open(connection)]
        assert len(given_up) < len(connections)
    assert {status_of(answer) for answer in given_up} == {503}
    assert all(b"\r\nRetry-After: 60\r\n" in answer for answer in given_up)
    assert len(site.files("incoming")) == 4


def test_a_large_body_that_comes_in_swiftly_outlasts_many_that_linger(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    sent = head(LARGE) + LARGE[: 256 << 10]
    with serving(Receiver(site.configuration())) as address, held(address, 30, sent):
        time.sleep(1.0)
        with connect(address) as connection:  # the largest of all, for a while
            connection.sendall(head(LARGE) + LARGE[:-1])
            with held(address, 4, sent):
                time.sleep(0.1)
            connection.sendall(LARGE[-1:])
            assert status_of(read_all(connection)) == 200


def test_while_much_waits_for_its_answer_the_rest_waits_too_and_is_not_given_up() -> None:
    gate = Gate()
    bound = socket.create_server((HOST, 0))
    address = bound.getsockname()[:2]
    with server_on(bound, gate) as (serving_it, _thread), ThreadPoolExecutor(12) as pool:
        answers = []
        for number in range(12):
            body = LARGE if number < 11 else make_body(size=100_000)
            answers.append(pool.submit(exchange, address, head(body) + body))
            if number < 4:
                assert gate.begun.acquire(timeout=PATIENCE_SECONDS)
            else:
                time.sleep(0.1)
        channels = serving_it._channels()
        waiting = sum(channel.bytes_coming + channel.bytes_waiting for channel in channels)
        gate.may_answer.set()
        statuses = Counter(status_of(answer.result(PATIENCE_SECONDS)) for answer in answers)
    assert 4 * MIB < waiting < MOST_BYTES
    assert statuses == {200: 12}


@pytest.mark.parametrize(
    ("bad", "count"),
    [
        (head(b"", CHUNKED) + b"80000\r\n" + b"a" * 0x80000 + b"no end of a chunk", 24),
        (head(b"", "X-Note: " + "a" * 15_000, " folded"), 600),
    ],
    ids=["bodies", "headers"],
)
def test_what_is_no_valid_request_takes_no_room_while_it_waits_for_its_answer(bad: bytes, count: int) -> None:
    gate = Gate()
    bound = socket.create_server((HOST, 0))
    address = bound.getsockname()[:2]
    body = make_body()

    def invalid() -> int:
        waiting = [channel.requests for channel in serving_it._channels()]
        return sum(requests[0].error is not None for requests in waiting if requests)

    with server_on(bound, gate) as (serving_it, _thread), held(address, 8, b"") as busy:
        wait_until(lambda: len(serving_it._channels()) == 8)
        for connection in busy:  # all the threads that answer what is no valid request
            connection.sendall(head(body) + body)
            assert gate.begun.acquire(timeout=PATIENCE_SECONDS)
        with held(address, count, bad) as held_up:  # more than all may hold
            wait_until(lambda: invalid() == count, "all were read to where they are no valid requests")
            gate.may_answer.set()
            assert {status_of(read_all(connection)) for connection in held_up} == {400}
        assert {status_of(read_all(connection)) for connection in busy} == {200}


@contextlib.contextmanager
def full_of_what_waits(address: tuple[str, int] | str, gate: Gate) -> Iterator[ThreadPoolExecutor]:
    """Have so much wait for its answer that nothing more is read until the gate opens."""
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(exchange, address, head(LARGE) + LARGE) for _ in range(4)]
        for _ in waiting:
            assert gate.begun.acquire(timeout=PATIENCE_SECONDS)
        try:
            yield pool
        finally:
            gate.may_answer.set()
        assert {status_of(answer.result(PATIENCE_SECONDS)) for answer in waiting} == {200}


def test_who_isnt_read_is_not_closed_for_being_silent() -> None:
    gate, body = Gate(), make_body()
    with (
        serving(gate, request_within_seconds=3.0) as address,
        connect(address) as connection,
        full_of_what_waits(address, gate),
    ):
        connection.sendall(head(body) + body)
        time.sleep(5.0)  # longer than anybody may be silent
        gate.may_answer.set()
        answer = read_all(connection)
    assert status_of(answer) == 200


def test_a_body_that_isnt_read_to_its_end_in_time_is_503_and_not_too_slow() -> None:
    gate = Gate()
    with (
        capture_logs() as logged,
        serving(gate, request_within_seconds=3.0) as address,
        connect(address) as connection,
    ):
        connection.sendall(head(LARGE) + LARGE[: MIB // 2])
        with full_of_what_waits(address, gate):
            connection.sendall(LARGE[MIB // 2 :])
            answer = read_all(connection)
    assert status_of(answer) == 503
    assert b"\r\nRetry-After: 60\r\n" in answer
    assert "too slow" not in {line["event"] for line in logged}


def test_of_a_large_body_no_more_is_read_than_of_any_other_before_it_is_its_turn() -> None:
    gate = Gate()
    bound = socket.create_server((HOST, 0))
    address = bound.getsockname()[:2]
    with (
        server_on(bound, gate) as (serving_it, _thread),
        full_of_what_waits(address, gate),
        held(address, 20, head(LARGE) + LARGE[:60_000]),
    ):
        wait_until(lambda: len(serving_it._channels()) == 24)
        assert max(channel.bytes_coming for channel in serving_it._channels()) <= 4 << 10


@pytest.mark.parametrize("size", [100_000, MIB])
@pytest.mark.parametrize("took_seconds", [0.0, 0.1])
def test_many_honest_senders_at_once_take_turns_and_none_is_refused(
    tmp_path: Path, size: int, took_seconds: float
) -> None:
    receiver = Receiver(make_site(tmp_path / "site").configuration())

    def store(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        time.sleep(took_seconds)
        return receiver(environ, start_response)

    bodies = [make_body(number, size=size) for number in range(4 * MOST_BYTES // MIB)]
    requests = [head(body) + body for body in bodies]
    with serving(store) as address, ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(lambda one: exchange(address, one), requests))
    assert Counter(map(status_of, answers)) == {200: len(requests)}


def test_who_reserves_room_and_sends_nothing_keeps_a_large_body_waiting_for_a_moment_only(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path / "site")
    halves = head(LARGE) + LARGE[: MIB // 2]
    with (
        serving(Receiver(site.configuration())) as address,
        held(address, 200, halves),
        held(address, 200, head(LARGE)),
    ):
        begun = time.monotonic()
        assert post(address, LARGE).status == 200
        assert post(address, make_body()).status == 200
        assert time.monotonic() - begun < 10.0  # the sender waits 15


def test_many_large_bodies_from_far_away_are_all_taken(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    senders, round_trip_seconds = 20, 0.15

    def send_from_far_away(number: int) -> int:
        body = make_body(number, size=MIB)
        rest, window = head(body) + body, 14_600  # of ten segments, twice as many in each round trip
        with connect(address) as connection:
            while rest:
                connection.sendall(rest[:window])
                rest, window = rest[window:], min(2 * window, 256 << 10)
                time.sleep(round_trip_seconds)
            return status_of(read_all(connection))

    with serving(Receiver(site.configuration())) as address, ThreadPoolExecutor(senders) as pool:
        assert Counter(pool.map(send_from_far_away, range(senders))) == {200: senders}


def test_who_came_before_a_flood_does_not_wait_for_its_end(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    halves = head(LARGE) + LARGE[: MIB // 2]
    with (
        serving(Receiver(site.configuration())) as address,
        ThreadPoolExecutor(1) as pool,
        contextlib.ExitStack() as flood,
    ):
        flood.enter_context(held(address, 24, halves))
        honest = pool.submit(post, address, LARGE)
        end = time.monotonic() + 8.0
        while not honest.done() and time.monotonic() < end:  # faster than anybody can be given up
            flood.enter_context(held(address, 2, halves))
            time.sleep(0.03)
        assert honest.done()
        assert honest.result().status == 200


def test_nobody_is_slow_for_what_has_come_and_is_not_read_yet() -> None:
    gate = Gate()
    bound = socket.create_server((HOST, 0))
    address = bound.getsockname()[:2]
    with (
        server_on(bound, gate) as (serving_it, _thread),
        full_of_what_waits(address, gate),
        held(address, 1, head(LARGE) + LARGE[:100_000]),
    ):

        def coming() -> list[Any]:
            return [channel for channel in serving_it._channels() if channel.bytes_coming]

        wait_until(lambda: len(coming()) == 1)
        assert not coming()[0].is_slow(time.monotonic(), 0.0)


def test_who_stands_still_makes_room_before_those_who_go_on_steadily(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    steps = MOST_BYTES // MIB - 2
    bodies = [make_body(number, size=MIB) for number in range(steps)]
    begun = threading.Barrier(steps + 1)

    def send_steadily(body: bytes) -> int:
        with connect(address) as connection:
            connection.sendall(head(body))
            for start in range(0, MIB, 32 << 10):
                connection.sendall(body[start : start + (32 << 10)])
                if start == 0:
                    begun.wait()
                time.sleep(0.05)
            return status_of(read_all(connection))

    with serving(Receiver(site.configuration())) as address, ThreadPoolExecutor(steps) as pool:
        steady = [pool.submit(send_steadily, body) for body in bodies]
        begun.wait()
        with held(address, 1, head(LARGE) + LARGE[:-1]) as (still,):
            time.sleep(1.1)  # the steady ones aren't there yet, and have taken their room for longer
            assert post(address, LARGE).status == 200
            assert status_of(read_all(still)) == 503
        assert {answer.result(PATIENCE_SECONDS) for answer in steady} == {200}


def test_a_small_one_that_pauses_is_not_given_up_where_that_lets_no_large_one_in(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    bodies = [make_body(number, size=MIB) for number in range(MOST_BYTES // MIB + 4)]

    def send_steadily(body: bytes) -> int:
        with connect(address) as connection:
            connection.sendall(head(body))
            for start in range(0, MIB, 32 << 10):
                connection.sendall(body[start : start + (32 << 10)])
                time.sleep(0.05)
            return status_of(read_all(connection))

    with serving(Receiver(site.configuration())) as address, ThreadPoolExecutor(len(bodies)) as pool:
        steady = [pool.submit(send_steadily, body) for body in bodies]
        time.sleep(0.3)  # most of them are being read, and the rest wait
        assert status_of(exchange_with_a_pause(address)) == 200
        assert {answer.result(PATIENCE_SECONDS) for answer in steady} == {200}


def test_what_lies_behind_a_request_is_not_read_by_the_megabyte() -> None:
    gate = Gate()
    bound = socket.create_server((HOST, 0))
    address = bound.getsockname()[:2]
    behind = b"0\r\n\r\n" + head(LARGE) + LARGE[: 120 << 10]
    # Of more than there is room for, those that stand still for a moment are given up.
    with server_on(bound, gate) as (serving_it, _thread), held(address, 4, head(b"", CHUNKED)) as connections:
        wait_until(lambda: len(serving_it._channels()) == 4)
        for connection in connections:
            connection.sendall(behind)
            assert gate.begun.acquire(timeout=PATIENCE_SECONDS)
        assert max(channel.bytes_coming for channel in serving_it._channels()) <= 8 << 10
        gate.may_answer.set()


def test_silent_connections_make_place_for_new_ones_the_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_CONNECTIONS", 32)
    site = make_site(tmp_path / "site")
    begun = head(b"{}")[:20]
    with (
        capture_logs() as logged,
        serving(Receiver(site.configuration())) as address,
        held(address, 1, b"") as first,
        held(address, 300, begun) as others,
    ):
        assert post(address, make_body()).status == 200
        wait_until(lambda: not is_open(first[0]), "the oldest went")
        with held(address, 1, b"") as last:
            assert post(address, make_body()).status == 200
            assert is_open(last[0])
        wait_until(lambda: sum(map(is_open, others)) <= 32, "places were made")
    told = [line for line in logged if line["event"] == "too many connections"]
    assert told[0]["closed"] > 0


def exchange_with_a_pause(address: tuple[str, int] | str) -> bytes:
    """Send a notification so that no thread has it whole as soon as it comes; return the answer."""
    body = make_body()
    with connect(address) as connection:
        connection.sendall(head(body))
        time.sleep(0.5)
        connection.sendall(body)
        return read_all(connection)


def test_who_waits_for_an_answer_is_not_closed_however_many_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_CONNECTIONS", 32)
    gate = Gate()
    with serving(gate) as address:
        answers: list[bytes] = []
        waiting = threading.Thread(target=lambda: answers.append(exchange_with_a_pause(address)))
        waiting.start()
        assert gate.begun.acquire(timeout=PATIENCE_SECONDS)
        with held(address, 200, b"") as others:
            wait_until(lambda: sum(map(is_open, others)) <= 32, "places were made")
        gate.may_answer.set()
        waiting.join(PATIENCE_SECONDS)
    assert [status_of(answer) for answer in answers] == [200]
