"""A running service while the kernel refuses what it asks for: afterwards all goes on by itself.

Errors are put in by strace, which is attached to a service that runs, and taken away again; limits are real
ones. While the fault lasts nothing torn is under a name that a processor takes.
"""

import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mail_server import HOST as MAIL_HOST
from running_service import (
    OTHER_KEY,
    PATIENCE_SECONDS,
    Site,
    exchange,
    head,
    is_alive,
    make_body,
    make_site,
    post,
    request,
    running,
    wait_until,
)
from test_system_calls import skip_without_strace

from spooler import history
from spooler.notification import Notification
from spooler.playground import free_port
from spooler.storing import ReceiversSpool

STATES = ("incoming", "processing", "retry", "done", "failed")


@contextmanager
def injected(process: int, fault: str, path: Path | None = None) -> Iterator[None]:
    """Let a running process' system calls fail, as `fsync:error=EIO` says; of one path, where it is given."""
    skip_without_strace()
    call = fault.partition(":")[0]
    paths = ["-P", str(path)] if path else []
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={fault}", *paths]
    tracer = subprocess.Popen([*command, "-p", str(process)], stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr
        assert "attached" in tracer.stderr.readline()
        tasks = Path(f"/proc/{process}/task")
        wait_until(lambda: all(is_traced(task) for task in tasks.iterdir()), "every thread is traced")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(PATIENCE_SECONDS)


def is_traced(task: Path) -> bool:
    with suppress(FileNotFoundError):
        return "TracerPid:\t0\n" not in (task / "status").read_text()
    return True


def visible(site: Site) -> list[bytes]:
    """Return what every file holds that a processor takes, or has taken."""
    return [file.read_bytes() for state in STATES for file in site.files(state)]


REFUSALS = {
    "EIO from the sync of the file": ("fsync:error=EIO", ""),
    "EDQUOT from the sync of the file": ("fsync:error=EDQUOT", ""),
    "EIO from the rename": ("renameat2:error=EIO", ""),
    "EDQUOT from the rename": ("renameat2:error=EDQUOT", ""),
    "EIO from the folder": ("openat:error=EIO", "incoming"),
    "ENFILE": ("openat:error=ENFILE", "incoming"),
}


@pytest.mark.parametrize(("fault", "folder"), REFUSALS.values(), ids=REFUSALS)
def test_what_the_disk_refuses_is_503_leaves_nothing_and_is_taken_when_the_fault_is_gone(
    tmp_path: Path, fault: str, folder: str
) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 1")
    with running(site, "receive") as service:
        assert post(service.address, make_body()).status == 200
        (worker,) = service.children()
        before = site.all_files()
        with injected(worker, fault, site.folder(folder) if folder else None):
            for _ in range(3):
                refused = post(service.address, make_body())
                assert (refused.status, refused.headers["retry-after"]) == (503, "60")
            assert site.all_files() == before
        assert post(service.address, make_body()).status == 200
        assert service.children() == [worker]
        assert service.stop() == 0
    assert len(site.files("incoming")) == 2


def test_when_only_the_sync_of_the_folder_fails_it_is_503_and_the_file_stays_whole(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 1")
    body = make_body()
    with running(site, "receive") as service:
        assert post(service.address, make_body()).status == 200
        (worker,) = service.children()
        with injected(worker, "fsync:error=EIO", site.folder("incoming")):
            assert post(service.address, body).status == 503
        assert post(service.address, body).status == 200  # the sender repeats
    contents = [file.read_bytes() for file in site.files("incoming")]
    assert contents[1:] == [body, body]


@pytest.mark.parametrize("folder", ["", "incoming"], ids=["of the file", "of the folder"])
def test_a_sync_that_failed_is_not_tried_again_though_the_kernel_would_say_yes_then(
    tmp_path: Path, folder: str
) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 1")
    before, body = make_body(1), make_body(2)
    with running(site, "receive") as service:
        assert post(service.address, before).status == 200
        (worker,) = service.children()
        with injected(worker, "fsync:error=EIO:when=1", site.folder(folder) if folder else None):
            assert post(service.address, body).status == 503
        assert visible(site) == ([before, body] if folder else [before])
        assert post(service.address, body).status == 200


def test_without_descriptors_it_is_503_and_then_it_goes_on(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 1")
    with running(site, "receive") as service:
        assert post(service.address, make_body()).status == 200
        (worker,) = service.children()
        time.sleep(0.5)  # till that connection's is free
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        open_now = {int(name) for name in os.listdir(f"/proc/{worker}/fd")}  # noqa: PTH208
        free = min(set(range(len(open_now) + 1)) - open_now)
        # One for the connection, and none for the folder.
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (free + 1, limits[1]))
        statuses = [post(service.address, make_body()).status for _ in range(5)]
        assert statuses == [503] * 5
        assert len(site.files("incoming")) == 1
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
        assert post(service.address, make_body()).status == 200
        assert service.children() == [worker]
        assert len(service.log()) < 20_000


def test_when_not_even_a_connection_can_be_accepted_it_waits_without_spinning_and_is_answered_then(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 1")
    with running(site, "receive") as service:
        assert post(service.address, make_body()).status == 200
        (worker,) = service.children()
        limits = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, limits[1]))  # those it has, and no other
        before = cpu_seconds(worker)
        with socket.create_connection(service.address):  # type: ignore[arg-type]
            time.sleep(2)
        assert cpu_seconds(worker) - before < 0.5
        assert service.log().count("can't accept") == 1
        resource.prlimit(worker, resource.RLIMIT_NOFILE, limits)
        assert post(service.address, make_body()).status == 200
        assert service.children() == [worker]


def test_a_connection_whose_answer_cannot_be_sent_takes_no_other_with_it(tmp_path: Path) -> None:
    site, body = make_site(tmp_path / "site", receiver="workers = 1"), make_body()
    with running(site, "receive") as service:
        assert post(service.address, body).status == 200
        (worker,) = service.children()
        with injected(worker, "sendto:error=EHOSTUNREACH"):
            for _ in range(5):
                assert exchange(service.address, head(body, "Expect: 100-continue")) == b""
        assert post(service.address, make_body()).status == 200
        assert service.children() == [worker]


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("renameat2:error=EIO", "left alone"),
        ("fsync:error=EIO", "held up"),
        ("openat:error=EMFILE", "Too many open files"),
    ],
)
def test_a_processor_whose_disk_refuses_loses_nothing_and_goes_on_by_itself(
    tmp_path: Path, fault: str, told: str
) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 1")
    ran = site.root / "ran"
    site.script(f'#!/bin/sh\necho "$SPOOLER_ID" >> "{ran}"\n')
    bodies = [make_body(number) for number in range(4)]
    with running(site, "receive") as service:
        assert [post(service.address, body).status for body in bodies] == [200] * 4
    (site.spool / "crm" / "paused").touch()
    with running(site, "process") as service:
        only = site.folder("incoming") if fault.startswith("openat") else None
        with injected(service.process.pid, fault, only):
            (site.spool / "crm" / "paused").unlink()
            service.process.send_signal(signal.SIGHUP)  # it looks at once
            service.wait_for(told)
            time.sleep(1)
            assert sorted(visible(site)) == sorted(bodies)
            assert site.files("failed") == []
        for _ in range(2):
            time.sleep(1)
            for file in site.files("retry"):
                os.utime(file, (0, 0))  # what it waits for is a minute
        wait_until(lambda: len(site.files("done")) == 4)
        assert service.stop() == 0
    assert sorted(visible(site)) == sorted(bodies)
    assert len(ran.read_text().split()) == len(set(ran.read_text().split())) == 4


