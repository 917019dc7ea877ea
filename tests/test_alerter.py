"""The alerter: a real processor, real failures, a real mail server that is up, down or slow, and restarts."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import FakeClock, full_disk, wait_until
from mail_server import MailServer, up
from mounts import mounted, remount
from running_service import OTHER_KEY, Site, make_body, make_site, post, running

from spooler import alert_facts, alerter, history, keepsake
from spooler.alert_facts import Watch
from spooler.alert_texts import Failure
from spooler.alerter import FILE_NAME, Alerter, Desk, waiting_mails
from spooler.alerts import Facts, Memory, Told, WebhookFacts
from spooler.name import Name, log_name
from spooler.playground import free_port
from spooler.spool import WebhookSpool
from spooler.state import State


@pytest.fixture
def server() -> MailServer:
    return MailServer(free_port())


@pytest.fixture
def site(tmp_path: Path, server: MailServer) -> Site:
    return alerting_site(tmp_path / "site", server)


def alerting_site(root: Path, server: MailServer) -> Site:
    text = f'[alerts]\nsmtp = "{server.address}"\nfrom = "spooler@example.com"\nto = ["admin@example.com"]\n'
    made = make_site(root, webhooks=text)
    made.script("#!/bin/sh\nexit 65\n")
    return made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes moments."""
    for name in ("LOOK_SECONDS", "_PAUSE_SECONDS", "_AGAIN_SECONDS", "_LONGEST_AGAIN_SECONDS"):
        monkeypatch.setattr(alerter, name, 0.05)


@contextmanager
def alerting(site: Site) -> Iterator[Alerter]:
    for webhook in site.configuration().webhooks:
        WebhookSpool(site.spool, webhook).prepare()
    with Alerter(site.configuration()) as running_alerter:
        yield running_alerter


def fail(site: Site, number: int = 0, *, at: datetime | None = None) -> str:
    """Put a notification into `failed/` as the processor leaves it."""
    moment = at or datetime.now(UTC)
    name = str(Name(moment, f"id-{number}", "t"))
    (site.folder("failed") / name).write_bytes(b"{}")
    history.append(site.folder("failed") / log_name(name), [history.note(moment, "given up: 10-x said no")])
    return name


def desk(site: Site, clock: FakeClock) -> Desk:
    settings = site.configuration().alerts
    assert settings is not None
    site.spool.mkdir(exist_ok=True)
    return Desk(settings, site.spool, clock)


NO_LIMIT = '[receiver]\nmin_free = "0KiB"'
FAILED = Facts({"crm": WebhookFacts(failures=(Failure("a.json", "a", "given up: no"),))})


def test_a_failure_and_refusals_in_a_real_run_are_mailed(site: Site, server: MailServer) -> None:
    with up(server), running(site) as service:
        (address,) = service.addresses
        assert post(address, make_body(), OTHER_KEY).status == 401
        assert post(address, make_body()).status == 200
        wait_until(lambda: {"1 failed today", "accepts again"} <= set(server.subjects), 30)
        service.wait_for('event="mail sent"')
    (failed,) = (mail for mail in server.mails if mail["Subject"].endswith("1 failed today"))
    (file,) = site.files("failed")
    text = failed.get_content()
    assert file.name in text
    assert "10-script said that it will never work" in text
    assert failed["Subject"].startswith("spooler ")
    assert " crm: " in failed["Subject"]
    assert failed["To"] == "admin@example.com"


def test_nothing_is_mailed_twice_after_restarts_and_a_kill(site: Site, server: MailServer) -> None:
    with up(server):
        for _start in range(2):
            with running(site) as service:
                assert post(service.addresses[0], make_body()).status == 200
                wait_until(lambda: server.mails, 30)
                service.wait_for("event=failed")
                time.sleep(1.5)
                service.process.send_signal(signal.SIGTERM)
                service.process.wait(30)
        with running(site) as service:
            time.sleep(2)
            os.killpg(service.process.pid, signal.SIGKILL)
    assert server.subjects == ["1 failed today"]
    memory = keepsake.read(site.spool / FILE_NAME, Memory)
    assert memory is not None
    assert memory.webhooks["crm"].failed == 2


@pytest.mark.usefixtures("quick")
def test_while_the_server_is_down_mails_wait_and_are_sent_when_it_is_up(
    site: Site, server: MailServer
) -> None:
    with alerting(site) as running_alerter:
        for number in range(12):
            running_alerter.failed("crm", fail(site, number))
            time.sleep(0.03)
        wait_until(lambda: waiting_mails(site.spool))
        time.sleep(0.3)
        with up(server):
            wait_until(lambda: server.mails)
            wait_until(lambda: not waiting_mails(site.spool))
    assert len(server.mails) == 1  # those that had become old meanwhile are replaced


