"""One mail: over a real server that is up, down, slow, strict, or not to be trusted."""

import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mail_server import PASSWORD, USER, MailServer, make_certificate, up

from spooler import mail
from spooler.config import Alerts
from spooler.mail import MailError
from spooler.playground import free_port


@pytest.fixture
def server() -> MailServer:
    return MailServer(free_port())


def settings(server: MailServer, **more: object) -> Alerts:
    known = {
        "smtp": server.address,
        "sender": "spooler@example.com",
        "to": ("a@example.com", "b@example.com"),
    }
    return Alerts(**(known | more))  # type: ignore[arg-type]


def send(known: Alerts) -> None:
    mail.send(known, "spooler host crm: 1 failed today", "It failed.\n", "20261124-1")


@pytest.fixture
def strict(server: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    """A server that wants STARTTLS and a log-in, and whose certificate is trusted."""
    certificate = make_certificate(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    with up(server, certificate):
        yield server


def test_a_mail_has_fixed_recipients_and_says_that_a_program_sent_it(server: MailServer) -> None:
    with up(server):
        send(settings(server))
    (got,) = server.mails
    assert (got["To"], got["From"]) == ("a@example.com, b@example.com", "spooler@example.com")
    assert got["Subject"] == "spooler host crm: 1 failed today"
    assert got["Auto-Submitted"] == "auto-generated"
    assert got["Message-ID"].startswith("<20261124-1.spooler@")
    assert got.get_content().replace("\r\n", "\n") == "It failed.\n"


def test_with_starttls_user_and_password_the_mail_goes_encrypted(strict: MailServer, tmp_path: Path) -> None:
    send(settings(strict, starttls=True, user=USER, password_file=str(tmp_path / "password")))
    assert (strict.users, strict.encrypted) == ([USER], [True])


def test_the_password_may_be_one_of_systemds_credentials(
    strict: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = settings(strict, starttls=True, user=USER, password_file="$CREDENTIALS_DIRECTORY/password")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(MailError, match="only a service that systemd starts"):
        send(known)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    send(known)
    assert strict.users == [USER]


def test_a_certificate_that_nobody_vouches_for_gets_neither_password_nor_mail(
    strict: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(MailError, match="CERTIFICATE_VERIFY_FAILED"):
        send(settings(strict, starttls=True, user=USER, password_file=str(tmp_path / "password")))
    assert strict.mails == []


def test_a_server_without_starttls_gets_nothing(server: MailServer) -> None:
    with up(server), pytest.raises(MailError, match="STARTTLS"):
        send(settings(server, starttls=True))
    assert server.mails == []


def test_a_wrong_password_is_told_and_not_shown(strict: MailServer, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2secret")
    with pytest.raises(MailError, match="the server answered 535") as raised:
        send(settings(strict, starttls=True, user=USER, password_file=str(tmp_path / "password")))
    assert "hunter2secret" not in str(raised.value)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_server_that_repeats_a_log_in_shows_no_password_either(mechanism: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2secret")
    answers = {"EHLO": f"250-hi\r\n250 AUTH {mechanism}", "AUTH": "334 UGFzc3dvcmQ6"}
    forms = {"hunter2secret", b64encode(b"hunter2secret").decode(), b64encode(b"\0u\0hunter2secret").decode()}
    answers |= dict.fromkeys((form[:4].upper() for form in forms), f"535 no: {' '.join(forms)}")
    if mechanism == "PLAIN":
        answers["AUTH"] = f"535 no: {' '.join(forms)}"
    with answering("220 hi", **answers) as (known, _):
        known.user, known.password_file = "u", str(tmp_path / "password")
        with pytest.raises(MailError) as raised:
            send(known)
    assert str(raised.value) == "the server answered 535 no: *** *** ***"


@pytest.mark.parametrize(("content", "what"), [("sécret\n", "isn't ASCII"), ("\n", "is empty")])
def test_a_password_that_cannot_be_sent_is_told(
    server: MailServer, tmp_path: Path, content: str, what: str
) -> None:
    (tmp_path / "password").write_text(content, encoding="utf-8")
    with pytest.raises(MailError, match=rf"alerts.password_file: .*/password: .*{what}"):
        send(settings(server, user=USER, password_file=str(tmp_path / "password")))


def test_a_password_file_that_is_missing_is_told_by_its_name(server: MailServer, tmp_path: Path) -> None:
    with up(server), pytest.raises(MailError, match=r"alerts.password_file: .*/none: No such file"):
        send(settings(server, user=USER, password_file=str(tmp_path / "none")))


def test_a_server_that_is_down_is_told(server: MailServer) -> None:
    with pytest.raises(MailError, match="Connection refused"):
        send(settings(server))


def test_recipients_that_are_refused_do_not_keep_the_mail_from_the_others(server: MailServer) -> None:
    server.refused = {"b@example.com"}
    with up(server), pytest.raises(mail.PartlyRefusedError, match=r"b@example\.com"):
        send(settings(server))
    assert len(server.mails) == 1
    server.refused.add("a@example.com")
    with up(server), pytest.raises(MailError, match=r"a@example\.com: the server answered 550") as raised:
        send(settings(server))
    assert not isinstance(raised.value, mail.PartlyRefusedError)


@contextmanager
def answering(greeting: str, **answers: str) -> Iterator[tuple[Alerts, list[str]]]:
    """Answer one connection as told, by command, else with 250; gives settings and the commands that came."""
    commands: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection, connection.makefile("rw", newline="\r\n") as wire, suppress(OSError):
                print(greeting, file=wire, flush=True, end="\r\n")
                is_text = False
                for line in wire:
                    commands.append(line.strip())
                    is_text = commands[-1] != "." and (is_text or commands[-1] == "data")
                    if not is_text or commands[-1] == "data":
                        said = answers.get(line[:4].strip().upper(), "250 OK")
                        print(said, file=wire, flush=True, end="\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield settings(MailServer(listening.getsockname()[1])), commands
        thread.join()


@pytest.mark.parametrize("greeting", ["554 you are on a list", "421 too many connections"])
def test_a_server_that_takes_nothing_from_here_says_why_in_its_greeting(greeting: str) -> None:
    told = pytest.raises(MailError, match=f"the server answered {greeting}")
    with answering(greeting, EHLO="503 what") as (known, commands), told:
        send(known)
    assert commands == []


@pytest.mark.parametrize("goodbye", ["221 bye", "500 what"])
def test_the_server_is_told_that_there_is_no_more(goodbye: str) -> None:
    with answering("220 hi", DATA="354 go on", QUIT=goodbye) as (known, commands):
        send(known)
    assert commands[-2:] == [".", "quit"]


@pytest.mark.parametrize(
    ("answer", "kind"), [("554 policy", mail.RefusedError), ("451 later", MailError), ("421 bye", MailError)]
)
def test_a_mail_that_is_refused_for_good_is_told_from_a_server_that_takes_none_now(
    server: MailServer, answer: str, kind: type[MailError]
) -> None:
    server.answer = answer
    with up(server), pytest.raises(MailError) as raised:
        send(settings(server))
    assert type(raised.value) is kind
    server.answer, server.refused = "250 OK", {"a@example.com", "b@example.com"}
    with up(server), pytest.raises(mail.RefusedError):
        send(settings(server))


def test_what_a_server_says_is_escaped_and_bounded(server: MailServer) -> None:
    server.answer = "451 \x1b[31mlater " + "x" * 400
    with up(server), pytest.raises(MailError) as raised:
        send(settings(server))
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) <= 300


def test_a_server_that_hangs_is_given_up(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_STEP_SECONDS", 0.2)
    server.answer_after_seconds = 2.0
    begun = time.monotonic()
    with up(server):
        with pytest.raises(MailError, match=r"timed out|unexpectedly closed"):
            send(settings(server))
        assert time.monotonic() - begun < 1.5


def test_a_server_that_drips_is_given_up(server: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "_ALL_SECONDS", 0.3)
    gone = threading.Event()
    with socket.create_server(("127.0.0.1", server.port)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                while not gone.wait(0.05):
                    try:
                        connection.sendall(b"2")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        begun = time.monotonic()
        with pytest.raises(MailError):
            send(settings(server))
        assert time.monotonic() - begun < 2
        gone.set()
        thread.join()
