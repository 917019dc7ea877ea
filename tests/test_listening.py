"""Listening sockets: of each kind, and as systemd hands them over."""

import fcntl
import os
import re
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from running_service import (
    connect,
    head,
    make_body,
    make_site,
    post,
    read_all,
    request,
    run_to_the_end,
    running,
    serving,
    status_of,
)
from structlog.testing import capture_logs

from spooler.address import Address
from spooler.errors import ConfigurationError
from spooler.listening import Listener, listen
from spooler.receiver import Receiver


def open_one(text: str) -> Listener:
    (listener,) = listen(Address.parse(text))
    assert not listener.handed_over
    return listener


def test_a_tcp_port_is_listened_on() -> None:
    listener = open_one("127.0.0.1:0")
    with listener.socket as bound:
        assert listener.address == f"http://127.0.0.1:{bound.getsockname()[1]}"
        connect(bound.getsockname()).close()


def test_a_name_is_looked_up() -> None:
    with open_one("localhost:0").socket as bound:
        assert bound.getsockname()[0] in {"127.0.0.1", "::1"}


def test_a_port_that_was_just_left_is_taken_again() -> None:
    with open_one("127.0.0.1:0").socket as bound:
        address = bound.getsockname()
        with connect(address), bound.accept()[0] as accepted:
            accepted.shutdown(socket.SHUT_RDWR)  # this side ends first, and waits
    open_one(f"127.0.0.1:{address[1]}").socket.close()


def test_a_port_in_use_is_a_users_mistake() -> None:
    with open_one("127.0.0.1:0").socket as bound:
        port = bound.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port}: Address already in use"):
            open_one(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no..such.host:80"])
def test_an_address_of_another_machine_is_a_users_mistake(address: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f"receiver.listen: can't listen on {address}: ")):
        open_one(address)


