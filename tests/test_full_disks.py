"""A running service on a disk that is full, read-only or refuses: nothing torn, nothing lost, no restart.

Each fault is a real one, on a small file system of its own. While it lasts, everything is refused with 503
and nothing that a processor would take is left; when it is over, all goes on by itself.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mounts import fill, mounted, remount, take_inodes
from running_service import Service, Site, make_body, make_site, post, request, running, wait_until

NO_LIMIT = 'min_free = "0KiB"\nworkers = 1'


@contextmanager
def on_a_small_disk(
    tmp_path: Path, options: str, *, receiver: str = NO_LIMIT, script: str = "cat > /dev/null"
) -> Iterator[tuple[Site, Service]]:
    """Run everything on a spool of its own file system; gives place and service."""
    with mounted(tmp_path / "site" / "spool", options):
        site = make_site(tmp_path / "site", receiver=receiver, processor='retry_delays = ["1s", "1s"]')
        site.script(f"#!/bin/sh\n{script}\n")
        with running(site) as service:
            yield site, service
            assert not [line for line in service.log().splitlines() if "defect" in line]
            assert service.stop() == 0


def assert_whole(site: Site, sent: list[bytes]) -> None:
    """Whatever has a name that the processor takes holds what was sent, and nothing less."""
    for state in ("incoming", "processing", "retry", "done", "failed"):
        for file in site.files(state):
            assert file.read_bytes() in sent


@pytest.mark.parametrize(
    ("options", "use_up"),
    [("size=600k,nr_inodes=500", fill), ("size=600k,nr_inodes=90", take_inodes)],
    ids=["bytes", "inodes"],
)
def test_without_bytes_or_inodes_it_is_503_and_goes_on_by_itself_when_there_is_room(
    tmp_path: Path, options: str, use_up: Callable[[Path], list[Path]]
) -> None:
    with on_a_small_disk(tmp_path, options) as (site, service):
        sent = [make_body(number, size=9000) for number in range(10)]
        assert post(service.address, sent[0]).status == 200
        wait_until(lambda: site.files("done"))
        fillers = use_up(site.spool)
        for body in sent[1:5]:
            refused = post(service.address, body)
            assert (refused.status, refused.headers["retry-after"]) == (503, "60")
        assert request(service.address, path="/healthz", method="GET").status == 503
        assert_whole(site, sent)
        assert site.files("incoming") == []
        for filler in fillers:
            filler.unlink()
        assert request(service.address, path="/healthz", method="GET").status == 200
        assert [post(service.address, body).status for body in sent[5:]] == [200] * 5
        wait_until(lambda: len(site.files("done")) == 6)
        assert_whole(site, sent)


@pytest.mark.parametrize("use_up", [fill, take_inodes], ids=["bytes", "inodes"])
def test_what_waits_when_the_disk_fills_up_is_kept_costs_no_attempt_and_is_processed_when_there_is_room(
    tmp_path: Path, use_up: Callable[[Path], list[Path]]
) -> None:
    with on_a_small_disk(tmp_path, "size=600k,nr_inodes=90") as (site, service):
        paused = site.spool / "crm" / "paused"
        paused.touch()
        sent = [make_body(number) for number in range(3)]
        assert [post(service.address, body).status for body in sent] == [200] * 3
        fillers = use_up(site.spool)
        paused.unlink()
        service.wait_for('event="held up"', 3)
        assert_whole(site, sent)
        kept = [file for state in ("incoming", "processing", "retry", "done") for file in site.files(state)]
        assert len(kept) == 3
        assert site.files("failed") == []
        for filler in fillers:
            filler.unlink()
        wait_until(lambda: not site.files("processing"), "it is let go")
        for file in site.files("retry"):
            os.utime(file, (0, 0))  # what it waits for is a minute
        wait_until(lambda: len(site.files("done")) == 3)
        for file in site.files("done"):
            assert '"attempt":2' not in file.with_suffix(".log").read_text().replace(" ", "")


def test_below_min_free_it_is_503_and_what_waits_is_processed_all_the_same(tmp_path: Path) -> None:
    receiver = 'min_free = "200KiB"\nworkers = 1'
    with on_a_small_disk(tmp_path, "size=600k", receiver=receiver) as (site, service):
        paused = site.spool / "crm" / "paused"
        paused.touch()
        assert post(service.address, make_body()).status == 200
        (site.spool / ".filler").write_bytes(b"x" * 450_000)
        assert post(service.address, make_body()).status == 503
        paused.unlink()
        wait_until(lambda: len(site.files("done")) == 1)
        (site.spool / ".filler").unlink()
        assert post(service.address, make_body()).status == 200
        wait_until(lambda: len(site.files("done")) == 2)


def test_on_a_disk_that_became_read_only_all_waits_and_goes_on_by_itself_when_it_is_writable(
    tmp_path: Path,
) -> None:
    with on_a_small_disk(tmp_path, "size=1m") as (site, service):
        scripts = site.root / "processors"
        away = scripts.rename(site.root / "away")  # without them nothing is begun
        sent = [make_body(number) for number in range(6)]
        assert [post(service.address, body).status for body in sent[:3]] == [200] * 3
        remount(site.spool, "ro")
        away.rename(scripts)
        service.process.send_signal(signal.SIGHUP)  # it looks at once
        service.wait_for("left alone", 3)
        assert post(service.address, sent[3]).status == 503
        assert request(service.address, path="/healthz", method="GET").status == 503
        before = cpu_seconds(service)
        time.sleep(2)
        assert cpu_seconds(service) - before < 1  # it waits, and doesn't spin
        assert_whole(site, sent)
        remount(site.spool, "rw")
        assert [post(service.address, body).status for body in sent[4:]] == [200] * 2
        wait_until(lambda: len(site.files("done")) == 5)
        assert_whole(site, sent)


def cpu_seconds(service: Service) -> float:
    """Return what time a service's processes have taken of the processor so far."""
    ticks = 0
    for process in (service.process.pid, *service.children()):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def test_a_script_that_fills_the_disk_makes_503_for_as_long_as_it_runs_and_loses_nothing(
    tmp_path: Path,
) -> None:
    script = """
[ "$SPOOLER_ATTEMPT" = 1 ] || exit 0
dd if=/dev/zero of=big bs=4096 2> /dev/null
touch "$SPOOLER_FILE.full" 2> /dev/null || :
while [ ! -e "${SPOOLER_FILE%/spool/*}/go-on" ]; do sleep 0.05; done
exit 75"""
    with on_a_small_disk(tmp_path, "size=600k", script=script) as (site, service):
        sent = [make_body(number) for number in range(3)]
        assert post(service.address, sent[0]).status == 200
        wait_until(lambda: os.statvfs(site.spool).f_bavail == 0, "the disk is full")
        assert post(service.address, sent[1]).status == 503
        (site.root / "go-on").touch()
        wait_until(lambda: os.statvfs(site.spool).f_bavail > 100, "its folder is removed")
        assert post(service.address, sent[2]).status == 200
        wait_until(lambda: len(site.files("done")) == 2)
        assert_whole(site, sent)
        assert site.files("failed") == []
