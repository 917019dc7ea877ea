"""The drop-in scripts in `processors/`, run as an administrator's spooler would run them."""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spooler.notification import Notification

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "processors"
FORWARD = SHIPPED / "30-forward.sh"
SUPPRESSION = SHIPPED / "10-suppression-list.py"
UPSERT = SHIPPED / "20-upsert-contact.php"
SCRIPTS = [FORWARD, SUPPRESSION, UPSERT]
SETTINGS = {FORWARD: "FORWARD_URL", SUPPRESSION: "SUPPRESSION_DB", UPSERT: "CONTACT_DSN"}
README = (SHIPPED / "README.md").read_text(encoding="utf-8")

OPTOUT = (ROOT / "tests/vectors/dotnet-1024-sha1/body.json").read_bytes()
BOUNCE = (ROOT / "tests/vectors/php-2048-sha256/body.json").read_bytes()
MODIFIED = (ROOT / "tests/vectors/dotnet-2048-sha256/body.json").read_bytes()
TYPES = {FORWARD: "sending_Bounce", SUPPRESSION: "contact_optout", UPSERT: "contact_modified"}
BODIES = {FORWARD: BOUNCE, SUPPRESSION: OPTOUT, UPSERT: MODIFIED}

DONE, GIVE_UP, TRY_LATER = 0, 65, 75
PATIENCE_SECONDS = 10


def _php_module(name: str) -> bool:
    if shutil.which("php") is None:
        return False
    return name in subprocess.run(["php", "-m"], capture_output=True, text=True, check=True).stdout.split()


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl isn't installed")
needs_php = pytest.mark.skipif(
    not _php_module("pdo_sqlite"), reason="php-cli with php-sqlite3 isn't installed"
)
needs_shellcheck = pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck isn't installed")
each_script = pytest.mark.parametrize(
    "script",
    [pytest.param(FORWARD, marks=needs_curl), SUPPRESSION, pytest.param(UPSERT, marks=needs_php)],
    ids=lambda script: script.name,
)
each_database_script = pytest.mark.parametrize(
    "script", [SUPPRESSION, pytest.param(UPSERT, marks=needs_php)], ids=lambda script: script.name
)

HOSTILE_TEXTS = {
    "quotes": 'O\'Brien said ""no"" `twice`',
    "SQL": "'; DROP TABLE suppression; DROP TABLE contacts; --",
    "shell": "$(touch owned) `touch owned` ; touch owned | touch owned & touch owned",
    "line breaks": "one\ntwo\r\nthree\u2028four",
    "NUL": "before\0after",
    "placeholders": ":SPOOLER_ID ? %s {0} $1",
    "another script": "Zo\u00eb \u65e5\u672c\u8a9e \U0001f600",
}


@dataclass(frozen=True)
class Ended:
    """How a script ended."""

    status: int
    output: str


