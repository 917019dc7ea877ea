"""Scripts that stay alive, in a whole processor: what its folders and logs tell, stops, pauses and kills."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import is_alive, wait_until
from running_service import Service, Site, command_line, make_body, make_site, running

from spooler.clock import SystemClock
from spooler.notification import Notification
from spooler.state import State
from spooler.storing import ReceiversSpool

PROCESSORS = (Path(__file__).parent.parent / "processors" / "README.md").read_text()
needs_php = pytest.mark.skipif(
    not shutil.which("php")
    or "posix"
    not in subprocess.run(["php", "-m"], capture_output=True, text=True, check=False).stdout.split(),
    reason="needs php-cli",
)
LOOP = f"""#!{sys.executable}
import os, signal, sys, time
from spooler.script import GiveUp, RetryLater, notifications
journal = open({{journal!r}}, "a", buffering=1)
for n in notifications():
    print(os.getpid(), n.contact, file=journal)
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = make_site(tmp_path, processor='retry_delays = ["100ms", "100ms"]')
    ReceiversSpool(made.spool, "crm", SystemClock()).prepare()
    return made


def loop(site: Site, text: str = "", name: str = "10-loop") -> None:
    """Write a script in Python that notes process and contact, and does further things for each."""
    site.script(LOOP.format(journal=str(site.root / "journal")) + text, name)


def journal(site: Site) -> list[list[str]]:
    """Return process and contact of each notification that was begun."""
    file = site.root / "journal"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def processes(site: Site) -> list[int]:
    return list(dict.fromkeys(int(line[0]) for line in journal(site)))


def store(site: Site, *contacts: int) -> None:
    spool = ReceiversSpool(site.spool, "crm", SystemClock())
    for contact in contacts:
        body = make_body(contact - 550000)
        spool.store(body, Notification.read(body))


def runs(site: Site, state: str = "done") -> list[dict[str, Any]]:
    """Return the log lines of all runs, in the order in which their notifications were received."""
    logs = [path.with_suffix(".log") for path in site.files(state)]
    lines = [json.loads(line) for log in logs if log.exists() for line in log.read_text().splitlines()]
    return [line for line in lines if "script" in line]


def command(site: Site, *arguments: str) -> str:
    first, *rest = arguments
    ended = subprocess.run(
        [*command_line(site, first), *rest], capture_output=True, text=True, cwd=site.root, check=True
    )
    return ended.stdout


def settled(site: Site, count: int) -> None:
    wait_until(lambda: len(site.files("done")) + len(site.files("failed")) == count, 30.0)
    wait_until(lambda: not site.files("processing"))


def stop(service: Service) -> None:
    """Stop it; nothing is left of it."""
    left = processes(service.site)
    assert service.stop() == 0, service.log()
    assert not any(map(is_alive, left))
    assert list(service.site.folder("processing").iterdir()) == []


def test_one_process_works_on_all_and_each_log_tells_its_own(site: Site) -> None:
    loop(site, "    print('told of', n.contact, n.data['ContactID'])\n")
    contacts = range(1, 31)
    store(site, *contacts)
    with running(site, "process") as service:
        settled(site, 30)
        stop(service)
    assert [int(contact) for _process, contact in journal(site)] == list(contacts)
    assert len(processes(site)) == 1
    assert [(run["exit"], run["attempt"]) for run in runs(site)] == [(0, 1)] * 30
    assert [run["output"] for run in runs(site)] == [
        f"told of {contact} {{'idContact': {contact}}}\n" for contact in contacts
    ]


def test_several_scripts_and_workers_each_have_their_own(site: Site) -> None:
    site.config_file.write_text(
        site.config_file.read_text().replace("[processor]", "[processor]\nworkers = 3")
    )
    loop(site)
    site.script("#!/bin/sh\necho plain $SPOOLER_CONTACT", "20-plain")
    loop(site, "    if int(n.contact) % 10 == 7: raise GiveUp('a seven')\n", "30-loop")
    store(site, *range(1, 41))
    with running(site, "process") as service:
        settled(site, 40)
        stop(service)
    assert len(site.files("failed")) == 4
    assert max(journal(site), key=lambda line: int(line[1]))[1] == "40"
    assert len(journal(site)) == 80
    assert len(processes(site)) <= 6 + 4
    for state in ("done", "failed"):
        for path in site.files(state):
            contact = str(json.loads(path.read_text())["ContactID"]["idContact"])
            lines = [json.loads(line) for line in path.with_suffix(".log").read_text().splitlines()]
            told = [(line["script"], line["exit"], line["output"]) for line in lines if "script" in line]
            last = (65, "a seven\n") if contact.endswith("7") else (0, "")
            assert told == [("10-loop", 0, ""), ("20-plain", 0, f"plain {contact}\n"), ("30-loop", *last)]


