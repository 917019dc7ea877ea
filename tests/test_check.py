"""`spooler check`: what is right, what is worth a notice, what is wrong."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import NOBODY, KeyPair, write_config, write_script
from mail_server import MailServer, up
from running_service import make_site, running

from spooler import check, config, keepsake, refusals
from spooler.alerter import FILE_NAME
from spooler.alerts import Mail, Memory
from spooler.check import Finding, Verdict
from spooler.playground import free_port
from spooler.spool import WebhookSpool
from spooler.state import State

RECEIVER = '[receiver]\nlisten = "127.0.0.1:{port}"\n'


def look(path: Path) -> list[Finding]:
    return list(check.examine(config.load(path)))


def texts(findings: list[Finding], verdict: Verdict) -> str:
    return "\n".join(f"{one.subject}: {one.text}" for one in findings if one.verdict is verdict)


@pytest.fixture
def path(tmp_path: Path, key_pair: KeyPair) -> Path:
    write_script(tmp_path / "processors", "10-runs", "exit 0")
    return write_config(tmp_path, RECEIVER.format(port=free_port()), key=key_pair.public_pem)


def test_a_fresh_installation_has_nothing_wrong_and_looking_makes_nothing(path: Path) -> None:
    before = sorted(path.parent.rglob("*"))
    findings = look(path)
    assert texts(findings, Verdict.WRONG) == ""
    right, notice = texts(findings, Verdict.RIGHT), texts(findings, Verdict.NOTICE)
    assert "PEM public key, 2048 bits, SHA256:" in right
    assert "10-runs: runs" in right
    assert "incoming, processing, retry, done, failed, rejected will be made" in notice
    assert "nothing answers at 127.0.0.1:" in notice
    assert sorted(path.parent.rglob("*")) == before


def test_every_script_is_told_with_what_keeps_it_from_running(path: Path) -> None:
    folder = path.parent / "processors"
    write_script(folder, "20-off.disabled", "")
    write_script(folder / "contact_optout", "_30-hidden", "")
    write_script(folder / "contact_optout", "40-runs", "")
    (folder / "README.md").touch()
    findings = look(path)
    assert f"{folder}/contact_optout/40-runs: runs" in texts(findings, Verdict.RIGHT)
    notice = texts(findings, Verdict.NOTICE)
    assert "20-off.disabled: ignored, because its name ends in .disabled" in notice
    assert "_30-hidden: ignored, because its name starts with _" in notice
    assert f"README.md: ignored, because it has no run bit (chmod +x {folder}/README.md)" in notice


def test_a_script_that_can_never_be_started_is_wrong(path: Path) -> None:
    folder = path.parent / "processors"
    bad = {
        "20-gone": (b"#!/nowhere/php -q\n", "its interpreter (#!/nowhere/php -q) doesn't exist"),
        "30-windows": (b"#!/bin/sh\r\nexit 0\r\n", "its first line ends in CR"),
        "40-windows-env": (b"#!/usr/bin/env python3\r\n", "its first line ends in CR"),
        "50-bare": (b"echo hello\n", "neither a program for this machine nor a script with a #! line"),
        "60-empty": (b"", "neither a program for this machine nor a script with a #! line"),
    }
    for name, (content, _why) in bad.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o755)
    (folder / "70-program").symlink_to("/bin/true")
    write_script(folder, "80-relative", "").write_text("#!bin/here\n")
    findings = look(path)
    wrong, right = texts(findings, Verdict.WRONG), texts(findings, Verdict.RIGHT)
    for name, (_content, why) in bad.items():
        assert f"{folder / name} can't be executed: {why}" in wrong
        assert f"{name}: runs" not in right
    assert all(f"{name}: runs" in right for name in ("10-runs", "70-program", "80-relative"))


def test_a_script_whose_program_env_does_not_find_is_told(path: Path) -> None:
    folder = path.parent / "processors"
    lines = {
        "20-gone": ("#!/usr/bin/env no-such-php", "no-such-php"),
        "30-words": ("#! /usr/bin/env  sh -eu", "sh -eu"),
        "40-split": ("#!/usr/bin/env -S no-such-php -q", "no-such-php"),
        "50-found": ("#!/usr/bin/env sh", ""),
        "60-split": ("#!/usr/bin/env -S sh -eu", ""),
        "70-option": ("#!/usr/bin/env -i no-such-php", ""),
        "80-setting": ("#!/usr/bin/env -S A=1 no-such-php", ""),
        "90-bare": ("#!/usr/bin/env", ""),
        "95-nothing": ("#!", ""),
    }
    for name, (line, _program) in lines.items():
        write_script(folder, name, "").write_text(f"{line}\n")
    findings = look(path)
    notice, right = texts(findings, Verdict.NOTICE), texts(findings, Verdict.RIGHT)
    for name, (_line, program) in lines.items():
        told = (
            f"{folder / name}: env finds no program `{program}` on this PATH: install it, or mend the #! line"
        )
        assert (told in notice, f"{name}: runs" in right) == (bool(program), not program)


def test_a_script_that_cannot_be_looked_at_is_wrong(path: Path) -> None:
    folder = path.parent / "processors"
    (folder / "10-runs").unlink()
    (folder / "20-broken").symlink_to("nowhere")
    (folder / "30-off.disabled").symlink_to("nowhere")
    findings = look(path)
    why = "it can't be looked at: No such file or directory (mend it, or remove it)"
    wrong = texts(findings, Verdict.WRONG)
    assert wrong == f"webhook crm: {folder}/20-broken: notifications wait for it, because {why}"
    notice = texts(findings, Verdict.NOTICE)
    assert "30-off.disabled: ignored, because its name ends in .disabled" in notice
    assert "straight to done/" not in notice


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_not_run_a_script_is_told_that_it_is_wrong(open_to_all: Path) -> None:
    path = write_config(open_to_all, RECEIVER.format(port=free_port()))
    write_script(open_to_all / "processors", "10-roots", "").chmod(0o700)
    told = open_to_all / "told"
    told.touch()
    os.chown(told, NOBODY, NOBODY)
    look(path)  # loads what it needs of Python, which may lie where that user sees nothing
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setuid(NOBODY)
            told.write_text(texts(look(path), Verdict.WRONG))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert f"10-roots: ignored, because user id {NOBODY} may not run it" in told.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to others")
def test_refusals_that_the_service_cannot_count_are_wrong(open_to_all: Path) -> None:
    path = write_config(open_to_all, RECEIVER.format(port=free_port()))
    spool = WebhookSpool(open_to_all / "spool", "crm")
    for state in State:
        spool.folder(state).mkdir(parents=True)
    for folder in (spool.root, spool.base, *(spool.folder(state) for state in State)):
        os.chown(folder, NOBODY, NOBODY)
    counted = spool.folder(State.REJECTED) / refusals.FILE_NAME
    counted.touch(0o640)
    told = (
        f"{counted}: can't be read and written by {pwd.getpwuid(NOBODY).pw_name}: nobody is told of refusals"
    )
    assert told in texts(look(path), Verdict.WRONG)
    os.chown(counted, NOBODY, NOBODY)
    assert told not in texts(look(path), Verdict.WRONG)


def test_a_key_that_cannot_be_used_is_wrong(path: Path, key_pair: KeyPair) -> None:
    text = path.read_text().replace(str(key_pair.public_pem), str(key_pair.private_pem))
    path.write_text(text)
    wrong = texts(look(path), Verdict.WRONG)
    assert wrong.startswith(f"webhook crm: {key_pair.private_pem}: is a private key")


def test_no_folder_of_scripts_is_wrong_and_an_empty_one_worth_a_notice(path: Path) -> None:
    (path.parent / "processors" / "10-runs").unlink()
    assert "no script runs: every notification goes straight to done/" in texts(look(path), Verdict.NOTICE)
    (path.parent / "processors").rmdir()
    assert "nothing is processed until it can" in texts(look(path), Verdict.WRONG)


def test_too_little_room_is_wrong(path: Path) -> None:
    path.write_text(path.read_text().replace("[receiver]", '[receiver]\nmin_free = "999TiB"'))
    assert "min_free is 999.0 TiB" in texts(look(path), Verdict.WRONG)


def test_unsigned_webhooks_and_pauses_are_pointed_at(tmp_path: Path) -> None:
    path = write_config(tmp_path, RECEIVER.format(port=free_port()))
    (tmp_path / "spool" / "crm").mkdir(parents=True)
    (tmp_path / "spool" / "crm" / "paused").touch()
    notice = texts(look(path), Verdict.NOTICE)
    assert 'accepts unsigned requests from anybody (signature = "none")' in notice
    assert "paused: spooler resume crm lets it go on" in notice


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to others")
def test_what_root_asks_is_answered_for_the_user_who_owns_the_spool(
    path: Path, open_to_all: Path, key_pair: KeyPair
) -> None:
    key = open_to_all / "key.pem"
    shutil.copy(key_pair.public_pem, key)
    path = write_config(open_to_all, RECEIVER.format(port=free_port()), key=key)
    script = write_script(open_to_all / "processors", "10-runs", "exit 0")
    spool = WebhookSpool(open_to_all / "spool", "crm")
    spool.prepare()
    for place in (spool.root, spool.base, *spool.base.iterdir()):
        os.chown(place, NOBODY, NOBODY)
    for place in (path, key):
        place.chmod(0o644)
    assert texts(look(path), Verdict.WRONG) == ""
    assert f"all folders can be written by {pwd.getpwuid(NOBODY).pw_name}" in texts(look(path), Verdict.RIGHT)

    key.chmod(0o600)
    script.chmod(0o700)
    os.chown(spool.folder(State.FAILED), 0, 0)
    wrong = texts(look(path), Verdict.WRONG)
    assert f"{key}: can't be read by nobody (" in wrong
    assert f"{script}: ignored, because nobody may not run it" in wrong
    assert f"{spool.folder(State.FAILED)}: can't be read and written by nobody (" in wrong
    assert wrong.count("\n") == 2
    for name in ("2020-01-02", spool.today, "old"):
        (spool.folder(State.DONE) / name).mkdir(0o700)
    wrong = texts(look(path), Verdict.WRONG)
    for name in ("2020-01-02", spool.today):
        assert f"{spool.folder(State.DONE) / name}: can't be read and written by nobody (" in wrong
    assert wrong.count("\n") == 4

    open_to_all.chmod(0o700)
    wrong = texts(look(path), Verdict.WRONG)
    assert f"{path}: can't be read by nobody, because of {open_to_all}" in wrong
    assert f"{script}: notifications wait for it, because nobody may not look into {open_to_all}" in wrong


def test_a_retention_shorter_than_the_window_for_repeats_is_pointed_at(path: Path) -> None:
    assert "deduplicate_for" not in texts(look(path), Verdict.NOTICE)
    path.write_text(f'{path.read_text()}\n[retention]\ndone = "12h"\n')
    notice = texts(look(path), Verdict.NOTICE)
    assert "kept for 12h and repeats are looked for over 1d (deduplicate_for)" in notice


@pytest.mark.parametrize("listen", ["127.0.0.1:{port}", "unix:{root}/receiver.sock"])
def test_a_running_receiver_is_found(tmp_path: Path, listen: str) -> None:
    listen = listen.format(port=free_port(), root=tmp_path)
    site = make_site(tmp_path / "site", receiver=f'listen = "{listen}"\nworkers = 1')
    with running(site, "receive"):
        findings = look(site.config_file)
    assert f"receiver: answers at {listen}: 200 ok" in texts(findings, Verdict.RIGHT)


def test_the_command_answers_no_when_anything_is_wrong(path: Path, key_pair: KeyPair) -> None:
    command = [sys.executable, "-m", "spooler", "check", "--config", str(path)]
    good = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("right   configuration: ")
    path.write_text(path.read_text().replace("public.pem", "private.pem"))
    bad = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False, timeout=20)
    findings = [json.loads(line) for line in bad.stdout.splitlines()]
    assert bad.returncode == 1
    assert [one["subject"] for one in findings if one["verdict"] == "wrong"] == ["webhook crm"]
    assert all(one.keys() == {"verdict", "subject", "text"} for one in findings)


ALERTS = '[alerts]\nsmtp = "{smtp}"\nfrom = "a@example.com"\nto = ["b@example.com"]\n'


def test_alerts_are_told_with_what_is_missing(tmp_path: Path) -> None:
    path = write_config(tmp_path, ALERTS.format(smtp="mail.example.com:25"))
    assert "alerts: go to b@example.com by mail.example.com:25" in texts(look(path), Verdict.RIGHT)
    assert 'nobody is told when nothing comes in (silence = "24h")' in texts(look(path), Verdict.NOTICE)
    more = 'user = "u"\npassword_file = "none"\n'
    path = write_config(tmp_path, ALERTS.format(smtp="mail.example.com:25") + more)
    assert f"alerts.password_file: {tmp_path}/none: No such file" in texts(look(path), Verdict.WRONG)
    assert "the password goes over the network in the clear" in texts(look(path), Verdict.NOTICE)
    path = write_config(tmp_path, ALERTS.format(smtp="mail.example.com:465"))
    assert "alerts: port 465 expects TLS from the first byte" in texts(look(path), Verdict.WRONG)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to others")
def test_a_password_that_the_service_cannot_read_is_pointed_at(open_to_all: Path) -> None:
    more = 'user = "u"\npassword_file = "password"\n'
    path = write_config(open_to_all, ALERTS.format(smtp="localhost:25") + more)
    path.chmod(0o644)
    password = open_to_all / "password"
    password.write_text("secret")
    password.chmod(0o600)
    spool = open_to_all / "spool"
    spool.mkdir()
    os.chown(spool, NOBODY, NOBODY)
    name = pwd.getpwuid(NOBODY).pw_name
    assert f"alerts: {password}: can't be read by {name} (" in texts(look(path), Verdict.WRONG)
    os.chown(password, NOBODY, NOBODY)
    assert "alerts" not in texts(look(path), Verdict.WRONG)


def test_mails_that_wait_for_the_server_are_told(tmp_path: Path) -> None:
    path = write_config(tmp_path, ALERTS.format(smtp="localhost:25"))
    now = datetime.now(UTC)
    memory = Memory(since=now, counted_to=now, due={"a": Mail("id", "subject", "body")})
    keepsake.write(tmp_path / "spool" / FILE_NAME, memory)
    assert "1 mail(s) not sent yet" in texts(look(path), Verdict.NOTICE)


def test_a_test_mail_is_sent_when_asked_for_and_told_in_one_line(tmp_path: Path) -> None:
    server = MailServer(free_port())
    path = write_config(tmp_path, ALERTS.format(smtp=server.address))
    command = [sys.executable, "-m", "spooler", "check", "--alert", "--config", str(path)]
    with up(server):
        sent = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert sent.stdout.splitlines()[-1] == f"right   test mail: {server.address} took it, for b@example.com"
    assert server.subjects == ["test"]
    down = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert down.returncode == 1
    said = down.stdout.splitlines()[-1]
    assert said == f"wrong   test mail: not taken by {server.address}: Connection refused"
    write_config(tmp_path)
    none = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert "no mail can be sent: there is no [alerts]" in none.stdout
    assert none.returncode == 1


def test_no_name_reaches_the_terminal_raw(path: Path) -> None:
    for name in (b"20-caf\xe9", b"30-\x1b[31mred"):
        script = path.parent / "processors" / os.fsdecode(name)
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    line = [sys.executable, "-m", "spooler", "check", "--config", str(path)]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    ended = subprocess.run(line, capture_output=True, check=False, timeout=30, env=environment)
    assert ended.stderr == b""
    assert b"20-caf\\udce9" in ended.stdout
    assert b"\x1b" not in ended.stdout


def test_where_nobody_answers_the_reason_is_told_in_words(tmp_path: Path, key_pair: KeyPair) -> None:
    (tmp_path / "processors").mkdir()
    receiver = '[receiver]\nlisten = "unix:no.sock"\n'
    findings = look(write_config(tmp_path, receiver, key=key_pair.public_pem))
    told = f"nothing answers at unix:{tmp_path}/no.sock: No such file or directory; is it running?"
    assert told in texts(findings, Verdict.NOTICE)


@pytest.mark.parametrize("host", ["a..b", "." + "x" * 70])
def test_a_name_that_can_be_no_hosts_is_told_and_the_rest_is_looked_at(
    tmp_path: Path, key_pair: KeyPair, host: str
) -> None:
    (tmp_path / "processors").mkdir()
    receiver = f'[receiver]\nlisten = "{host}:80"\n'
    findings = look(write_config(tmp_path, receiver, key=key_pair.public_pem))
    assert f"nothing answers at {host}:80: " in texts(findings, Verdict.NOTICE)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_the_caller_may_not_look_into_is_wrong_and_hides_no_other_finding(
    open_to_all: Path, key_pair: KeyPair
) -> None:
    key = open_to_all / "key.pem"
    shutil.copy(key_pair.public_pem, key)
    path = write_config(open_to_all, RECEIVER.format(port=free_port()), key=key)
    for place in (path, key):
        place.chmod(0o644)
    WebhookSpool(open_to_all / "spool", "crm").prepare()
    (open_to_all / "spool" / "crm").chmod(0o700)
    look(path)  # loads what it needs of Python, which may lie where that user sees nothing
    os.seteuid(NOBODY)
    try:
        found = look(path)
    finally:
        os.seteuid(0)
    assert "webhook crm: " in (wrong := texts(found, Verdict.WRONG))
    assert "can't be looked at: Permission denied" in wrong
    assert "alerts: " in texts(found, Verdict.NOTICE)