@dataclass
class Spooler:
    """Runs a script with just what the contract promises: standard input, variables, an empty folder."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self, **variables: str) -> dict[str, str]:
        return {
            # The Python that runs the tests is the one that `env python3` finds.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "TZ": "America/Toronto",
            "SPOOLER_FILE": str(self.folder / "body.json"),
            "SPOOLER_WEBHOOK": "crm",
            "SPOOLER_ID": "0a7b6e4e-52ab-4a19-9a3f-0c1d7e8f9a01",
            "SPOOLER_TYPE": "contact_optout",
            "SPOOLER_CONTACT": "550013",
            "SPOOLER_RECEIVED": "2026-11-23T19:00:01.123456Z",
            "SPOOLER_ATTEMPT": "1",
            "SPOOLER_MAX_ATTEMPTS": "5",
            "SPOOLER_TEST": "0",
            **self.settings,
            **variables,
        }

    def start(self, command: list[str | Path], body: bytes, **variables: str) -> "subprocess.Popen[str]":
        file = self.folder / "body.json"
        file.write_bytes(body)
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        with file.open("rb") as standard_input:
            return subprocess.Popen(
                command,
                stdin=standard_input,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="backslashreplace",
                cwd=work,
                env=self.environment(**variables),
            )

    def run(self, script: Path, body: bytes | None = None, **variables: str) -> Ended:
        variables = {"SPOOLER_TYPE": TYPES.get(script, "contact_optout"), **variables}
        return self.run_command([script], BODIES[script] if body is None else body, **variables)

    def run_command(self, command: list[str | Path], body: bytes, **variables: str) -> Ended:
        with self.start(command, body, **variables) as process:
            output, _nothing = process.communicate(timeout=PATIENCE_SECONDS)
        return Ended(process.returncode, output)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        database = sqlite3.connect(self.folder / "data" / "list.db")
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()


@pytest.fixture
def spooler(tmp_path: Path) -> Spooler:
    """With a database in a folder of its own."""
    data = tmp_path / "data"
    data.mkdir()
    path = str(data / "list.db")
    return Spooler(tmp_path, {"SUPPRESSION_DB": path, "CONTACT_DSN": f"sqlite:{path}"})


# The folder, and what holds for every script in it.


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_has_fewer_than_40_lines_its_run_bits_and_nothing_but_ascii(script: Path) -> None:
    content = script.read_bytes()
    assert len(content.splitlines()) < 40
    assert content.isascii()
    assert content.startswith(b"#!/")
    assert b"\r" not in content
    assert script.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_head_of_a_script_says_how_to_install_it_and_names_its_variable(script: Path) -> None:
    head = script.read_text(encoding="ascii").split("\n\n")[0:2]
    assert "Install:" in "\n".join(head)
    assert SETTINGS[script] in "\n".join(head)
    assert f"`{script.name}`" in README
    assert f"`{SETTINGS[script]}`" in README


def test_everything_in_the_folder_is_tested_here() -> None:
    shipped = {path.name for path in SHIPPED.iterdir() if path.is_file() and os.access(path, os.X_OK)}
    assert shipped == {script.name for script in SCRIPTS}


@needs_shellcheck
def test_shellcheck_has_nothing_to_say_about_the_shell_script_and_the_readme_s_example(
    tmp_path: Path,
) -> None:
    example = tmp_path / "example.sh"
    example.write_text(_example(), encoding="utf-8")
    result = subprocess.run(["shellcheck", FORWARD, example], capture_output=True, text=True, check=False)
    assert result.stdout == ""
    assert result.returncode == 0


@each_script
@pytest.mark.parametrize("value", [None, ""], ids=["not set", "empty"])
def test_a_missing_setting_loses_nothing_and_is_named(
    script: Path, value: str | None, tmp_path: Path
) -> None:
    ended = Spooler(tmp_path, {} if value is None else {SETTINGS[script]: value}).run(script)
    assert ended.status == TRY_LATER
    assert SETTINGS[script] in ended.output


@each_database_script
@pytest.mark.parametrize("path", ["list.db", ":memory:"])
def test_a_database_that_would_go_away_with_the_working_folder_is_refused(
    script: Path, path: str, spooler: Spooler
) -> None:
    setting = SETTINGS[script]
    spooler.settings[setting] = f"sqlite:{path}" if setting == "CONTACT_DSN" else path
    ended = spooler.run(script)
    assert ended.status == TRY_LATER
    assert setting in ended.output
    assert list((spooler.folder / "work").iterdir()) == []


@each_database_script
def test_tests_change_nothing(script: Path, spooler: Spooler) -> None:
    assert spooler.run(script, SPOOLER_TEST="1").status == DONE
    assert list((spooler.folder / "data").iterdir()) == []


@each_database_script
@pytest.mark.parametrize("other", ["contact_optin", "unknown"])
def test_other_types_are_passed_over(script: Path, other: str, spooler: Spooler) -> None:
    assert spooler.run(script, SPOOLER_TYPE=other) == Ended(DONE, "")
    assert list((spooler.folder / "data").iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [b"", b'{"ContactID":', b'{"ContactID": {"idContact": 1}, "x": "\xff"}', b"[" * 200_000],
    ids=["empty", "torn", "no UTF-8", "nested too deeply"],
)
def test_a_body_that_is_no_json_is_given_up(body: bytes, spooler: Spooler) -> None:
    assert spooler.run(SUPPRESSION, body).status == GIVE_UP


@each_database_script
def test_half_a_surrogate_pair_is_no_reason_to_give_up(script: Path, spooler: Spooler) -> None:
    body = rb'{"ContactID": {"idContact": 550013, "\ud800": "\udc00"}, "OptinField": "\ud800 O\u00eb"}'
    assert Notification.read(body).problem == ""  # so spooler runs the scripts for it
    assert spooler.run(script, body).status == DONE
    if script == SUPPRESSION:
        ((kept, opt_in_field),) = spooler.rows("SELECT contact_id, field FROM suppression")
        assert (json.loads(str(kept)), opt_in_field) == (
            json.loads(body)["ContactID"],
            r"\ud800 O" + "\u00eb",
        )
    else:
        assert spooler.rows("SELECT body FROM contacts") == [(body.decode(),)]


@each_database_script
def test_a_number_of_thousands_of_digits_is_no_reason_to_give_up(script: Path, spooler: Spooler) -> None:
    digits = "9" * 5000
    body = f'{{"ContactID": {{"idContact": 550013, "x": {digits}}}, "y": -{digits}}}'.encode()
    assert Notification.read(body).problem == ""  # so spooler runs the scripts for it
    assert spooler.run(script, body).status == DONE
    if script == SUPPRESSION:
        ((kept,),) = spooler.rows("SELECT contact_id FROM suppression")
        assert json.loads(str(kept)) == {"idContact": 550013, "x": digits}


@each_database_script
@pytest.mark.parametrize("why", ["no such folder", "no database", "disk full"])
def test_a_database_that_cannot_be_written_is_tried_again_later(
    script: Path, why: str, spooler: Spooler
) -> None:
    path = spooler.folder / "data" / "list.db"
    settings = {}
    command: list[str | Path] = [script]
    if why == "no such folder":
        missing = f"{spooler.folder}/missing/list.db"
        settings = {"SUPPRESSION_DB": missing, "CONTACT_DSN": f"sqlite:{missing}"}
    elif why == "no database":
        path.write_bytes(b"this file is something else\n" * 100)
    else:
        command = ["/bin/sh", "-c", 'trap "" XFSZ; ulimit -f 1; exec "$0"', script]
    ended = spooler.run_command(command, BODIES[script], SPOOLER_TYPE=TYPES[script], **settings)
    assert ended.status == TRY_LATER
    assert ended.output


@each_database_script
def test_a_database_that_is_locked_for_a_moment_is_waited_for(script: Path, spooler: Spooler) -> None:
    assert spooler.run(script).status == DONE
    lock = sqlite3.connect(spooler.folder / "data" / "list.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    with spooler.start([script], BODIES[script], SPOOLER_TYPE=TYPES[script], SPOOLER_ID="second") as process:
        time.sleep(0.3)
        waited = process.poll() is None
        lock.execute("COMMIT")
        lock.close()
        process.communicate(timeout=PATIENCE_SECONDS)
    assert waited
    assert process.returncode == DONE


# 30-forward.sh


@dataclass(frozen=True)
class Request:
    """What the endpoint was sent."""

    path: str
    headers: dict[str, str]
    body: bytes


class Endpoint(ThreadingHTTPServer):
    """Answers with the status that the path names, and remembers what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[Request] = []
        self.answer = b"noted"
        self.released = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(Request(self.path, headers, body))
        if self.path == "/hang":
            self.server.released.wait(PATIENCE_SECONDS)
            return
        broken = self.path == "/broken"
        self.send_response(200 if broken else int(self.path[1:4]))
        self.send_header("Location", "/200")
        self.send_header("Content-Length", str(len(self.server.answer) + (100 if broken else 0)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_words: object) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """An HTTP endpoint of the administrator's."""
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def forward(endpoint: Endpoint, tmp_path: Path) -> Callable[..., Ended]:
    """Runs the script against the endpoint."""

    def run(path: str, body: bytes = BOUNCE, **variables: str) -> Ended:
        return Spooler(tmp_path).run(FORWARD, body, FORWARD_URL=endpoint.url(path), **variables)

    return run


@needs_curl
@pytest.mark.parametrize(
    ("answered", "status"),
    [
        *((code, DONE) for code in (200, 201, 204)),
        *((code, TRY_LATER) for code in (302, 408, 425, 429, 500, 503)),
        *((code, GIVE_UP) for code in (400, 404, 422)),
    ],
)
def test_the_endpoint_s_answer_becomes_the_exit_status(
    answered: int, status: int, forward: Callable[..., Ended], endpoint: Endpoint
) -> None:
    endpoint.answer = b"" if answered == 204 else b"the contact is unknown here"
    ended = forward(f"/{answered}")
    assert ended.status == status
    assert ended.output == f"HTTP {answered}: {endpoint.answer.decode()}\n"
    assert len(endpoint.requests) == 1, "a redirect isn't followed"


@needs_curl
@pytest.mark.parametrize(
    "body",
    [BOUNCE, b"@/etc/passwd", b"a\0b\r\nc\n\n", b"", b"\xff\xfe", b'{"x":"' + b"y" * (1 << 20) + b'"}'],
    ids=["a bounce", "a file's name", "NUL and line breaks", "empty", "no UTF-8", "1 MiB"],
)
def test_a_body_is_forwarded_byte_for_byte(
    body: bytes, forward: Callable[..., Ended], endpoint: Endpoint
) -> None:
    assert forward("/200/hooks?a=b&c={d}[1-3]", body, SPOOLER_TEST="1").status == DONE
    (request,) = endpoint.requests
    assert request.body == body
    assert request.path == "/200/hooks?a=b&c={d}[1-3]"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["idempotency-key"] == "0a7b6e4e-52ab-4a19-9a3f-0c1d7e8f9a01"
    assert request.headers["x-spooler-webhook"] == "crm"
    assert request.headers["x-spooler-received"] == "2026-11-23T19:00:01.123456Z"
    assert request.headers["x-spooler-test"] == "1"


@needs_curl
def test_an_endpoint_that_hangs_is_left_after_the_timeout(forward: Callable[..., Ended]) -> None:
    started = time.monotonic()
    ended = forward("/hang", FORWARD_TIMEOUT="0.3")
    assert ended.status == TRY_LATER
    assert "timed out" in ended.output
    assert time.monotonic() - started < 3


@needs_curl
def test_an_answer_that_breaks_off_is_none(forward: Callable[..., Ended]) -> None:
    assert forward("/broken").status == TRY_LATER


@needs_curl
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{closed}/", "http://nowhere.invalid/", "file:///etc/passwd", "::"]
)
def test_an_endpoint_that_is_not_there_is_tried_again_later(url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    ended = Spooler(tmp_path).run(FORWARD, FORWARD_URL=url.format(closed=closed))
    assert ended.status == TRY_LATER
    assert "curl: (" in ended.output


@needs_curl
def test_a_hostile_answer_is_only_printed_and_only_its_beginning(
    forward: Callable[..., Ended], endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.answer = b"%s%n\\n $(touch owned) `touch owned`\n200\n" + b"x" * 100_000
    ended = forward("/500")
    assert ended.status == TRY_LATER
    assert ended.output.startswith("HTTP 500: %s%n\\n $(touch owned) `touch owned`\n200\nxxx")
    assert len(ended.output) < 1100
    assert list((tmp_path / "work").iterdir()) == []


@needs_curl
def test_secrets_come_from_a_curl_configuration_file_and_a_home_folder_changes_nothing(
    forward: Callable[..., Ended], endpoint: Endpoint, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text('header = "Authorization: Bearer s3cret"\n', encoding="utf-8")
    (tmp_path / ".curlrc").write_text('header = "X-Home: yes"\n', encoding="utf-8")
    assert forward("/200", FORWARD_CURLRC=str(tmp_path / "secret")).status == DONE
    (request,) = endpoint.requests
    assert request.headers["authorization"] == "Bearer s3cret"
    assert "x-home" not in request.headers
    assert forward("/200", FORWARD_CURLRC=str(tmp_path / "missing")).status == TRY_LATER


# 10-suppression-list.py


def _optout(**members: object) -> bytes:
    return json.dumps({"ContactID": {"idContact": 550013}, **members}).encode()


def test_opt_outs_complaints_and_bounces_are_put_on_the_list(spooler: Spooler) -> None:
    assert spooler.run(SUPPRESSION).status == DONE
    assert spooler.run(SUPPRESSION, SPOOLER_TYPE="contact_complaint", SPOOLER_ID="complaint").status == DONE
    bounce = {"SPOOLER_TYPE": "sending_Bounce", "SPOOLER_ID": "bounce", "SPOOLER_CONTACT": "550014"}
    assert spooler.run(SUPPRESSION, BOUNCE, **bounce).status == DONE
    query = re.search(r"```sql\n(.*?)\n```", README)
    assert query
    assert spooler.rows(query[1]) == [
        ("contact_optout", "optin_newsletter", "2026-11-23T19:00:01.123456Z"),
        ("contact_complaint", "optin_newsletter", "2026-11-23T19:00:01.123456Z"),
    ]
    assert spooler.rows("SELECT id, reason, field FROM suppression WHERE contact = '550014'") == [
        ("bounce", "sending_Bounce", "")
    ]
    (kept,) = spooler.rows("SELECT contact_id FROM suppression WHERE contact = '550014'")
    assert json.loads(str(kept[0])) == {"idContact": 550014, "f_EMail": "old@example.net"}


def test_a_second_run_of_the_suppression_list_adds_nothing_and_the_first_receipt_stands(
    spooler: Spooler,
) -> None:
    assert spooler.run(SUPPRESSION).status == DONE
    before = spooler.rows("SELECT * FROM suppression")
    assert len(before) == 1
    assert spooler.run(SUPPRESSION, SPOOLER_ATTEMPT="2").status == DONE
    assert spooler.run(SUPPRESSION, SPOOLER_RECEIVED="2026-11-23T20:46:01.000000Z").status == DONE
    assert spooler.rows("SELECT * FROM suppression") == before


def test_the_same_id_of_another_webhook_is_another_row(spooler: Spooler) -> None:
    assert spooler.run(SUPPRESSION).status == DONE
    assert spooler.run(SUPPRESSION, SPOOLER_WEBHOOK="shop").status == DONE
    assert spooler.rows("SELECT webhook FROM suppression ORDER BY webhook") == [("crm",), ("shop",)]


@pytest.mark.parametrize(
    "contact_id",
    [{"f_EMail": "anne@example.com"}, {"idContact": [1], "f_Key": {"a": "\ud83d", "b": "x\0y"}}],
    ids=["other key", "nested"],
)
def test_an_opt_out_without_an_id_of_the_contact_keeps_what_does_name_it(
    contact_id: dict[str, object], spooler: Spooler
) -> None:
    assert spooler.run(SUPPRESSION, _optout(ContactID=contact_id), SPOOLER_CONTACT="").status == DONE
    ((contact, kept, opt_in_field),) = spooler.rows("SELECT contact, contact_id, field FROM suppression")
    assert (contact, opt_in_field) == ("", "")
    assert json.loads(str(kept)) == contact_id


@pytest.mark.parametrize("opt_in_field", [None, 7, {"b": ["a"]}])
def test_an_opt_in_field_of_another_type_counts_as_all_fields(opt_in_field: object, spooler: Spooler) -> None:
    assert spooler.run(SUPPRESSION, _optout(OptinField=opt_in_field)).status == DONE
    assert spooler.rows("SELECT field FROM suppression") == [("",)]


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b'{"ContactID":"1"}', b'{"ContactID":{"idContact":null,"f":""}}'],
)
def test_an_opt_out_that_names_no_contact_is_given_up_so_that_a_person_sees_it(
    body: bytes, spooler: Spooler
) -> None:
    ended = spooler.run(SUPPRESSION, body, SPOOLER_CONTACT="")
    assert ended == Ended(GIVE_UP, "give up: the body names no contact\n")


def test_a_contact_whose_number_is_0_is_one(spooler: Spooler) -> None:
    body = _optout(ContactID={"idContact": 0})
    contact = Notification.read(body).contact
    assert spooler.run(SUPPRESSION, body, SPOOLER_CONTACT=contact).status == DONE
    assert spooler.rows("SELECT contact FROM suppression") == [("0",)]


@pytest.mark.parametrize("text", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS.keys())
def test_hostile_texts_are_kept_in_the_suppression_list_as_they_are(text: str, spooler: Spooler) -> None:
    body = _optout(OptinField=text, ContactID={"idContact": 550013, text: {text: [text]}})
    assert spooler.run(SUPPRESSION, body).status == DONE
    ((opt_in_field, contact_id),) = spooler.rows("SELECT field, contact_id FROM suppression")
    assert opt_in_field == text
    assert json.loads(str(contact_id)) == {"idContact": 550013, text: {text: [text]}}
    assert list((spooler.folder / "work").iterdir()) == []


def test_a_suppression_list_that_stays_locked_is_tried_again_later(spooler: Spooler) -> None:
    assert spooler.run(SUPPRESSION).status == DONE
    # The real script and a real lock; only its patience is cut short.
    impatient = (
        "import runpy, sqlite3, sys; connect = sqlite3.connect;"
        "sqlite3.connect = lambda path, timeout: connect(path, timeout=0.05);"
        "runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    lock = sqlite3.connect(spooler.folder / "data" / "list.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    ended = spooler.run_command([sys.executable, "-c", impatient, SUPPRESSION], OPTOUT, SPOOLER_ID="second")
    lock.close()
    assert ended.status == TRY_LATER
    assert "locked" in ended.output


# 20-upsert-contact.php


def _contact(**data: object) -> bytes:
    return json.dumps({"ContactID": {"idContact": 550012}, "Data": data}).encode()


NEWER, OLDER = "2026-11-23T19:00:02.000000Z", "2026-11-23T19:00:01.999999Z"


@needs_php
def test_the_latest_state_of_a_contact_is_kept(spooler: Spooler) -> None:
    first = spooler.run(UPSERT, SPOOLER_CONTACT="550012", SPOOLER_RECEIVED=OLDER, SPOOLER_ID="first")
    assert first == Ended(DONE, "contact 550012 is up to date\n")
    assert spooler.rows("SELECT * FROM contacts") == [("crm", "550012", OLDER, "first", MODIFIED.decode())]
    changed = _contact(f_City="Laval")
    newer = {"SPOOLER_CONTACT": "550012", "SPOOLER_RECEIVED": NEWER, "SPOOLER_ID": "newer"}
    assert spooler.run(UPSERT, changed, **newer).status == DONE
    assert spooler.rows("SELECT * FROM contacts") == [("crm", "550012", NEWER, "newer", changed.decode())]


@needs_php
def test_an_older_change_never_overwrites_a_newer_one(spooler: Spooler) -> None:
    assert spooler.run(UPSERT, _contact(f_City="Laval"), SPOOLER_RECEIVED=NEWER).status == DONE
    before = spooler.rows("SELECT * FROM contacts")
    ended = spooler.run(UPSERT, _contact(f_City="Old"), SPOOLER_RECEIVED=OLDER, SPOOLER_ID="older")
    assert ended == Ended(DONE, "contact 550013 is already newer\n")
    assert spooler.rows("SELECT * FROM contacts") == before


@needs_php
def test_a_second_run_of_the_upsert_changes_nothing(spooler: Spooler) -> None:
    assert spooler.run(UPSERT).status == DONE
    before = spooler.rows("SELECT * FROM contacts")
    assert spooler.run(UPSERT, SPOOLER_ATTEMPT="2") == Ended(DONE, "contact 550013 is up to date\n")
    assert spooler.rows("SELECT * FROM contacts") == before


@needs_php
def test_contacts_and_webhooks_do_not_touch_each_other(spooler: Spooler) -> None:
    for webhook, contact in [("crm", "1"), ("crm", "2"), ("shop", "1"), ("crm", "0")]:
        assert spooler.run(UPSERT, SPOOLER_WEBHOOK=webhook, SPOOLER_CONTACT=contact).status == DONE
    assert spooler.rows("SELECT count(*) FROM contacts") == [(4,)]


@needs_php
def test_a_change_that_names_no_contact_is_given_up(spooler: Spooler) -> None:
    ended = spooler.run(UPSERT, b'{"ContactID": {"f_EMail": "anne@example.com"}}', SPOOLER_CONTACT="")
    assert ended == Ended(GIVE_UP, "give up: the body names no contact\n")


@needs_php
def test_hostile_texts_are_kept_in_the_contact_as_they_are(spooler: Spooler) -> None:
    body = _contact(**{text: {"nested": [{text: text}]} for text in HOSTILE_TEXTS.values()})
    assert spooler.run(UPSERT, body).status == DONE
    assert spooler.rows("SELECT body FROM contacts") == [(body.decode(),)]
    assert list((spooler.folder / "work").iterdir()) == []


@needs_php
def test_a_byte_order_mark_is_no_reason_to_give_up(spooler: Spooler) -> None:
    assert spooler.run(UPSERT, b"\xef\xbb\xbf" + MODIFIED).status == DONE
    assert spooler.rows("SELECT body FROM contacts") == [(MODIFIED.decode(),)]
    assert spooler.run(SUPPRESSION, b"\xef\xbb\xbf" + OPTOUT).status == DONE


@needs_php
@pytest.mark.parametrize("dsn", ["pgsql:host=127.0.0.1 port=1 dbname=crm", "mysql:host=127.0.0.1", "crm"])
def test_a_database_server_that_cannot_be_reached_is_tried_again_later(dsn: str, spooler: Spooler) -> None:
    assert spooler.run(UPSERT, CONTACT_DSN=dsn).status == TRY_LATER


# README.md


def _example() -> str:
    found = re.search(r"## A script in ten lines\n\n```sh\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The README's example, made a script."""
    script = tmp_path / "50-example"
    script.write_text(_example(), encoding="utf-8")
    script.chmod(0o755)
    return script


def test_the_readme_s_ten_lines_are_ten_and_work_and_a_second_run_changes_nothing(
    example: Path, spooler: Spooler
) -> None:
    assert len(_example().splitlines()) == 10
    spooler.settings["OPTOUT_FOLDER"] = str(spooler.folder / "data")
    for _run in range(2):
        assert spooler.run(example, OPTOUT) == Ended(DONE, "contact 550013 opted out\n")
        kept = list((spooler.folder / "data").iterdir())
        assert [file.name for file in kept] == ["0a7b6e4e-52ab-4a19-9a3f-0c1d7e8f9a01.json"]
        assert kept[0].read_bytes() == OPTOUT


def test_the_readme_s_ten_lines_pass_over_tests_and_other_types(example: Path, spooler: Spooler) -> None:
    spooler.settings["OPTOUT_FOLDER"] = str(spooler.folder / "data")
    assert spooler.run(example, OPTOUT, SPOOLER_TEST="1") == Ended(DONE, "")
    assert spooler.run(example, OPTOUT, SPOOLER_TYPE="sending_Bounce") == Ended(DONE, "")
    assert list((spooler.folder / "data").iterdir()) == []


@pytest.mark.parametrize("settings", [{}, {"OPTOUT_FOLDER": "/nonexistent"}], ids=["not set", "no folder"])
def test_the_readme_s_ten_lines_try_again_later_without_their_folder(
    settings: dict[str, str], example: Path, tmp_path: Path
) -> None:
    assert Spooler(tmp_path).run(example, OPTOUT, **settings).status not in {DONE, GIVE_UP}


def test_the_readme_s_command_line_tries_a_script_by_hand(tmp_path: Path) -> None:
    found = re.search(r"## Trying a script at the shell\n.*?```sh\n(.*?)```", README, re.DOTALL)
    assert found
    shutil.copy(SUPPRESSION, tmp_path)
    (tmp_path / "body.json").write_bytes(OPTOUT)
    command = ["/bin/sh", "-c", found[1]]
    for _run in range(2):
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=10)
        assert result.stdout == "exit status 0\n"
        assert result.stderr == ""
    database = sqlite3.connect(tmp_path / "try.db")
    assert database.execute("SELECT id FROM suppression").fetchall() == [("by-hand-1",)]
    database.close()


def test_the_readme_explains_every_variable_of_the_contract_and_no_other(tmp_path: Path) -> None:
    given = {name for name in Spooler(tmp_path).environment() if name.startswith("SPOOLER_")}
    given.add("SPOOLER_FD")  # none of the shipped ones stays alive
    assert set(re.findall(r"^\| `(SPOOLER_[A-Z_]+)` \|", README, re.MULTILINE)) == given
    assert set(re.findall(r"\b(SPOOLER_[A-Z]+(?:_[A-Z]+)*)\b", README)) == given