@pytest.mark.usefixtures("quick")
def test_what_is_due_survives_a_restart(site: Site, server: MailServer) -> None:
    with alerting(site) as running_alerter:
        running_alerter.failed("crm", fail(site))
        wait_until(lambda: waiting_mails(site.spool))
    with up(server), alerting(site):
        wait_until(lambda: server.mails)
    assert server.subjects == ["1 failed today"]


@pytest.mark.usefixtures("quick")
def test_a_failure_that_a_crash_kept_from_being_counted_is_counted(site: Site, server: MailServer) -> None:
    with up(server):
        with alerting(site):
            wait_until((site.spool / FILE_NAME).exists)
        fail(site, 1)
        by_hand = site.folder("failed") / "by hand.json"
        by_hand.write_bytes(b"{}")
        for _ in range(2):
            with alerting(site):
                wait_until(lambda: server.mails)
                time.sleep(0.2)
    assert server.subjects == ["1 failed today"]
    memory = keepsake.read(site.spool / FILE_NAME, Memory)
    assert memory is not None
    assert memory.webhooks["crm"].failed == 1


@pytest.mark.usefixtures("quick")
def test_a_slow_server_holds_up_nobody(site: Site, server: MailServer) -> None:
    server.answer_after_seconds = 3.0
    with up(server), alerting(site) as running_alerter:
        running_alerter.failed("crm", fail(site))
        time.sleep(0.3)
        begun = time.monotonic()
        for number in range(1000):
            running_alerter.failed("crm", f"{number}.json")
        assert time.monotonic() - begun < 0.5
        begun = time.monotonic()
    assert time.monotonic() - begun < 3  # it isn't waited for at the end either


def test_a_server_that_is_away_is_tried_ever_more_rarely(
    site: Site, clock: FakeClock, server: MailServer
) -> None:
    waiting = desk(site, clock)
    waiting.take_in(FAILED)
    tried = []
    for _second in range(5000):
        waiting.send_due()
        tried.append(waiting._try_at - clock.monotonic())
        clock.advance(1)
    pauses = sorted({round(pause) for pause in tried if pause > 0} & {30, 60, 120, 240, 480, 960, 1800})
    assert pauses == [30, 60, 120, 240, 480, 960, 1800]
    assert max(tried) == 1800
    with up(server):
        clock.advance(1800)
        waiting.send_due()
    assert server.subjects == ["1 failed today"]


NAIVE = b'{"since": "2026-11-24T00:00:00", "counted_to": "2026-11-24T00:00:00"}'


@pytest.mark.parametrize("content", [b"", b"{", b'{"day": 4}', b"\xff" * 100, NAIVE])
def test_a_memory_that_is_torn_begins_anew(site: Site, clock: FakeClock, content: bytes) -> None:
    site.spool.mkdir()
    (site.spool / FILE_NAME).write_bytes(content)
    waiting = desk(site, clock)
    waiting.take_in(FAILED)
    assert waiting_mails(site.spool) == 1
    assert desk(site, clock).memory.webhooks["crm"].failed == 1


def test_a_memory_from_the_future_is_no_obstacle(site: Site, clock: FakeClock) -> None:
    later = clock.now() + timedelta(days=400)
    keepsake.write(site.spool / FILE_NAME, Memory(since=later, counted_to=later, day="2099-01-01"))
    waiting = desk(site, clock)
    assert waiting.memory.counted_to == clock.now()
    waiting.take_in(FAILED)
    assert len(waiting.memory.due) == 1


def test_on_a_full_disk_mails_are_sent_all_the_same(site: Site, clock: FakeClock, server: MailServer) -> None:
    waiting = desk(site, clock)
    with up(server), full_disk():
        waiting.take_in(Facts({}, shortage="only 0 B free", roomy=False))
        waiting.send_due()
    assert server.subjects == ["disk full"]


def test_what_a_full_disk_kept_from_being_noted_is_noted_when_there_is_room(
    site: Site, clock: FakeClock
) -> None:
    waiting = desk(site, clock)
    with full_disk():
        waiting.take_in(FAILED)
    assert waiting_mails(site.spool) == 0
    waiting.take_in(Facts({}))
    assert waiting_mails(site.spool) == 1


@pytest.mark.usefixtures("quick")
def test_a_disk_that_became_read_only_is_told_and_its_end_too(
    tmp_path: Path, server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_facts, "SURVEY_SECONDS", 0.05)
    monkeypatch.setattr(alert_facts, "_SURVEY_SHARE", 1)
    with up(server), mounted(tmp_path / "site" / "spool", "size=1m"):
        site = alerting_site(tmp_path / "site", server)
        site.config_file.write_text(site.config_file.read_text().replace("[receiver]", NO_LIMIT))
        with alerting(site):
            wait_until((site.spool / FILE_NAME).exists)
            remount(site.spool, "ro")
            wait_until(lambda: server.mails)
            remount(site.spool, "rw")
            wait_until(lambda: len(server.mails) == 2)
        assert list(site.folder("rejected").iterdir()) == []
    assert server.subjects == ["disk can't be written", "disk is well again"]
    assert "/crm/rejected: Read-only file system." in server.mails[0].get_content()


