"""Sudden ends of any of the processes at any moment: what was answered with 200 is there, once, and whole."""

import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from running_service import HOST, Load, Service, Site, is_alive, make_site, running, wait_until

ROUNDS = ("all", "a child", "the parent", "all", "a child", "all")
STATES = ("incoming", "processing", "retry", "done", "failed")


def test_no_kill_loses_repeats_or_tears_what_was_answered_with_200(tmp_path: Path) -> None:
    processor = 'workers = 2\nretry_delays = ["1s", "1s", "1s", "1s"]'
    site = make_site(tmp_path / "site", receiver="workers = 2", processor=processor)
    processed = site.root / "processed"
    site.script(f'#!/bin/sh\necho "$SPOOLER_ID" >> "{processed}"\n')
    with running(site) as service:
        address = service.address
        fix_port(site, service)
    with Load(address, senders=8, pause_seconds=0.1) as load:
        for what in ROUNDS:
            crash(site, what, load)
    with running(site) as service:
        wait_until(lambda: not any(site.files(state) for state in ("incoming", "processing", "retry")))
        assert service.stop() == 0
    assert_nothing_is_lost_repeated_or_torn(site, load)
    assert {id_of(body) for body in load.stored} <= set(processed.read_text().split())
    assert_no_litter(site)


def crash(site: Site, what: str, load: Load) -> None:
    """Start everything, and kill it or some of it at a random moment while notifications come in."""
    answered = load.statuses[200]
    with running(site) as service:
        wait_until(lambda: load.statuses[200] > answered, "the service answers again")
        time.sleep(random.uniform(0, 0.3))
        children = service.children()
        if what == "the parent":
            service.process.kill()
            service.process.wait()
            wait_until(lambda: not any(map(is_alive, children)), "the children end")
        elif what == "a child":
            os.kill(random.choice(children), signal.SIGKILL)
            wait_until(lambda: service.log().count('event="process ended"') == 1)
            time.sleep(random.uniform(0, 0.3))
        # What is left is killed at once.


def fix_port(site: Site, service: Service) -> None:
    """Let the next starts listen where this one does."""
    written = site.config_file.read_text()
    site.config_file.write_text(written.replace(f"{HOST}:0", f"{HOST}:{service.address[1]}"))


def id_of(body: bytes) -> str:
    found = json.loads(body)["EventUniqueID"]
    assert isinstance(found, str)
    return found


def assert_nothing_is_lost_repeated_or_torn(site: Site, load: Load) -> None:
    on_disk = Counter(file.read_bytes() for state in STATES for file in site.files(state))
    assert len(load.stored) > 50
    assert set(load.statuses) <= {0, 200}
    assert {body for body in load.stored if on_disk[body] != 1} == set()
    assert on_disk.keys() <= set(load.sent)
    assert max(on_disk.values()) == 1
    for file in site.files("done"):
        lines = [json.loads(line) for line in file.with_suffix(".log").read_text().splitlines()]
        assert 0 in {line.get("exit") for line in lines}


def assert_no_litter(site: Site) -> None:
    """Check for what no start swept; what was being written is kept for an hour."""
    left = [path for path in site.spool.rglob("*") if path.name.startswith(".") and path.name != ".metrics"]
    assert [path for path in left if path.parent.name != "incoming" or path.name[:5] != ".new-"] == []
    assert list(site.folder("processing").iterdir()) == []
    logs = [path for path in site.all_files() if path.suffix == ".log"]
    assert [log for log in logs if not log.with_suffix(".json").exists()] == []
