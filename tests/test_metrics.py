"""Metrics: right after real traffic, well named, and there while nothing runs."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import spooler
from conftest import FakeClock, wait_until, write_config
from prometheus_client.parser import text_string_to_metric_families
from running_service import OTHER_KEY, Site, call, command_line, make_body, make_site, post, request, running

from spooler import config, metrics
from spooler.metrics import Metrics
from spooler.playground import free_port
from spooler.receiver import Receiver

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Samples:
    """Return the numbers by name and labels, as Prometheus reads them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, tuple(sorted(labels.items()))))


def printed(site: Site) -> Samples:
    run = subprocess.run(
        command_line(site, "metrics"), capture_output=True, text=True, check=True, timeout=30
    )
    return parse(run.stdout)


SCRIPT = '#!/bin/sh\ncase "$SPOOLER_TYPE" in contact_bad) exit 65;; esac\nexit 0\n'


def test_after_real_traffic_the_numbers_are_right_over_http_and_while_nothing_runs(tmp_path: Path) -> None:
    port = free_port()
    site = make_site(tmp_path / "site", webhooks=f'[metrics]\nlisten = "127.0.0.1:{port}"')
    site.script(SCRIPT)
    with running(site) as service:
        (address,) = service.addresses
        for number in range(7):
            assert post(address, make_body(number)).status == 200
        assert post(address, make_body(8, "contact_bad")).status == 200
        for _ in range(3):
            assert post(address, make_body(), OTHER_KEY).status == 401
        assert request(address, make_body()).status == 401
        assert request(address, make_body(), path="/webhook/none").status == 404
        assert request(address, b"x", {"Content-Length": "9999999"}).status == 413
        wait_until(lambda: len(site.files("done")) == 7 and len(site.files("failed")) == 1, 30)
        time.sleep(1.5)
        reply = request(("127.0.0.1", port), path="/metrics", method="GET")
        assert reply.headers["content-type"].startswith("text/plain; version=")
        assert request(("127.0.0.1", port), path="/", method="GET").status == 404
        assert request(("127.0.0.1", port), path="/metrics", method="POST").status == 405
        scraped = parse(reply.body.decode())
    assert of(scraped, "spooler_oldest_waiting_seconds", webhook="crm") == 0
    for samples in (scraped, printed(site)):
        assert of(samples, "spooler_requests_total", webhook="crm", status="200") == 8
        assert of(samples, "spooler_requests_total", webhook="crm", status="401") == 4
        assert of(samples, "spooler_requests_total", webhook="crm", status="413") == 1
        assert of(samples, "spooler_requests_total", webhook="", status="404") == 1
        assert of(samples, "spooler_refused_requests_total", webhook="crm", reason="wrong_signature") == 3
        assert of(samples, "spooler_refused_requests_total", webhook="crm", reason="no_signature") == 1
        assert of(samples, "spooler_refused_requests_total", webhook="crm", reason="too_large") == 1
        assert of(samples, "spooler_consecutive_errors", webhook="crm") == 5
        assert of(samples, "spooler_confirm_duration_seconds_count", webhook="crm") == 8
        assert of(samples, "spooler_confirm_duration_seconds_bucket", webhook="crm", le="+Inf") == 8
        assert 0 < (of(samples, "spooler_confirm_duration_seconds_sum", webhook="crm") or 0) < 80
        assert of(samples, "spooler_script_duration_seconds_count", webhook="crm", script="10-script") == 8
        assert of(samples, "spooler_script_exits_total", webhook="crm", script="10-script", exit="0") == 7
        assert of(samples, "spooler_script_exits_total", webhook="crm", script="10-script", exit="65") == 1
        assert of(samples, "spooler_turns_total", webhook="crm", state="done") == 7
        assert of(samples, "spooler_notifications", webhook="crm", state="done") == 7
        assert of(samples, "spooler_notifications", webhook="crm", state="failed") == 1
        assert of(samples, "spooler_notifications", webhook="crm", state="incoming") == 0
        received = of(samples, "spooler_last_received_timestamp_seconds", webhook="crm")
        assert received is not None
        assert abs(received - time.time()) < 60
        assert (of(samples, "spooler_disk_free_bytes") or 0) > 0
        assert of(samples, "spooler_paused", webhook="crm") == 0
    with running(site, "receive") as service:
        assert post(service.addresses[0], make_body(9)).status == 200
    again = printed(site)
    assert of(again, "spooler_requests_total", webhook="crm", status="200") in {8, 9}  # nothing fell


