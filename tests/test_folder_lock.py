"""The lock on a folder: nobody waits for it longer than there is something to wait for."""

import fcntl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import wait_until
from running_service import (
    call,
    make_body,
    make_site,
    request,
    running,
    serving,
    signed,
)
from whole_spool import WholeSpool

from spooler import durable, latest, person
from spooler.clock import SystemClock
from spooler.folder_lock import FolderLock
from spooler.notification import Notification
from spooler.person import PersonsSpool
from spooler.receiver import Receiver
from spooler.state import State


@contextmanager
def held(folder: Path) -> Iterator[None]:
    with durable.opened_folder(folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def seconds_waited(lock: FolderLock, folder: Path, patience_seconds: float) -> float:
    """Return how long a folder's lock was waited for in vain."""
    begun = time.monotonic()
    with durable.opened_folder(folder) as descriptor, pytest.raises(BlockingIOError, match="holds its lock"):
        lock.take(descriptor, SystemClock(), begun + patience_seconds)
    return time.monotonic() - begun


def test_it_keeps_threads_apart_and_ends_with_the_descriptor(tmp_path: Path) -> None:
    lock, inside, most = FolderLock(), [0], [0]

    def work() -> None:
        for _ in range(20):
            with durable.opened_folder(tmp_path) as descriptor:
                lock.take(descriptor, SystemClock(), time.monotonic() + 60)
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == ([0], [1])


def test_it_is_waited_for_until_the_moment_that_was_given(tmp_path: Path) -> None:
    with held(tmp_path):
        assert 0.3 <= seconds_waited(FolderLock(), tmp_path, 0.3) < 1
        assert seconds_waited(FolderLock(), tmp_path, -1) < 0.2


def test_of_many_that_come_together_only_a_few_wait_to_the_end(tmp_path: Path) -> None:
    lock = FolderLock()
    with held(tmp_path), ThreadPoolExecutor(8) as pool:
        waited = list(pool.map(lambda _number: seconds_waited(lock, tmp_path, 5), range(8)))
    assert len([seconds for seconds in waited if seconds > 4.5]) == 2
    assert len([seconds for seconds in waited if seconds < 4]) == 6


def test_after_one_has_waited_in_vain_nobody_waits_until_somebody_gets_it(tmp_path: Path) -> None:
    lock = FolderLock()
    with held(tmp_path):
        assert seconds_waited(lock, tmp_path, 0.6) > 0.5
        assert seconds_waited(lock, tmp_path, 0.6) < 0.4
    with durable.opened_folder(tmp_path) as descriptor:
        lock.take(descriptor, SystemClock(), time.monotonic())
    with held(tmp_path):
        assert seconds_waited(lock, tmp_path, 0.6) > 0.5


def test_whoever_locks_one_webhooks_folder_holds_up_no_other_webhook(tmp_path: Path) -> None:
    webhooks = "\n".join(f'[webhook.{name}]\npublic_keys = ["crm.pem"]' for name in ("one", "two"))
    site = make_site(tmp_path / "site", webhooks=webhooks)
    with serving(Receiver(site.configuration())) as address, ThreadPoolExecutor(24) as pool:

        def send(name: str) -> tuple[int, float]:
            begun, body = time.monotonic(), make_body()
            status = request(address, body, signed(body), path=f"/webhook/{name}").status
            return status, time.monotonic() - begun

        with held(site.folder("incoming", "one")):
            others = [pool.submit(send, "one") for _ in range(20)]
            time.sleep(4.5)  # so long a few of them may be in the way of all
            assert [status for status, _seconds in pool.map(send, ["two"] * 4)] == [200] * 4
            answered = [one.result() for one in others]
        assert {status for status, _seconds in answered} == {503}
        assert max(seconds for _status, seconds in answered) < 14
        assert send("one")[0] == 200


def test_a_lock_on_rejected_delays_no_answer_for_long(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    receiver = Receiver(site.configuration())
    body = make_body()
    with held(site.folder("rejected")):
        begun = time.monotonic()
        assert [call(receiver, body, signed(b"other")).status for _ in range(5)] == [401] * 5
        assert time.monotonic() - begun < 3
    assert site.files("rejected") == []
    assert call(receiver, body, signed(b"other")).status == 401
    assert len(site.files("rejected")) == 1


def test_a_receiver_does_not_start_behind_a_lock_that_is_kept_and_says_why(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    WholeSpool(site.spool, "crm").prepare()
    with held(site.folder("incoming")):
        ended = subprocess.run(
            [sys.executable, "-m", "spooler", "receive", "--config", site.config_file],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 1, "a service that is to be started again"
    line = ended.stderr.splitlines()[-1]
    assert str(site.folder("incoming")) in line
    assert "another process holds its lock" in line


def test_names_follow_the_clock_once_a_lock_that_is_kept_is_given_back(tmp_path: Path) -> None:
    spool = WholeSpool(tmp_path, "crm")
    spool.prepare()
    ahead = spool.clock.now() + timedelta(days=1)
    latest.write(spool.folder(State.REJECTED), ahead)
    with held(spool.folder(State.INCOMING)):
        begun = time.monotonic()
        with pytest.raises(BlockingIOError, match="holds its lock"):
            spool.follow_clock()
        assert time.monotonic() - begun < 5
    assert spool.follow_clock()
    noted = latest.read(spool.folder(State.REJECTED))
    assert noted is not None
    assert noted < ahead


@pytest.mark.parametrize("folder", ["incoming", "retry", "processing"])
def test_whoever_locks_one_webhooks_folder_holds_up_no_other_webhooks_scripts(
    tmp_path: Path, folder: str
) -> None:
    webhooks = "\n".join(f'[webhook.{name}]\npublic_keys = ["crm.pem"]' for name in ("one", "two"))
    site = make_site(tmp_path / "site", webhooks=webhooks)
    site.script("#!/bin/sh\n")
    with running(site, "process") as service:

        def store(webhook: str) -> None:
            WholeSpool(site.spool, webhook).store(make_body(), Notification.read(make_body()))

        store("one")
        wait_until(lambda: site.files("done", "one"))
        with held(site.folder(folder, "one")):
            time.sleep(1)
            store("two")
            wait_until(lambda: site.files("done", "two"))
            if folder == "incoming":
                service.wait_for("another process holds its lock")
        WholeSpool(site.spool, "one").store(make_body(), Notification.read(make_body()))
        wait_until(lambda: len(site.files("done", "one")) == 2)
        assert service.stop() == 0


def test_a_command_waits_for_another_ones_lock_and_then_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = PersonsSpool(tmp_path, "crm")
    spool.prepare()
    monkeypatch.setattr(person, "_PATIENCE_SECONDS", 0.2)
    with (
        held(spool.base),
        pytest.raises(BlockingIOError, match=f"holds its lock.*{spool.base}"),
        spool.alone(),
    ):
        pass
    with spool.alone():
        pass