def test_while_one_waits_the_folders_and_commands_tell_of_nothing_running(site: Site) -> None:
    loop(site, "    open('litter', 'w').close()\n")
    store(site, 1)
    with running(site, "process") as service:
        settled(site, 1)
        (process,) = processes(site)
        (folder,) = site.folder("processing").glob(".work-*")
        wait_until(lambda: not any(folder.iterdir()))
        assert all(entry.name.startswith(".") for entry in site.folder("processing").iterdir())
        status = json.loads(command(site, "status", "--json"))["webhooks"]["crm"]
        assert status["states"] == {state.value: int(state is State.DONE) for state in State}
        assert command(site, "list", "processing", "--json") == ""
        assert is_alive(process)
        stop(service)


def test_a_pause_holds_it_back_and_it_goes_on(site: Site) -> None:
    loop(site)
    store(site, 1)
    paused = site.folder("incoming").parent / "paused"
    with running(site, "process") as service:
        settled(site, 1)
        paused.touch()
        store(site, 2)
        service.wait_for("held back")
        service.process.send_signal(signal.SIGHUP)
        assert len(journal(site)) == 1
        paused.unlink()
        service.process.send_signal(signal.SIGHUP)
        settled(site, 2)
        assert len(processes(site)) == 1
        stop(service)


def test_a_failed_attempt_is_tried_again_by_a_new_process_and_the_others_go_on(site: Site) -> None:
    loop(site, "    if n.contact == '2' and n.attempt == 1: raise RetryLater('not now')\n")
    store(site, 1, 2, 3)
    with running(site, "process") as service:
        settled(site, 3)
        stop(service)
    assert [contact for _process, contact in journal(site)] == ["1", "2", "3", "2"]
    assert len(processes(site)) == 2
    assert [(run["exit"], run["output"]) for run in runs(site)] == [
        (0, ""),
        (75, "not now\n"),
        (0, ""),
        (0, ""),
    ]


def test_a_death_in_hand_is_a_failed_attempt(site: Site) -> None:
    loop(site, "    if n.contact == '2': os.kill(os.getpid(), signal.SIGKILL)\n")
    store(site, 1, 2, 3)
    with running(site, "process") as service:
        settled(site, 3)
        stop(service)
    assert [run["exit"] for run in runs(site)] == [0, 0]
    assert [run["exit"] for run in runs(site, "failed")] == ["killed"] * 3


def test_what_is_no_status_is_given_up_with_words_that_say_so(site: Site) -> None:
    site.script("#!/bin/bash\necho done >&$SPOOLER_FD; sleep 60", "10-flood")
    store(site, 1)
    with running(site, "process") as service:
        settled(site, 1)
        stop(service)
    (log,) = [path.with_suffix(".log") for path in site.files("failed")]
    note = json.loads(log.read_text().splitlines()[-1])["note"]
    assert "10-flood was ended because it wrote to SPOOLER_FD what isn't one status" in note


def test_a_changed_script_counts_from_the_next_notification_on(site: Site) -> None:
    loop(site)
    store(site, 1, 2)
    with running(site, "process") as service:
        settled(site, 2)
        loop(site, "    print('new')\n", ".part")
        (site.root / "processors" / ".part").rename(site.root / "processors" / "10-loop")
        store(site, 3, 4)
        settled(site, 4)
        stop(service)
    assert [run["output"] for run in runs(site)] == ["", "", "new\n", "new\n"]
    assert len(processes(site)) == 2


