"""Files of any content: configuration, logs, marks, refused requests' logs, keys and certificates."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from commands import in_process
from conftest import FakeClock, examples
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from hostile import damaged, texts, values
from hypothesis import example, given, settings
from hypothesis import strategies as st
from key_files import CERTIFICATE, PRIVATE, SPKI, UNDERSTOOD, XML, certificate

from spooler import config, history, keepsake, refusals, running
from spooler.certificates import load_certificate
from spooler.errors import CertificateFileError, ConfigurationError, KeyFileError
from spooler.history import Progress
from spooler.keys import parse_key
from spooler.name import Name
from spooler.notification import Notification
from spooler.readmission import examine
from spooler.state import State
from spooler.storing import ReceiversSpool

WHOLE = """\
spool = "spool"
processors = "processors"
[receiver]
listen = "127.0.0.1:8080"
workers = 2
max_body = "1MiB"
min_free = "64MiB"
trusted_proxy = "127.0.0.1"
[processor]
workers = 1
timeout = "60s"
retry_delays = ["1m", "15m"]
ordering = "contact"
deduplicate_for = "1d"
test_notifications = "skip"
environment = ["CRM_URL"]
[retention]
done = "30d"
failed = "never"
[alerts]
smtp = "localhost:25"
from = "spooler@example.com"
to = ["admin@example.com"]
silence = "24h"
[metrics]
listen = "unix:metrics.sock"
[webhook.crm]
signature = "none"
hash = "sha256"
client_certificates = []
timeout = "1s"
"""
KEYS = ["spool", "processors", "listen", "workers", "max_body", "min_free", "trusted_proxy", "timeout"]
KEYS += ["retry_delays", "ordering", "deduplicate_for", "environment", "done", "smtp", "from", "to", "hash"]
KEYS += ["client_certificates", "public_keys", "signature", "silence", "password_file", "user", "x"]
TABLES = [
    "",
    "receiver",
    "processor",
    "retention",
    "alerts",
    "metrics",
    "webhook",
    "webhook.crm",
    'webhook."a.b"',
]
PFX = pkcs12.serialize_key_and_certificates(b"x", PRIVATE, certificate(), None, serialization.NoEncryption())


def as_toml(value: object) -> str:
    """Write a value as TOML does; what there is no way to write, as something near."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(key)} = {as_toml(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value.encode("utf-8", "replace").decode()).replace("\x7f", "\\u007f")
    return str(value)


units = st.tuples(st.integers() | texts, st.sampled_from(["s", "d", "KiB", "TiB", ":80", ""])).map(
    lambda pair: f"{pair[0]}{pair[1]}"
)
settings_ = st.lists(
    st.tuples(st.sampled_from(TABLES), st.sampled_from(KEYS) | texts, values | units), min_size=1, max_size=4
)


def changed(lines: list[tuple[str, str, object]]) -> str:
    """Return the whole configuration with other values, or further ones."""
    text = WHOLE
    for table, key, value in lines:
        line = f"{as_toml(key)} = {as_toml(value)}\n"
        begun, head, rest = text.partition(f"[{table}]\n") if table else ("", "", text)
        here, mark, further = rest.partition("\n[")
        kept = "".join(one + "\n" for one in here.split("\n") if one and one.split(" ")[0] != key)
        text = f"{begun}{head}{line}{kept}{mark}{further}"
    return text


configurations = settings_.map(changed).map(lambda text: text.encode("utf-8", "replace")) | damaged(
    WHOLE.encode()
)


@contextmanager
def a_file(name: str, content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="spooler-hostile-") as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        yield path


@settings(max_examples=examples(150))
@given(configurations)
@example(WHOLE.replace("workers = 2", "workers = " + "1" * 5000).encode())
@example(WHOLE.replace("workers = 2", "workers = " + "[" * 3000).encode())
@example(WHOLE.replace("workers = 2", "x = " + "[" * 900 + "]" * 900).encode())
@example(f"[{'a.' * 3000}b]\n{WHOLE}".encode())
@example(WHOLE.replace('spool = "spool"', r'spool = "s\u0000"').encode())
@example(WHOLE.replace('spool = "spool"', r'"\u001b[31m\n" = 1').encode())
@example(WHOLE.replace('"64MiB"', f'"{"9" * 400}TiB"').encode())
@example(WHOLE.replace('"64MiB"', f'"{"9" * 5000}TiB"').encode())
@example(WHOLE.replace('spool = "spool"', f'spool = "{"9" * 5000}"').encode())
@example(b"\xff")
def test_any_configuration_is_understood_or_refused_in_one_line(content: bytes) -> None:
    with a_file("spooler.toml", content) as path:
        try:
            loaded = config.load(path)
        except ConfigurationError:
            wanted = {78}
        else:
            wanted = {0, 1}  # its spool may be a folder that nobody can read
            assert isinstance(str(loaded.receiver.listen), str)
        ended = in_process(["status", "--config", str(path)])
        assert ended.status in wanted
        if ended.status:
            *told, rest = ended.err.split("\n")
            assert rest == ""
            # A webhook's folder and the disk may be told of, one line each.
            assert len(told) == 1 or (len(told) == 2 and ended.status == 1)
            assert all(line.startswith("spooler: ") and line.isprintable() for line in told)


