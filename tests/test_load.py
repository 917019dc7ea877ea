"""The load: real requests to real servers; what isn't a 200 is no figure."""

import itertools
import json
import os
import signal
import socket
import threading
from itertools import islice
from pathlib import Path

import pytest
from running_service import KEY, make_site, serving
from scripted_receiver import ScriptedReceiver

from spooler import load
from spooler.errors import SpoolerError
from spooler.playground import free_port
from spooler.receiver import Receiver
from spooler.signature import HEADER


def made(count: int = 3) -> list[bytes]:
    return list(load.requests("/webhook/crm", KEY, count))


def test_each_request_has_a_body_of_its_own_of_the_same_size() -> None:
    bodies = [request.partition(b"\r\n\r\n")[2] for request in made(5)]
    assert {len(body) for body in bodies} == {load.BODY_BYTES}
    assert len({json.loads(body)["EventUniqueID"] for body in bodies}) == 5


def test_what_is_counted_was_stored_by_a_receiver_that_checks_it(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with serving(Receiver(site.configuration())) as address:
        assert isinstance(address, tuple)
        found = load.run(address[1], made(), 4, 0.2, host=address[0])
    assert len(site.files("incoming")) == found.count >= 4
    assert 0 < found.p50_ms <= found.p99_ms <= found.max_ms


def test_no_time_at_all_is_one_request_for_each_connection() -> None:
    with ScriptedReceiver() as receiver:
        found = load.run(receiver.server.server_port, made(), 2, 0)
    assert len(receiver.received) == found.count == 2
    assert all(one.headers[HEADER] and one.is_signed_by(KEY.public_key()) for one in receiver.received)


def test_another_answer_than_200_is_an_error() -> None:
    with ScriptedReceiver([200, 503]) as receiver, pytest.raises(SpoolerError, match=r"answered .*503"):
        load.run(receiver.server.server_port, made(), 1, 5)
    assert len(receiver.received) == 2


def test_what_is_called_before_each_request_ends_it() -> None:
    calls = itertools.count(1)

    def fail_from_the_third_on() -> None:
        if next(calls) >= 3:
            raise RuntimeError("enough")

    with ScriptedReceiver() as receiver, pytest.raises(RuntimeError, match="enough"):
        load.run(receiver.server.server_port, made(), 1, 60, before_each=fail_from_the_third_on)
    assert len(receiver.received) == 2


def test_a_signal_ends_it_by_what_its_handler_raises_and_never_inside_the_event_loop() -> None:
    threads = set()

    def look() -> None:
        threads.add(threading.current_thread())
        if len(receiver.received) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with ScriptedReceiver() as receiver, pytest.raises(KeyboardInterrupt):
        load.run(receiver.server.server_port, made(), 1, 60, before_each=look)
    assert threading.main_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def test_nobody_there_and_an_early_end_are_errors_in_one_line() -> None:
    with pytest.raises(SpoolerError, match=r"can't be reached: .*") as caught:
        load.run(free_port(), made(), 2, 0.1)
    assert "\n" not in str(caught.value)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            for connection, _peer in islice(iter(server.accept, None), 1):
                connection.recv(1)
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(SpoolerError):
            load.run(server.getsockname()[1], made(), 1, 0.1)
        thread.join()