def test_what_is_in_hand_while_nobody_can_tell_where_it_is_is_not_overtaken_and_goes_on_by_itself(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 1")
    ran, may_end = site.root / "ran", site.root / "may end"
    waiting = f'while [ ! -e "{may_end}" ]; do sleep 0.05; done'
    site.script(f'#!/bin/sh\necho "$SPOOLER_ID" >> "{ran}"\n{waiting}\n')
    store = ReceiversSpool(site.spool, "crm")
    with running(site, "process") as service:
        for body in (make_body(1), make_body(1)):  # of one contact
            store.store(body, Notification.read(body))
        wait_until(ran.exists)
        (first,) = site.files("processing")
        with injected(service.process.pid, "newfstatat,renameat2:error=EIO", first):
            may_end.touch()
            service.wait_for("Input/output error")
            service.process.send_signal(signal.SIGHUP)  # it looks at once
            time.sleep(1)
            assert len(ran.read_text().split()) == 1
            assert [path.name for path in site.files("processing")] == [first.name]
        wait_until(lambda: len(site.files("done")) == 2)
        assert service.stop() == 0
    assert len(set(ran.read_text().split())) == len(ran.read_text().split()) == 2


def test_a_script_that_cannot_be_looked_after_is_ended_with_all_it_started_and_counts(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", processor='retry_delays = ["200ms"]')
    started = site.root / "started"
    site.script(f'#!/bin/sh\nsetsid sleep 60 &\necho $! >> "{started}"\nsleep 60\n')
    store = ReceiversSpool(site.spool, "crm")
    fault = "pidfd_open:error=EMFILE:delay_enter=300000"  # by when the script has begun
    with running(site, "process") as service, injected(service.process.pid, fault):
        store.store(body := make_body(), Notification.read(body))
        wait_until(lambda: site.files("failed"))
        assert service.stop() == 0
    (failed,) = site.files("failed")
    lines = history.read(failed.with_suffix(".log"))
    runs = [(line["attempt"], line["exit"]) for line in lines if "exit" in line]
    assert runs == [(1, "killed"), (2, "killed")]
    assert "it can't be watched, and was ended: Too many open files" in lines[0]["output"]
    assert not any(is_alive(int(process)) for process in started.read_text().split())


def test_a_spool_that_is_taken_away_is_503_and_one_that_is_made_anew_is_worked_on(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 2")
    site.script("#!/bin/sh\n")
    with running(site) as service:
        assert post(service.address, make_body(1)).status == 200
        wait_until(lambda: len(site.files("done")) == 1)
        (site.spool / "crm").rename(tmp_path / "away")
        assert post(service.address, make_body(2)).status == 503
        (tmp_path / "away").rename(site.spool / "crm")
        assert post(service.address, make_body(3)).status == 200
        wait_until(lambda: len(site.files("done")) == 2)
        (site.spool / "crm").rename(tmp_path / "away")  # at once: what was refused is counted there meanwhile
        shutil.rmtree(tmp_path / "away")
        assert post(service.address, make_body(4)).status == 503
        for state in (*STATES, "rejected"):
            site.folder(state).mkdir(parents=True, exist_ok=True)
        wait_until(lambda: post(service.address, make_body(5)).status == 200)
        wait_until(lambda: site.files("done"))
        assert service.stop() == 0


def test_where_the_limit_of_inotify_is_reached_all_is_found_by_looking(tmp_path: Path) -> None:
    limit = 'echo 0 > /proc/sys/user/max_inotify_instances; exec "$@"'
    wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh"]
    with suppress(FileNotFoundError):
        tried = subprocess.run([*wrapper, "true"], capture_output=True, text=True, check=False)
        if tried.returncode or tried.stderr:
            pytest.skip(f"no user namespaces here: {tried.stderr.strip()}")
    site = make_site(tmp_path / "site")
    site.script("#!/bin/sh\n")
    with running(site, "process", wrapper=wrapper) as service, running(site, "receive") as receiver:
        assert [post(receiver.address, make_body(number)).status for number in range(5)] == [200] * 5
        wait_until(lambda: len(site.files("done")) == 5)
        assert service.log().count("not watching") == 1


def test_what_is_no_readable_regular_file_is_reported_once_left_alone_and_holds_up_nobody(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path / "site")
    ran = site.root / "ran"
    site.script(f'#!/bin/sh\necho "$SPOOLER_FILE" >> "{ran}"\n')
    secret = site.root / "secret.json"
    secret.write_text("{}")
    with running(site) as service:
        incoming = site.folder("incoming")
        os.mkfifo(incoming / "fifo.json")
        (incoming / "folder.json").mkdir()
        (incoming / "link.json").symlink_to(secret)
        (incoming / "nowhere.json").symlink_to("/nowhere")
        os.mknod(incoming / "socket.json", stat.S_IFSOCK | 0o600)
        with (incoming / "large.json").open("wb") as large:
            large.truncate(1 << 30)
        for ignored in ("editor.json~", ".hidden.json", ".editor.json.swp", "part.json.tmp"):
            (incoming / ignored).write_text("{}")
        odd = sorted(path.name for path in incoming.iterdir())
        assert post(service.address, make_body()).status == 200
        wait_until(lambda: site.files("done"))
        wait_until(lambda: service.log().count("left alone") == 6)
        assert post(service.address, make_body()).status == 200
        wait_until(lambda: len(site.files("done")) == 2)
        time.sleep(1)
        assert service.log().count("left alone") == 6
        assert sorted(path.name for path in incoming.iterdir()) == odd
        assert len(ran.read_text().split()) == 2
        assert service.stop() == 0


def test_while_the_mail_server_is_down_or_hangs_notifications_are_received_and_processed(
    tmp_path: Path,
) -> None:
    with socket.create_server((MAIL_HOST, 0)) as hanging:  # accepts, and never says a word
        for port in (free_port(), hanging.getsockname()[1]):
            table = f'[alerts]\nsmtp = "{MAIL_HOST}:{port}"\nfrom = "a@example.com"\nto = ["b@example.com"]'
            site = make_site(tmp_path / f"site-{port}", processor="retry_delays = []", webhooks=table)
            site.script("#!/bin/sh\ngrep -q 550003 && exit 65 || exit 0\n")
            with running(site) as service:
                started = time.monotonic()
                statuses = [post(service.address, make_body(number)).status for number in range(20)]
                assert statuses == [200] * 20
                wait_until(lambda: len(site.files("done")) == 19)  # noqa: B023 - called at once
                wait_until(lambda: len(site.files("failed")) == 1)  # noqa: B023
                assert time.monotonic() - started < 20
                assert service.stop() == 0


def test_a_full_rejected_keeps_nothing_genuine_out(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    site.script("#!/bin/sh\n")
    with running(site) as service:
        for number in range(1200):
            path = site.folder("rejected") / f"20260101T000000.{number:06}Z_x-{number}_unknown.json"
            path.write_bytes(b"x" * 100)
        assert post(service.address, make_body(), key=OTHER_KEY).status == 401
        assert post(service.address, make_body()).status == 200
        wait_until(lambda: site.files("done"))
        held = [path for path in site.folder("rejected").iterdir() if path.suffix in {".json", ".log"}]
        assert len(held) <= 1000
        assert request(service.address, path="/healthz", method="GET").status == 200