def test_a_stop_interrupts_the_one_in_hand_and_the_rest_waits(site: Site) -> None:
    loop(site, "    time.sleep(30) if n.contact == '2' else None\n")
    store(site, 1, 2, 3)
    with running(site, "process") as service:
        wait_until(lambda: len(journal(site)) == 2)
        stop(service)
    assert len(site.files("done")) == 1
    assert len(site.files("incoming")) == 2
    assert [run["exit"] for run in runs(site, "incoming")] == ["interrupted"]


def test_a_stop_ends_one_that_waits_and_does_not_leave_by_itself(site: Site) -> None:
    loop(site, "time.sleep(300)\n")
    store(site, 1)
    with running(site, "process") as service:
        settled(site, 1)
        stop(service)


def test_a_stop_leaves_one_that_waits_its_time_to_clean_up(site: Site) -> None:
    loop(site, "time.sleep(0.5)\nprint('cleaned up', file=journal)\n")
    store(site, 1)
    with running(site, "process") as service:
        settled(site, 1)
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 5
        (line,) = [line for line in service.log().splitlines() if "script dismissed" in line]
    assert journal(site)[-1] == ["cleaned", "up"]
    assert "timeout" not in line


def kill(service: Service) -> None:
    """End the processor as the kernel does when memory is short; what it started lives on."""
    service.process.kill()
    service.process.wait()


STUBBORN = "    [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGHUP)]\n"


def test_after_a_crash_no_survivor_works_on_and_only_the_interrupted_one_runs_again(site: Site) -> None:
    # It has begun to work on the second, and its own environment tells of the first.
    late = "time.sleep(60); print('late', file=journal)"
    loop(site, f"{STUBBORN}    if n.contact == '2' and n.attempt == 1: {late}\n")
    store(site, 1, 2, 3)
    with running(site, "process") as service:
        wait_until(lambda: len(journal(site)) == 2)
        kill(service)
        (survivor,) = processes(site)
        assert is_alive(survivor)
    with running(site, "process") as service:
        settled(site, 3)
        assert not is_alive(survivor)
        stop(service)
    assert [line[1:] for line in journal(site)] == [["1"], ["2"], ["2"], ["3"]]
    assert [(run["attempt"], run["exit"]) for run in runs(site)] == [
        (1, 0),
        (1, "interrupted"),
        (2, 0),
        (1, 0),
    ]


def test_after_a_crash_one_that_waits_and_does_not_leave_is_ended(site: Site) -> None:
    loop(site, f"{STUBBORN}time.sleep(300)\n")
    store(site, 1)
    with running(site, "process") as service:
        settled(site, 1)
        kill(service)
    (survivor,) = processes(site)
    assert is_alive(survivor)
    with running(site, "process") as service:
        wait_until(lambda: not is_alive(survivor))
        store(site, 2)
        settled(site, 2)
        stop(service)
    assert [run["attempt"] for run in runs(site)] == [1, 1]


def test_after_a_crash_one_that_waits_leaves_by_itself(site: Site) -> None:
    loop(site)
    store(site, 1)
    with running(site, "process") as service:
        settled(site, 1)
        (process,) = processes(site)
        kill(service)
        wait_until(lambda: not is_alive(process))


@needs_php
def test_the_example_in_php_stays_alive(site: Site) -> None:
    text = PROCESSORS.partition("<!-- php -->\n```php\n")[2].partition("```")[0]
    line = "getmypid() . \" {$given['SPOOLER_CONTACT']}\\n\""
    note = f"file_put_contents('{site.root}/journal', {line}, FILE_APPEND);"
    site.script(text.replace("    $status =", f"    {note}\n    $status =", 1))
    store(site, *range(1, 21))
    spool = ReceiversSpool(site.spool, "crm", SystemClock())
    bad = b'{"Type": "contact_modified", "ContactID": {"idContact": 21}}'
    spool.store(bad, Notification.read(bad))
    with running(site, "process") as service:
        settled(site, 21)
        stop(service)
    assert len(processes(site)) == 1
    assert [int(contact) for _, contact in journal(site)] == list(range(1, 22))
    assert [run["output"] for run in runs(site)] == [
        f"contact_modified of contact {contact}, attempt 1\n" for contact in range(1, 21)
    ]
    assert [run["exit"] for run in runs(site, "failed")] == [65]