def test_a_port_that_is_taken_is_an_error_of_one_line(tmp_path: Path) -> None:
    port = free_port()
    site = make_site(
        tmp_path / "site",
        webhooks=f'[metrics]\nlisten = "127.0.0.1:{port}"',
        receiver=f'listen = "127.0.0.1:{port}"',
    )
    ended = subprocess.run(command_line(site, "run"), capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 78
    line = ended.stderr.splitlines()[-1]
    assert line == f"spooler: metrics.listen: can't listen on 127.0.0.1:{port}: Address already in use"


def test_without_the_table_nothing_listens_and_the_library_is_not_loaded(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with running(site) as service:
        assert "metrics ready" not in service.log()
    code = (
        "import spooler.script, spooler.cli, spooler.service, sys; print('prometheus_client' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_names_and_units_follow_the_conventions(tmp_path: Path) -> None:
    known = Metrics(config.load(write_config(tmp_path)))
    families = list(text_string_to_metric_families(known.text().decode()))
    assert len(families) > 12
    for family in families:
        assert family.name.startswith("spooler_")
        assert family.documentation.endswith(".")
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)
        else:
            assert not family.name.endswith("_total")
        assert not any(f"_{unit}" in family.name for unit in ("ms", "milliseconds", "minutes", "kb", "mib"))
        if any(word in family.name for word in ("duration", "oldest", "timestamp")):
            assert family.name.endswith("_seconds")


def test_folders_that_are_missing_or_unreadable_leave_out_their_own_numbers(tmp_path: Path) -> None:
    path = write_config(tmp_path, webhooks=("crm", "other"))
    (tmp_path / "spool" / "crm").mkdir(parents=True)
    (tmp_path / "spool" / "crm" / "incoming").write_text("no folder")
    samples = parse(Metrics(config.load(path)).text().decode())
    assert of(samples, "spooler_notifications", webhook="crm", state="done") is None
    assert of(samples, "spooler_notifications", webhook="other", state="done") == 0


def test_what_could_not_be_read_is_told_beside_the_numbers_and_ends_with_1(tmp_path: Path) -> None:
    path = write_config(tmp_path, webhooks=("crm", "other"))
    (tmp_path / "spool" / "crm").mkdir(parents=True)
    (tmp_path / "spool" / "crm" / "incoming").write_text("no folder")
    ended = spooler(path, "metrics")
    assert (ended.status, ended.err) == (1, f"spooler: {tmp_path}/spool/crm/incoming: Not a directory\n")
    assert of(parse(ended.out), "spooler_notifications", webhook="other", state="done") == 0
    shutil.rmtree(tmp_path / "spool")  # as before the first start
    ended = spooler(path, "metrics")
    assert (ended.status, ended.err) == (0, "")
    assert of(parse(ended.out), "spooler_disk_free_bytes")


def test_ages_pauses_and_runs_of_errors_are_told(tmp_path: Path, clock: FakeClock) -> None:
    site = make_site(tmp_path / "site")
    receiver = Receiver(site.configuration(), clock=clock)
    (site.spool / "crm" / "paused").touch()
    call(receiver, b"{}")
    clock.advance(90)
    (site.folder("incoming") / "by hand.json").touch()
    os.utime(site.folder("incoming") / "by hand.json", (clock.now().timestamp() - 90,) * 2)
    samples = parse(Metrics(site.configuration(), clock=clock).text().decode())
    assert of(samples, "spooler_paused", webhook="crm") == 1
    assert of(samples, "spooler_oldest_waiting_seconds", webhook="crm") == pytest.approx(90, abs=0.1)
    since = of(samples, "spooler_errors_since_timestamp_seconds", webhook="crm")
    assert since == pytest.approx(clock.now().timestamp() - 90, abs=0.01)


def test_counting_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_COUNTING_SHARE", 1e6)
    site = make_site(tmp_path / "site")
    known = Metrics(site.configuration())
    first = known.text()
    site.folder("incoming").mkdir(parents=True)
    (site.folder("incoming") / "a.json").touch()
    assert known.text() == first
