"""`spooler readmit`: refused because of a wrong key, authentic after all."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import make_spool, spooler
from running_service import (
    KEY,
    OTHER_KEY,
    Site,
    call,
    make_body,
    make_certificate,
    make_site,
    nginx,
    post,
    public_pem,
    running,
    signed,
    wait_until,
)

from spooler.receiver import Receiver
from spooler.state import State


def fingerprint(name: str) -> tuple[str, str]:
    """Return a certificate's fingerprint, and what nginx sends of it."""
    from cryptography.hazmat.primitives import hashes

    certificate = make_certificate(name)
    return certificate.fingerprint(hashes.SHA256()).hex(), nginx(certificate)


def test_50_refused_by_a_wrong_key_are_processed_in_order_once_it_is_mended(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    site.key_file.write_bytes(public_pem(OTHER_KEY))  # the wrong one
    site.script(f'#!/bin/sh\necho "$SPOOLER_CONTACT" >> {tmp_path}/ran')
    with running(site) as service:
        bodies = [make_body(number) for number in range(50)]
        for body in bodies:
            assert post(service.address, body, KEY).status == 401
        forged = make_body(99)
        assert call_status(service.address, forged, signed(make_body(98))) == 401
        assert post(service.address, bodies[7], KEY).status == 401  # the sender repeats
        wait_until(lambda: len(site.files("rejected")) == 52)
        site.key_file.write_bytes(public_pem(KEY))

        looked = spooler(site.config_file, "readmit", "--dry-run")
        assert looked.status == 0
        assert "would be done: 51 notifications of rejected/ to incoming/" in looked.out
        asked = spooler(site.config_file, "readmit")
        assert (asked.status, "add --yes" in asked.err) == (1, True)
        assert len(site.files("rejected")) == 52

        ended = spooler(site.config_file, "readmit", "--yes")
        assert ended.status == 0
        assert ended.out.endswith("51 notifications readmitted, 1 stay in rejected/\n")
        assert ended.out.count("stays: ") == 1
        wait_until(lambda: len(site.files("done")) == 51)
    contacts = [int(line) for line in (tmp_path / "ran").read_text().split()]
    assert contacts == [550000 + number for number in range(50)]
    assert [path.read_bytes() for path in site.files("rejected")] == [forged]
    done = site.files("done")
    assert [path.read_bytes() for path in done] == [*bodies, bodies[7]]
    lines = [json.loads(line) for line in done[0].with_suffix(".log").read_text().splitlines()]
    assert [line.get("note", line.get("exit")) for line in lines][1].startswith("readmitted, by ")
    assert lines[0]["status"] == 401
    assert "a repeat of " + done[7].name in done[50].with_suffix(".log").read_text()


def call_status(address: object, body: bytes, headers: dict[str, str]) -> int:
    from running_service import request

    return request(address, body, headers).status  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with no service that runs."""
    return make_site(tmp_path / "site")


def refuse(site: Site, body: bytes, headers: dict[str, str], webhook: str = "crm", **environ: str) -> None:
    """Let the receiver refuse a request."""
    application = Receiver(site.configuration())
    answer = call(application, body, headers, path=f"/webhook/{webhook}", environ=environ)
    assert answer.status in {401, 403}


def test_its_name_is_what_the_body_says_and_keeps_the_time_of_receipt(site: Site) -> None:
    body = b'{"EventUniqueID": "abc", "Type": "contact_optout"}'
    site.key_file.write_bytes(public_pem(OTHER_KEY))
    refuse(site, body, signed(body))
    (refused,) = site.files("rejected")
    site.key_file.write_bytes(public_pem())
    ended = spooler(site.config_file, "readmit")  # one is no great number: nobody is asked
    assert ended.status == 0
    (readmitted,) = site.files("incoming")
    assert readmitted.name == f"{refused.name.split('_')[0]}_abc_contact_optout.json"
    assert readmitted.read_bytes() == body
    assert readmitted.with_suffix(".log").exists()
    assert not any(site.folder("rejected").glob("[!.]*"))


def test_a_forgery_stays_with_the_reason(site: Site) -> None:
    body = make_body()
    refuse(site, body, signed(body, OTHER_KEY))
    ended = spooler(site.config_file, "readmit")
    assert ended.status == 0
    assert "matches none" in ended.out
    assert ended.out.endswith("0 notifications readmitted, 1 stay in rejected/\n")
    assert len(site.files("rejected")) == 1


def test_what_somebody_else_was_faster_with_does_not_stay(site: Site) -> None:
    forged = make_body(9)
    refuse(site, forged, signed(forged, OTHER_KEY))
    site.key_file.write_bytes(public_pem(OTHER_KEY))
    for body in (make_body(0), make_body(1)):
        refuse(site, body, signed(body))
    site.key_file.write_bytes(public_pem())
    command = [sys.executable, "-m", "spooler", "readmit", "--yes", "--config", str(site.config_file)]
    with make_spool(site.config_file).alone():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline().startswith("stays: ")  # it has looked at all of them
        for path in site.files("rejected"):
            if path.read_bytes() != forged:
                path.rename(site.folder("incoming") / path.name)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "0 notifications readmitted, 1 stay in rejected/\n")
    assert err.count("somebody was faster") == 2


def test_without_its_log_nothing_can_be_told(site: Site) -> None:
    body = make_body()
    refuse(site, body, signed(body, OTHER_KEY))
    (refused,) = site.files("rejected")
    refused.with_suffix(".log").unlink()
    ended = spooler(site.config_file, "readmit")
    assert "there is no log that holds its headers" in ended.out
    assert refused.exists()


def test_a_webhook_without_signatures_readmits_nothing(site: Site) -> None:
    body = make_body()
    refuse(site, body, signed(body, OTHER_KEY))
    text = site.config_file.read_text().replace('public_keys = ["crm.pem"]', 'signature = "none"')
    site.config_file.write_text(text)
    assert "nothing tells whether it is authentic" in spooler(site.config_file, "readmit").out
    assert len(site.files("rejected")) == 1


def test_client_certificates_count_as_they_do_for_the_receiver(tmp_path: Path) -> None:
    wanted, header = fingerprint("wanted")
    webhooks = '[webhook.tls]\npublic_keys = ["crm.pem"]\nclient_certificates = ["%s"]\n'
    site = make_site(tmp_path / "site", webhooks=webhooks % ("0" * 64))
    sent = {"X-SSL-Client-Cert": header}
    by_proxy, around = make_body(1), make_body(2)
    refuse(site, by_proxy, signed(by_proxy) | sent, "tls")
    # Not by the proxy, and with its headers: anybody can write those.
    told = {"X-Forwarded-For": "203.0.113.9"}
    refuse(site, around, signed(around) | sent | told, "tls", REMOTE_ADDR="203.0.113.9")
    assert "readmitted, 2 stay" in spooler(site.config_file, "readmit", "--webhook", "tls").out
    site.config_file.write_text(site.config_file.read_text().replace("0" * 64, wanted))
    ended = spooler(site.config_file, "readmit")
    assert "presented by 203.0.113.9, which isn't receiver.trusted_proxy (127.0.0.1)" in ended.out
    assert [path.read_bytes() for path in site.files("incoming", "tls")] == [by_proxy]
    assert [path.read_bytes() for path in site.files("rejected", "tls")] == [around]


def test_a_missing_key_is_an_error_of_the_configuration(site: Site) -> None:
    site.key_file.write_text("no key")
    site.spool.mkdir()
    ended = spooler(site.config_file, "readmit")
    assert (ended.status, ended.err.count("\n")) == (78, 1)


def test_what_the_receiver_removed_meanwhile_is_no_error(site: Site) -> None:
    spool = make_spool(site.config_file)
    shutil.rmtree(spool.folder(State.REJECTED))
    ended = spooler(site.config_file, "readmit", "--yes")
    assert (ended.status, ended.out) == (0, "0 notifications readmitted, 0 stay in rejected/\n")