def test_ipv6_is_served(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    listener = open_one("[::1]:0")
    assert listener.address.startswith("http://[::1]:")
    receiver = Receiver(make_site(tmp_path / "site").configuration())
    with capture_logs() as lines, serving(receiver, listener.socket) as address:
        assert post(address, make_body()).status == 200
    assert [line["peer"] for line in lines if line["event"] == "stored"] == ["::1"]


# Unix sockets


def test_a_unix_socket_is_for_its_user_and_group(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        listener = open_one(f"unix:{tmp_path}/receiver.sock")
    finally:
        os.umask(old)
    with listener.socket:
        assert listener.address == f"unix:{tmp_path}/receiver.sock"
        assert stat.S_IMODE((tmp_path / "receiver.sock").stat().st_mode) == 0o660


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "receiver.sock"
    open_one(f"unix:{path}").socket.close()
    assert path.is_socket()
    with open_one(f"unix:{path}").socket:
        connect(str(path)).close()


def test_a_socket_that_somebody_listens_on_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "receiver.sock"
    with open_one(f"unix:{path}").socket as first:
        with pytest.raises(ConfigurationError, match=re.escape(f"{path}: Address already in use")):
            open_one(f"unix:{path}")
        assert connect(str(path)).getpeername() == str(path)
        first.close()


def test_a_file_in_the_place_of_a_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "receiver.sock"
    path.write_text("important")
    with pytest.raises(ConfigurationError, match="Address already in use"):
        open_one(f"unix:{path}")
    assert path.read_text() == "important"


@pytest.mark.parametrize(
    ("name", "reason"), [("missing/receiver.sock", "No such file or directory"), ("a" * 200, "path too long")]
)
def test_a_path_that_cant_be_a_socket_is_a_users_mistake(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        open_one(f"unix:{tmp_path}/{name}")


def test_a_unix_socket_is_served_and_its_path_is_relative_to_the_configuration(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", receiver='listen = "unix:receiver.sock"\ntrusted_proxy = "unix"')
    path = str(site.root / "receiver.sock")
    with running(site, "receive", folder=tmp_path) as service:
        assert service.address == path
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o660
        assert post(path, make_body()).status == 200
        body = make_body()
        assert request(path, body, {"X-Forwarded-For": "198.51.100.7"}).status == 401
        service.wait_for("peer=198.51.100.7")
        assert "peer=unix" in service.log()
        second = run_to_the_end(site, "receive")
        assert (second.returncode, second.stderr.count("\n")) == (78, 1)
        assert path in second.stderr
        assert post(path, make_body()).status == 200
    assert len(site.files("incoming")) == 2


# Sockets from systemd


HAND_OVER = """
import os, sys
meant_for, descriptors = sys.argv[1], sys.argv[2].split()
for target, source in enumerate(descriptors, 3):
    os.dup2(int(source), target)
os.environ |= {"LISTEN_PID": meant_for or str(os.getpid()), "LISTEN_FDS": str(len(descriptors))}
os.environ["LISTEN_FDNAMES"] = "receiver.socket"
os.execv(sys.argv[3], sys.argv[3:])
"""


def hand_over(*descriptors: int, meant_for: str = "") -> list[str]:
    """Return the wrapper that hands over descriptors as 3, 4 ..., in the way of systemd."""
    return [sys.executable, "-I", "-S", "-c", HAND_OVER, meant_for, " ".join(map(str, descriptors))]


def out_of_the_way(one: socket.socket) -> socket.socket:
    """Return the socket under a descriptor that can't be one of 3, 4 ..."""
    moved = socket.socket(fileno=fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, 50))
    one.close()
    return moved


def bind_tcp() -> socket.socket:
    return out_of_the_way(socket.create_server(("127.0.0.1", 0)))


def bind_unix(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(path))
    bound.listen()
    return out_of_the_way(bound)


def test_sockets_from_systemd_win_and_keep_what_waits_over_a_restart(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", receiver='listen = "192.0.2.1:80"')
    with bind_tcp() as one, bind_tcp() as two:
        descriptors, addresses = [one.fileno(), two.fileno()], [one.getsockname(), two.getsockname()]
        wrapper = hand_over(*descriptors)
        with running(site, "receive", wrapper=wrapper, pass_fds=descriptors) as service:
            assert service.addresses == addresses
            assert [post(address, make_body()).status for address in addresses] == [200, 200]
            assert service.stop() == 0
        with connect(addresses[1]) as waiting:
            body = make_body()
            waiting.sendall(head(body) + body)
            with running(site, "receive", wrapper=wrapper, pass_fds=descriptors):
                assert status_of(read_all(waiting)) == 200
    assert len(site.files("incoming")) == 3


def test_a_unix_socket_may_come_from_systemd_too(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with bind_unix(tmp_path / "handed.sock") as kept:
        wrapper = hand_over(kept.fileno())
        with running(site, "receive", wrapper=wrapper, pass_fds=[kept.fileno()]) as service:
            assert service.addresses == [kept.getsockname()]
            assert post(service.address, make_body()).status == 200


def test_a_socket_that_is_meant_for_another_process_is_not_taken(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with bind_tcp() as other:
        wrapper = hand_over(other.fileno(), meant_for="1")
        with running(site, "receive", wrapper=wrapper, pass_fds=[other.fileno()]) as service:
            assert service.address != other.getsockname()
            assert post(service.address, make_body()).status == 200


def test_sockets_of_two_kinds_are_a_mistake(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with bind_tcp() as one, bind_unix(tmp_path / "handed.sock") as two:
        descriptors = [one.fileno(), two.fileno()]
        ended = run_to_the_end(site, "receive", wrapper=hand_over(*descriptors), pass_fds=descriptors)
    assert (ended.returncode, ended.stderr.count("\n")) == (78, 1)
    assert "LISTEN_FDS: both TCP and Unix sockets" in ended.stderr


def datagrams(_path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    return out_of_the_way(bound)


def sequenced_packets(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    bound.bind(str(path))
    bound.listen()
    return out_of_the_way(bound)


def accepted(_path: Path) -> socket.socket:
    with socket.create_server(("127.0.0.1", 0)) as bound, connect(bound.getsockname()):
        return out_of_the_way(bound.accept()[0])


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (datagrams, "is no stream socket; the .socket unit needs ListenStream="),
        (sequenced_packets, "is no stream socket; the .socket unit needs ListenStream="),
        (accepted, "doesn't listen; the .socket unit needs Accept=no"),
    ],
    ids=["datagrams", "packets", "a connection"],
)
def test_a_socket_that_nobody_can_be_accepted_on_is_a_mistake(
    tmp_path: Path, kind: Callable[[Path], socket.socket], wrong: str
) -> None:
    site = make_site(tmp_path / "site")
    with kind(tmp_path / "handed.sock") as handed:
        wrapper = hand_over(handed.fileno())
        ended = run_to_the_end(site, "receive", wrapper=wrapper, pass_fds=[handed.fileno()])
    assert (ended.returncode, ended.stderr) == (78, f"spooler: LISTEN_FDS: descriptor 3 {wrong}\n")


def test_what_is_handed_over_and_no_socket_is_a_mistake(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with site.config_file.open() as file:
        spare = fcntl.fcntl(file.fileno(), fcntl.F_DUPFD_CLOEXEC, 50)
    try:
        ended = run_to_the_end(site, "receive", wrapper=hand_over(spare), pass_fds=[spare])
    finally:
        os.close(spare)
    assert (ended.returncode, ended.stderr.count("\n")) == (78, 1)
    assert "LISTEN_FDS: descriptor 3 is no socket" in ended.stderr