@settings(max_examples=examples(60))
@given(
    st.lists(
        values
        | st.dictionaries(
            st.sampled_from(
                [
                    "at",
                    "attempt",
                    "exit",
                    "note",
                    "anew",
                    "received",
                    "released",
                    "seconds",
                    "script",
                    "output",
                    "version",
                ]
            ),
            values,
        ),
        max_size=6,
    ),
    st.booleans(),
)
@example([{"attempt": 10**4299 * 9}, {"attempt": True}, {"attempt": -1}, {"seconds": float("inf")}], False)
def test_whatever_a_log_holds_a_number_of_the_attempt_and_json_come_of_it(
    lines: list[object], torn: bool
) -> None:
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    with a_file("x.log", content[: -3 if torn else None]) as path:
        read = history.read(path)
        json.dumps(read, allow_nan=False)
        progress = Progress.of(read)
        assert 1 <= progress.attempt <= 10**6 + 1
        assert history.attempts(read) >= 0
        assert isinstance(history.last_word(read), str)
        received = history.received(read)
        assert received is None or received.tzinfo is UTC
        history.append(path, [{"at": "x", "attempt": progress.attempt, "exit": 1}])
        assert history.read(path)[-1]["attempt"] == progress.attempt


@settings(max_examples=examples(60))
@given(st.dictionaries(st.sampled_from(["at", "attempt", "script", "version", "x"]), values))
def test_a_mark_of_any_shape_gives_a_line_that_can_be_read_or_none(members: dict[str, object]) -> None:
    name = "20261123T190001.123456Z_a_t.json"
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps([name, members]).encode()
        Path(folder, ".run-1").write_bytes(hashlib.sha256(text).hexdigest()[:16].encode() + text)
        mark = running.read(Path(folder), name)
        if mark:
            history.append(Path(folder, "x.log"), [mark.interrupted(), {"at": "x", "note": "n"}])
            assert history.read(Path(folder, "x.log"))[-1] == {"at": "x", "note": "n"}


@settings(max_examples=examples(60))
@given(values, st.binary(max_size=40))
def test_a_keepsake_of_any_shape_is_nothing(content: object, more: bytes) -> None:
    with a_file(".refusals", json.dumps(content).encode() + more) as path:
        keepsake.read(path, refusals.Refused)
        refusals.read(path.parent)


@settings(max_examples=examples(60))
@given(
    values | st.fixed_dictionaries({"headers": st.dictionaries(st.just("X-Di-Signature") | texts, values)}),
    st.binary(max_size=50),
)
@example({"headers": {"X-Di-Signature": 5}}, b"")
def test_whatever_the_log_of_a_refused_request_holds_it_stays_unless_it_is_authentic(
    line: object, body: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        (site / "crm.pem").write_bytes(SPKI)
        (site / "spooler.toml").write_text(
            'spool = "spool"\nprocessors = "p"\n[webhook.crm]\npublic_keys = ["crm.pem"]\n'
        )
        loaded = config.load(site / "spooler.toml")
        spool = ReceiversSpool(loaded.spool, "crm", FakeClock())
        spool.prepare()
        name = spool.refuse(body, Notification.unread(body), {"note": "n"})
        assert Name.parse(name)
        log = spool.path(State.REJECTED, name).with_suffix(".log")
        log.write_bytes(json.dumps(line).encode())
        keys = [parse_key(SPKI, "crm.pem")]
        (verdict,) = examine(spool, loaded.webhooks["crm"], keys, "127.0.0.1")
        assert verdict.name is None
        assert verdict.reason


@settings(max_examples=examples(100))
@given(
    st.sampled_from([SPKI, XML, CERTIFICATE, *(content for content, _kind in UNDERSTOOD.values())]).flatmap(
        damaged
    )
)
def test_a_key_file_with_any_damage_gives_a_key_or_one_line(content: bytes) -> None:
    try:
        key = parse_key(content, "crm.pem")
    except KeyFileError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either way is right
    else:
        assert 1024 <= key.bits <= 16384
        assert key.fingerprint.startswith("SHA256:")


@pytest.mark.filterwarnings("error")  # it would stand on the terminal
@settings(max_examples=examples(100))
@given(
    st.sampled_from([CERTIFICATE, CERTIFICATE + SPKI, certificate().public_bytes(Encoding.DER), PFX]).flatmap(
        damaged
    )
    | st.binary(max_size=60).map(lambda rest: b"\x30\x82" + rest)
)
def test_a_certificate_file_with_any_damage_gives_a_fingerprint_or_one_line(content: bytes) -> None:
    with a_file("sender.pem", content) as path:
        try:
            found = load_certificate(path, lambda: "secret")
            told = [
                found.fingerprint,
                found.subject,
                found.issuer,
                found.warning(datetime.now(UTC)),
                *found.notices,
            ]
        except CertificateFileError as error:
            told = [str(error).replace(os.fspath(path), "")]
        assert all(text.isprintable() for text in told)


def test_the_configuration_that_is_changed_is_a_right_one() -> None:
    with a_file("spooler.toml", WHOLE.encode()) as path:
        assert config.load(path).webhooks.keys() == {"crm"}


@pytest.mark.parametrize("content", [SPKI, XML])
def test_the_keys_that_are_damaged_are_right_ones(content: bytes) -> None:
    assert parse_key(content, "crm.pem").bits == 2048