@pytest.mark.usefixtures("quick")
def test_a_name_that_is_not_utf8_is_mailed_counted_once_and_noted(site: Site, server: MailServer) -> None:
    name = os.fsdecode(b"caf\xe9.json")
    with up(server):
        for _start in range(2):
            with alerting(site) as running_alerter:
                if not server.mails:
                    log = site.folder("failed") / log_name(name)
                    (site.folder("failed") / name).write_bytes(b'{"EventUniqueID": "abc-1"}')
                    lines = [history.note(datetime.now(UTC), os.fsdecode(b"given up: 20-caf\xe9 said no"))]
                    history.append(log, lines)
                    running_alerter.failed("crm", name)
                wait_until(lambda: server.mails)
                time.sleep(0.3)
    (mail,) = server.mails
    assert mail["Subject"].endswith("1 failed today")
    assert "  caf\\udce9.json" in mail.get_content()
    assert "20-caf\\udce9 said no" in mail.get_content()
    assert "spooler retry abc-1" in mail.get_content()
    memory = keepsake.read(site.spool / FILE_NAME, Memory)
    assert memory is not None
    assert memory.webhooks["crm"].failed == 1


def test_what_cannot_be_written_down_is_mailed_all_the_same(
    site: Site, clock: FakeClock, server: MailServer
) -> None:
    waiting = desk(site, clock)
    waiting.memory.day = "\udce9"
    with up(server):
        waiting.memory.webhooks["\udce9"] = Told()
        waiting.take_in(FAILED)
        waiting.send_due()
    assert server.subjects == ["1 failed today"]


def test_a_mail_that_the_server_refuses_holds_up_no_other(
    site: Site, clock: FakeClock, server: MailServer
) -> None:
    server.unwanted = "1 failed today"
    waiting = desk(site, clock)
    with up(server):
        waiting.take_in(replace(FAILED, shortage="only 0 B free", roomy=False))
        first = next(iter(waiting.memory.due.values()))
        assert first.subject.endswith(server.unwanted)
        waiting.send_due()
        assert server.subjects == ["disk full"]
        waiting = desk(site, clock)  # what was refused, and when it is tried again, survive a restart
        for _minute in range(24 * 60):
            waiting.send_due()
            clock.advance(60)
        assert 45 < server.refusals < 70
        assert len(waiting.memory.due) == 1
        clock.advance(3600)
        waiting.send_due()
        assert waiting_mails(site.spool) == 0
        waiting.take_in(Facts({}, roomy=True))
        waiting.send_due()
    assert server.subjects == ["disk full", "disk is well again"]


def test_a_mail_that_the_server_takes_later_holds_up_no_other(
    site: Site, clock: FakeClock, server: MailServer
) -> None:
    server.unwanted, server.unwanted_answer = "1 failed today", "451 greylisted"
    waiting = desk(site, clock)
    with up(server):
        waiting.take_in(replace(FAILED, shortage="only 0 B free", roomy=False))
        waiting.send_due()
        assert server.mails == []
        clock.advance(31)
        waiting = desk(site, clock)
        waiting.send_due()
        assert server.subjects == ["disk full"]
        assert waiting_mails(site.spool) == 1
        server.unwanted = ""
        clock.advance(31)
        waiting.send_due()
    assert server.subjects == ["disk full", "1 failed today"]


def test_a_mail_that_is_wanted_after_all_is_sent(site: Site, clock: FakeClock, server: MailServer) -> None:
    server.refused = {"admin@example.com"}
    waiting = desk(site, clock)
    with up(server):
        waiting.take_in(FAILED)
        waiting.send_due()
        server.refused = set()
        waiting.send_due()
        assert server.mails == []
        clock.advance(31)
        waiting.send_due()
    assert server.subjects == ["1 failed today"]


def test_folders_are_looked_into_once_a_minute(site: Site, clock: FakeClock) -> None:
    WebhookSpool(site.spool, "crm", clock).prepare()
    folders = Alerter(site.configuration(), clock=clock)._folders
    watch = Watch(folders, 0, clock)
    assert watch.facts([]).webhooks["crm"].surveyed
    clock.advance(59)
    assert not watch.facts([]).webhooks["crm"].surveyed
    clock.advance(2)
    (site.folder(State.INCOMING) / str(Name(clock.now(), "a", "t"))).touch()
    facts = watch.facts([]).webhooks["crm"]
    assert (facts.surveyed, facts.received, facts.oldest_waiting) == (True, clock.now(), clock.now())


def test_where_no_alerts_are_configured_nothing_is_written(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with alerting(site) as running_alerter:
        running_alerter.failed("crm", "a.json")
    assert not (site.spool / FILE_NAME).exists()
