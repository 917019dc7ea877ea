"""`spooler send` as people run it: a program of its own, against receivers on the loopback."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from scripted_receiver import ScriptedReceiver

FAST = ("--speed", "60000")


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def key_file(key: RSAPrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "private.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


def send(
    *arguments: str | Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spooler", "send", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def closed_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_one_signed_notification_is_sent_and_summed_up(key: RSAPrivateKey, key_file: Path) -> None:
    with ScriptedReceiver() as receiver:
        done = send(receiver.url, "--key", key_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 of 1 sent: 1 accepted, 0 abandoned (1 attempts, 0 of them repeats")
    (request,) = receiver.received
    assert request.is_signed_by(key.public_key())
    body = json.loads(request.body)
    assert body["Type"] == "contact_modified"
    assert "isTest" not in body


def test_what_fails_first_is_reported_repeated_and_all_right_in_the_end(key_file: Path) -> None:
    with ScriptedReceiver([204, 503, 200]) as receiver:
        done = send(receiver.url, "--key", key_file, *FAST, "--json")
    assert done.returncode == 0
    first, second = done.stderr.splitlines()
    id_ = json.loads(receiver.received[0].body)["EventUniqueID"]
    assert first == f"{id_} contact_modified: attempt 1 of 5: 204 (only 200 counts); again in 1m"
    assert second == f"{id_} contact_modified: attempt 2 of 5: 503; again in 15m"
    summary = json.loads(done.stdout)
    assert (summary["sent"], summary["accepted"], summary["attempts"], summary["repeats"]) == (1, 1, 3, 2)
    assert (summary["abandoned"], summary["lost_by_deactivation"], summary["deactivated"]) == (0, 0, False)
    assert 0 < summary["latency_p50_ms"] <= summary["latency_p99_ms"] <= summary["latency_max_ms"]


def test_what_never_works_is_abandoned_and_the_exit_status_says_so(key_file: Path) -> None:
    done = send(closed_url(), "--key", key_file, *FAST)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 5
    assert "attempt 5 of 5: Connection refused; abandoned" in done.stderr
    assert "1 of 1 sent: 0 accepted, 1 abandoned (5 attempts, 4 of them repeats" in done.stdout


def test_types_are_mixed_and_tests_are_marked(key_file: Path) -> None:
    mixed = ("--type", "contact_optout", "--type", "sending_Bounce", "--count", "4", "--test", "--verbose")
    with ScriptedReceiver() as receiver:
        done = send(receiver.url, "--key", key_file, *mixed)
    bodies = [json.loads(request.body) for request in receiver.received]
    assert [body["Type"] for body in bodies] == ["contact_optout", "sending_Bounce"] * 2
    assert all(body["isTest"] is True for body in bodies)
    assert len({body["EventUniqueID"] for body in bodies}) == 4
    assert done.stderr.count("accepted in") == 4


def test_a_file_is_sent_byte_for_byte_and_again_with_count(
    key: RSAPrivateKey, key_file: Path, tmp_path: Path
) -> None:
    body = b'\xef\xbb\xbf{"Type": "contact_optout",\r\n "EventUniqueID":"e1"}\n\n'
    (tmp_path / "body.json").write_bytes(body)
    with ScriptedReceiver() as receiver:
        done = send(
            receiver.url,
            "--key",
            key_file,
            "--body",
            tmp_path / "body.json",
            "--count",
            "2",
            "--hash",
            "sha1",
        )
    assert done.returncode == 0
    assert [request.body for request in receiver.received] == [body, body]
    assert receiver.received[0].is_signed_by(key.public_key(), hashes.SHA1())


def test_a_long_outage_switches_the_webhook_off_and_the_rest_is_lost(key_file: Path) -> None:
    # At this speed a second is 28 hours, so that the 200 go out over 16 and 8 are over after 0.3 s.
    long = ("--count", "200", "--rate", "350", "--speed", "100000")
    done = send(closed_url(), "--key", key_file, *long)
    assert done.returncode == 1
    assert "the webhook was switched off after at least 100 errors in a row over 8h; " in done.stdout
    assert done.stdout.splitlines()[-1].endswith("are lost")


@pytest.fixture
def _interruptible() -> Iterator[None]:
    # Tests that run in the background may have the signal ignored, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
def test_an_interruption_prints_the_summary_so_far(key_file: Path) -> None:
    with ScriptedReceiver([200, 503]) as receiver:
        sending = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "spooler",
                "send",
                receiver.url,
                "--key",
                key_file,
                "--count",
                "2",
                "--json",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert sending.stderr
        assert "again in 1m" in sending.stderr.readline()
        sending.send_signal(signal.SIGINT)
        stdout, stderr = sending.communicate(timeout=10)
    assert sending.returncode == 130
    assert stderr == ""
    summary = json.loads(stdout)
    assert (summary["sent"], summary["accepted"], summary["waiting"]) == (2, 1, 1)


def test_https_is_spoken_to_a_trusted_receiver_and_refused_to_another(
    key: RSAPrivateKey, key_file: Path, tmp_path: Path
) -> None:
    certificate = tmp_path / "server.pem"
    certificate.write_bytes(_certificate(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key_file)
    with ScriptedReceiver() as receiver:
        receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
        url = receiver.url.replace("http:", "https:")
        trusted = send(url, "--key", key_file, environment={"SSL_CERT_FILE": str(certificate)})
        refused = send(url, "--key", key_file, *FAST)
    assert (trusted.returncode, trusted.stderr) == (0, "")
    assert len(receiver.received) == 1
    assert refused.returncode == 1
    assert "certificate verify failed" in refused.stderr


def _certificate(key: RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("127.0.0.1:8080",), "it must start with http:// or https://"),
        (("http://h", "--rate", "0"), "a number above 0"),
        (("http://h", "--speed", "nan"), "a number above 0"),
        (("http://h", "--count", "0"), "x>=1"),
        (("http://h", "--type", "a\nb"), "can't be printed"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(key_file: Path, arguments: tuple[str, ...], words: str) -> None:
    done = send("--key", key_file, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_key_is_one_line_too() -> None:
    done = send("http://h")
    assert done.returncode == 2
    assert "--key" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_key_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "private.pem").write_text("not a key")
    done = send("http://h", "--key", tmp_path / "private.pem")
    assert done.returncode == 78
    assert "private.pem" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no-such-file", "No such file or directory"),
        (".", "Is a directory"),
        # Not "does not exist": whoever may not enter a folder can't know.
        ("x" * 300, "File name too long"),
    ],
)
def test_a_body_that_cannot_be_read_is_told_with_the_reason(
    key_file: Path, tmp_path: Path, name: str, why: str
) -> None:
    done = send("http://h", "--key", key_file, "--body", tmp_path / name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"spooler: {tmp_path / name}: the body can't be read: {why}\n"


def test_a_key_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    for name, why in (
        ("no", "doesn't exist: there is no such key file"),
        (".", "can't be read: Is a directory"),
    ):
        done = send("http://h", "--key", tmp_path / name)
        assert (done.returncode, done.stderr) == (78, f"spooler: {tmp_path / name}: {why}\n")
    done = send("http://h", "--key", tmp_path / ("x" * 300))
    assert done.stderr == f"spooler: {tmp_path / ('x' * 300)}: can't be read: File name too long\n"


def test_a_file_goes_out_as_it_is_and_not_as_a_type_or_a_test(key_file: Path) -> None:
    done = send("http://h", "--key", key_file, "--body", key_file, "--test")
    assert done.returncode == 2
    assert "leave out --type and --test" in done.stderr