@needs_php
@pytest.mark.parametrize("leads", [True, False])
def test_the_example_in_php_is_an_ordinary_script_where_nobody_hears_it(site: Site, leads: bool) -> None:
    text = PROCESSORS.partition("<!-- php -->\n```php\n")[2].partition("```")[0]
    environment = {
        "SPOOLER_TYPE": "t",
        "SPOOLER_CONTACT": "7",
        "SPOOLER_ATTEMPT": "1",
        "PATH": os.environ["PATH"],
    }
    ended = subprocess.run(
        [site.script(text)],
        input=b'{"Data": {}}',
        capture_output=True,
        env=environment | ({} if leads else {"SPOOLER_FD": "1"}),
        start_new_session=leads,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, b"t of contact 7, attempt 1\n")


@pytest.mark.skipif(not shutil.which("jq"), reason="needs jq")
def test_the_example_in_bash_stays_alive(site: Site) -> None:
    text = PROCESSORS.partition("<!-- bash -->\n```bash\n")[2].partition("```")[0]
    archive = site.root / "archive"
    archive.mkdir()
    begun = f'ARCHIVE={archive}\necho "$$ x" >> {site.root}/journal\nwhile'
    site.script(text.replace("while", begun, 1))
    store(site, *range(1, 6))
    with running(site, "process") as service:
        settled(site, 5)
        stop(service)
    assert len(journal(site)) == 1
    kept = sorted(json.loads(path.read_text())["ContactID"]["idContact"] for path in archive.iterdir())
    assert kept == list(range(1, 6))
    assert [(run["exit"], run["output"]) for run in runs(site)] == [(0, "")] * 5


@pytest.mark.parametrize(("archive", "status"), [("archive", 0), ("missing", 75)])
def test_the_example_in_bash_ends_with_its_status_at_the_shell(site: Site, archive: str, status: int) -> None:
    text = PROCESSORS.partition("<!-- bash -->\n```bash\n")[2].partition("```")[0]
    (site.root / "archive").mkdir()
    (site.root / "body.json").write_text("{}")
    given = {"SPOOLER_FILE": f"{site.root}/body.json", "SPOOLER_ID": "1", "ARCHIVE": f"{site.root}/{archive}"}
    environment = {"PATH": os.environ["PATH"]} | given
    ended = subprocess.run([site.script(text)], env=environment, capture_output=True, check=False, timeout=60)
    assert ended.returncode == status


@pytest.mark.skipif(not shutil.which("dash"), reason="needs dash")
def test_dash_cannot_tell_a_status_and_the_attempt_has_failed(site: Site) -> None:
    site.script(f'#!{shutil.which("dash")}\necho 0 >&"$SPOOLER_FD"\nexit 0')
    store(site, 1)
    with running(site, "process") as service:
        settled(site, 1)
        stop(service)
    first = runs(site, "failed")[0]
    assert first["exit"] not in {0, 65}
    assert "Bad fd number" in first["output"]


def test_the_example_in_python_stays_alive(site: Site) -> None:
    (text,) = re.findall(r"^## Staying alive$.*?```python\n(.*?)```", PROCESSORS, re.DOTALL | re.MULTILINE)
    database = site.root / "contacts.db"
    create = "import sqlite3; db = sqlite3.connect(%r); db.execute('CREATE TABLE newsletter (contact)');"
    create += (
        "db.executemany('INSERT INTO newsletter VALUES (?)', [(str(n),) for n in range(5)]); db.commit()"
    )
    subprocess.run([sys.executable, "-c", create % str(database)], check=True)
    text = text.replace("/opt/spooler/bin/python3", sys.executable).replace(
        "/srv/crm/contacts.db", str(database)
    )
    site.script(text.replace("    if ", "    print(__import__('os').getpid())\n    if "))
    spool = ReceiversSpool(site.spool, "crm", SystemClock())
    for contact in (1, 3):
        body = make_body(contact - 550000, "contact_optout")
        spool.store(body, Notification.read(body))
    store(site, 2)
    with running(site, "process") as service:
        settled(site, 3)
        assert service.stop() == 0
    assert len({run["output"] for run in runs(site)}) == 1
    left = "import sqlite3; print(*sqlite3.connect(%r).execute('SELECT contact FROM newsletter').fetchall())"
    shown = subprocess.run(
        [sys.executable, "-c", left % str(database)], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "('0',) ('2',) ('4',)\n"
