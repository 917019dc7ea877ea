"""A notification that kills the processor, over and over: it must not be able to do so for ever."""

import json
from pathlib import Path

import pytest
from running_service import Site, make_site, post, running, wait_until

# For one contact the script kills its parent, which is the processor itself.
SCRIPT = """#!/bin/sh
if [ "$SPOOLER_CONTACT" = 666 ]; then
    kill -9 $PPID
    sleep 30
fi
echo "$SPOOLER_ID attempt $SPOOLER_ATTEMPT" >> {journal}
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = make_site(tmp_path, receiver="workers = 1", processor='retry_delays = ["1s", "1s"]')
    site.script(SCRIPT.format(journal=tmp_path / "journal"))
    return site


def body(contact: int, identifier: str) -> bytes:
    members = {"Type": "contact_modified", "EventUniqueID": identifier, "ContactID": {"idContact": contact}}
    return json.dumps(members).encode()


def test_it_ends_in_failed_after_its_attempts_and_the_others_are_processed(site: Site) -> None:
    with running(site) as service:
        for number, contact in enumerate([1, 666, 2, 666, 3]):
            assert post(service.address, body(contact, f"n-{number}")).status == 200
        wait_until(lambda: len(site.files("failed")) == 2 and len(site.files("done")) == 3)
        assert service.stop() == 0
    journal = (site.root / "journal").read_text().splitlines()
    assert sorted(journal) == ["n-0 attempt 1", "n-2 attempt 1", "n-4 attempt 1"]
    for failed in site.files("failed"):
        lines = [json.loads(line) for line in failed.with_suffix(".log").read_text().splitlines()]
        runs = [line for line in lines if "script" in line]
        assert [(run["attempt"], run["exit"]) for run in runs] == [(n, "interrupted") for n in (1, 2, 3)]
        assert lines[-1]["note"] == "given up: none of 3 attempts is left"
    assert not list(site.folder("processing").iterdir())


ALONGSIDE = """#!/bin/sh
[ "$SPOOLER_CONTACT" = 666 ] && sleep 0.2 && kill -9 $PPID && sleep 30
sleep 0.6
echo "$SPOOLER_ID attempt $SPOOLER_ATTEMPT" >> {journal}
"""


def test_it_takes_none_of_those_along_that_run_beside_it(tmp_path: Path) -> None:
    site = make_site(tmp_path, receiver="workers = 1", processor='workers = 4\nretry_delays = ["1s", "1s"]')
    site.script(ALONGSIDE.format(journal=tmp_path / "journal"))
    with running(site) as service:
        paused = site.folder("incoming").parent / "paused"
        paused.touch()
        for number, contact in enumerate([1, 666, 2, 3]):
            assert post(service.address, body(contact, f"n-{number}")).status == 200
        paused.unlink()
        wait_until(lambda: len(site.files("failed")) + len(site.files("done")) == 4)
        assert service.stop() == 0
    assert [path.name.split("_")[1] for path in site.files("failed")] == ["n-1"]
