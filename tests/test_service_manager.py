"""What a service manager is told, heard on a real socket like its own."""

import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from running_service import OTHER_KEY, PATIENCE_SECONDS, make_body, make_site, post, run_to_the_end, running

from spooler.service_manager import ServiceManager


class Manager:
    """The other end of the protocol: what was said, datagram by datagram."""

    def __init__(self, path: str) -> None:
        self.address = path
        self._wire = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._wire.bind(f"\0{path[1:]}" if path.startswith("@") else path)
        self._wire.settimeout(PATIENCE_SECONDS)

    def hear(self) -> list[str]:
        return self._wire.recv(4096).decode().split("\n")

    def hear_until(self, text: str) -> str:
        """Return the line that holds the text."""
        while True:
            for line in self.hear():
                if text in line:
                    return line

    def is_silent(self) -> bool:
        """Say whether nothing was said that nobody has heard yet."""
        self._wire.setblocking(False)
        with suppress(BlockingIOError):
            return not self._wire.recv(1)
        return True

    def close(self) -> None:
        self._wire.close()


@contextmanager
def listening(path: str) -> Iterator[Manager]:
    manager = Manager(path)
    try:
        yield manager
    finally:
        manager.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    with listening(str(tmp_path / "notify")) as found:
        monkeypatch.setenv("NOTIFY_SOCKET", found.address)
        yield found


def test_the_first_beat_says_that_it_is_ready_and_no_other_does(manager: Manager) -> None:
    ours = ServiceManager()
    ours.beat("1 waiting")
    assert manager.hear() == ["READY=1", "WATCHDOG=1", "STATUS=1 waiting"]
    ours.stopping()
    assert manager.hear()[0] == "STOPPING=1"


def test_many_turns_of_a_loop_are_one_beat(manager: Manager) -> None:
    ours = ServiceManager()
    for _ in range(1000):
        ours.beat("busy")
    ours.stopping()
    assert [manager.hear()[0], manager.hear()[0]] == ["READY=1", "STOPPING=1"]


def test_a_status_is_one_line_whatever_it_says(manager: Manager) -> None:
    ServiceManager().beat("held back: a\nMAINPID=1\nfolder" + "x" * 9000)
    said = manager.hear()
    assert said[:2] == ["READY=1", "WATCHDOG=1"]
    assert said[2].startswith("STATUS=held back: a MAINPID=1 folder")
    assert len(said) == 3
    assert len(said[2]) < 600


def test_a_reload_is_begun_and_ended(manager: Manager) -> None:
    ours = ServiceManager()
    ours.beat("")
    ours.reloading()
    ours.reloaded()
    assert manager.hear()[0] == "READY=1"
    assert [line.partition("=")[0] for line in manager.hear()] == ["RELOADING", "MONOTONIC_USEC"]
    assert manager.hear() == ["READY=1"]


def test_a_socket_without_a_file_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(f"@spooler-test-{os.getpid()}") as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        ServiceManager().beat("")
        assert manager.hear()[0] == "READY=1"


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "not-even-a-path"])
def test_where_nobody_listens_nothing_fails(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address) if address is not None else None
    ours = ServiceManager()
    ours.beat("")
    ours.reloading()
    ours.stopping()
    assert ours.is_ready


def test_nobody_who_is_started_later_can_speak_for_spooler(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(variable, "1")
    ServiceManager()
    assert {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}.isdisjoint(os.environ)


@pytest.mark.parametrize("command", ["receive", "process", "run"])
def test_a_service_is_ready_beats_reloads_and_ends(tmp_path: Path, manager: Manager, command: str) -> None:
    site = make_site(tmp_path / "site")
    with running(site, command) as service:
        assert manager.hear()[:2] == ["READY=1", "WATCHDOG=1"]
        manager.hear_until("WATCHDOG=1")
        if command != "process":
            service.process.send_signal(signal.SIGHUP)
            manager.hear_until("RELOADING=1")
            manager.hear_until("READY=1")
        assert service.stop() == 0
        manager.hear_until("STOPPING=1")


@pytest.mark.parametrize("command", ["receive", "run"])
def test_a_watchdog_that_an_administrator_made_short_is_heeded(
    tmp_path: Path, manager: Manager, command: str
) -> None:
    site = make_site(tmp_path / "site")
    with running(site, command, environment={"WATCHDOG_USEC": "3000000"}) as service:
        beats = []
        for _ in range(3):
            manager.hear_until("WATCHDOG=1")
            beats.append(time.monotonic())
        assert service.stop() == 0
    assert max(later - earlier for earlier, later in pairwise(beats)) < 3


@pytest.mark.parametrize(
    ("microseconds", "process", "seconds"),
    [
        ("30000000", "", 15),
        ("30000000", "ours", 15),
        ("30000000", "1", math.inf),
        ("1", "", 1),
        ("", "", math.inf),
        ("soon", "", math.inf),
    ],
)
def test_how_soon_the_next_beat_is_wanted_is_what_the_manager_says(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, process: str, seconds: float
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if process == "ours" else process)
    assert ServiceManager().beat_within_seconds == seconds


def test_the_status_counts(tmp_path: Path, manager: Manager) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 2")
    with running(site, "receive") as receiver:
        for number in range(3):
            assert post(receiver.address, make_body(number)).status == 200
        assert post(receiver.address, make_body(3), OTHER_KEY).status == 401
        manager.hear_until("3 stored, 1 refused, 0 not stored")
        os.kill(receiver.children()[0], signal.SIGKILL)  # what it has counted stays
        receiver.wait_for("process ended")
        assert post(receiver.address, make_body(4)).status == 200
        manager.hear_until("4 stored, 1 refused, 0 not stored")
    (site.spool / "crm" / "paused").touch()
    with running(site, "process"):
        manager.hear_until("crm: 4 waiting, 0 running, 0 to be retried (held back: paused)")


def test_it_isnt_ready_while_the_keys_are_missing(tmp_path: Path, manager: Manager) -> None:
    site = make_site(tmp_path / "site")
    site.key_file.write_text("no key")
    assert run_to_the_end(site, "receive").returncode == 78
    assert manager.is_silent()
