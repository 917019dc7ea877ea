"""One event, one line, whatever the values hold."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from conftest import wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_service import OTHER_KEY, exchange, make_body, make_site, post, request, running, signed

from spooler import log
from spooler.signature import HEADER

PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"=]*)( |$)')
HOSTILE = [
    'a" level=error event="forged',
    "a\nlevel=error event=forged",
    "a\r\n",
    "a\\",
    'a \\" b=c',
    "a \\",
    "\x1b[31mred\x1b[0m",
    "\x00",
    "\u202e",
    "\u2028x=1",
    "\udcff",
    "=",
    "",
    " ",
]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is logged in this process, and everything as it was afterwards."""
    root = logging.getLogger()
    handlers, level, configuration = root.handlers[:], root.level, structlog.get_config()
    root.handlers = []  # those of pytest must not be closed
    written = io.StringIO()
    log.configure(written)
    yield written
    structlog.configure(**configuration)
    root.handlers, root.level = handlers, level


def pairs(line: str) -> dict[str, str]:
    """Take a line apart as a reader of logfmt does; it must be used up."""
    found = list(PAIR.finditer(line))
    assert "".join(pair[0] for pair in found) == line
    return {pair[1]: pair[2] for pair in found}


def test_a_line_begins_with_time_level_event_webhook_and_id(stream: io.StringIO) -> None:
    log.get_logger().info("stored", bytes=12, id="7c1f", file="x.json", webhook="crm")
    line = stream.getvalue()
    assert re.fullmatch(
        r"timestamp=\S+Z level=info event=stored webhook=crm id=7c1f bytes=12 file=x\.json\n", line
    )


def test_what_is_unknown_is_left_out(stream: io.StringIO) -> None:
    log.get_logger().warning("refused", key=None, status=401)
    assert list(pairs(stream.getvalue().rstrip("\n"))) == ["timestamp", "level", "event", "status"]


def test_truth_and_numbers_are_written_plainly(stream: io.StringIO) -> None:
    log.get_logger().info("ended", watching=True, paused=False, seconds=0.25)
    assert "watching=true paused=false seconds=0.25" in stream.getvalue()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.sampled_from(HOSTILE) | st.text())
def test_nobodys_data_starts_a_line_ends_a_value_or_reaches_a_terminal(
    stream: io.StringIO, value: str
) -> None:
    stream.seek(0)
    stream.truncate()
    log.get_logger().info("stored", file=value, bytes=1)
    line = stream.getvalue().removesuffix("\n")
    assert line.isprintable()
    read = pairs(line)
    assert list(read) == ["timestamp", "level", "event", "file", "bytes"]
    assert (read["level"], read["event"], read["bytes"]) == ("info", "stored", "1")


def test_a_traceback_is_one_line(stream: io.StringIO) -> None:
    try:
        int("first\nlevel=info event=forged")
    except ValueError:
        log.get_logger().exception("defect", file="x.json")
    (line,) = stream.getvalue().splitlines()
    read = pairs(line)
    assert (read["level"], read["event"]) == ("error", "defect")
    assert "first\\\\nlevel=info" in read["exception"]


def test_what_libraries_warn_of_has_the_same_shape(stream: io.StringIO) -> None:
    logging.getLogger("urllib3.pool").warning("odd\nlevel=info event=forged %s", "x")
    logging.getLogger("urllib3.pool").info("not shown")
    (line,) = stream.getvalue().splitlines()
    read = pairs(line)
    assert (read["level"], read["event"]) == ("warning", '"odd\\\\nlevel=info event=forged x"')
    assert "timestamp" in read


def test_what_waitress_says_of_every_request_under_load_is_not_shown(stream: io.StringIO) -> None:
    logging.getLogger("waitress.queue").warning("Task queue depth is 1")
    logging.getLogger("waitress").warning("shown")
    assert [pairs(line)["event"] for line in stream.getvalue().splitlines()] == ["shown"]


PROGRAM = """
import logging
from spooler import log
log.configure()
log.get_logger().info("stored", file="x.json")
logging.getLogger("urllib3.pool").warning("odd")
print("went on")
"""


def test_a_line_that_cannot_be_written_is_nobodys_failure() -> None:
    reading, closed = os.pipe()
    os.close(reading)
    with Path("/dev/full").open("w") as full:
        for stderr in (full, closed):
            run = subprocess.run(
                [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=stderr, check=False
            )
            assert run.stdout == b"went on\n"
    os.close(closed)


def test_what_only_developers_want_is_not_shown(stream: io.StringIO) -> None:
    log.get_logger().debug("detail")
    assert stream.getvalue() == ""


LIFE = """#!/bin/sh
case "$SPOOLER_ATTEMPT" in 1) exit 75;; esac
echo "level=error event=forged"
"""


def test_the_id_finds_every_step_of_a_notifications_life(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", processor='retry_delays = ["1s"]')
    site.script("#!/bin/sh\nexit 0\n", "05-first")
    site.script(LIFE)
    body = make_body()
    identifier = json.loads(body)["EventUniqueID"]
    with running(site) as service:
        assert post(service.addresses[0], body).status == 200
        wait_until(lambda: site.files("done"), 30)
        service.wait_for("event=done")
        lines = [pairs(line) for line in service.log().splitlines() if identifier in line]
    # The receiver's line may come after the processor's first: they are two processes.
    assert [line["event"] for line in lines].count("stored") == 1
    steps = [line for line in lines if line["event"] != "stored"]
    assert [(line["event"].strip('"'), line.get("script"), line.get("attempt")) for line in steps] == [
        ("claimed", None, "1"),
        ("script ended", "05-first", "1"),
        ("script ended", "10-script", "1"),
        ("retry", None, None),
        ("claimed", None, "2"),
        ("script ended", "10-script", "2"),
        ("done", None, None),
    ]
    assert {line["id"] for line in lines} == {identifier}
    assert {line["webhook"] for line in lines} == {"crm"}


def test_strangers_start_no_line_and_no_secret_or_body_is_logged(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    site.script("#!/bin/sh\nexit 65\n")
    hostile = {"Type": "a\n<3>level=error", "EventUniqueID": "x\nlevel=error", "Data": {"f": "SECRETBODY"}}
    body = json.dumps(hostile).encode()
    with running(site) as service:
        (address,) = service.addresses
        assert post(address, body).status == 200
        assert post(address, make_body(), OTHER_KEY).status == 401
        secret = {HEADER: "SECRET,VALUE", "Authorization": "SECRETTOKEN"}
        assert request(address, body, secret).status == 401
        assert b" 400 " in exchange(
            address, b"POST /webhook/crm HTTP/1.1\r\nAuthorization SECRETTOKEN\r\n\r\n"
        )
        odd = site.folder("incoming") / "<3>a\nlevel=error event=forged\x1b[31m.json"
        odd.write_bytes(b"SECRETBODY")
        wait_until(lambda: len(site.files("failed")) == 2, 30)
        log_text = service.log()
    for line in log_text.splitlines():
        assert line.startswith("timestamp=20")
        assert line.isprintable()
        assert pairs(line)["level"] in {"info", "warning", "error"}
    assert "SECRET" not in log_text
    assert signed(body)[HEADER][:20] not in log_text
    assert "forged" not in {pairs(line)["event"] for line in log_text.splitlines()}
