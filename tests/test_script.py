"""The helper for scripts in Python, in scripts that are run as spooler runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BODY = {
    "Type": "contact_modified",
    "EventUniqueID": "7c1f4a52",
    "isTest": False,
    "ContactID": {"idContact": 550012},
    "Data": {"f_City": "Québec", "n": 12345678901234567890, "x": 1.5},
}


def run(source: str, body: bytes | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
    content = json.dumps(BODY).encode() if body is None else body
    program = f"from spooler.script import GiveUp, RetryLater, notifications\n{source}"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **variables}
    ended = subprocess.run(
        [sys.executable, "-c", program], input=content, capture_output=True, env=environment, check=False
    )
    return subprocess.CompletedProcess(
        ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode()
    )


def test_a_script_sees_what_spooler_says_of_the_notification() -> None:
    ended = run(
        "for n in notifications():\n"
        "    print(n.id, n.type, n.contact, n.is_test, n.attempt, n.max_attempts, n.is_last_attempt,"
        " n.webhook, n.received.isoformat(), n.file, n.data['Data'])",
        SPOOLER_ID="an-id",
        SPOOLER_TYPE="a-type",
        SPOOLER_CONTACT="77",
        SPOOLER_TEST="1",
        SPOOLER_ATTEMPT="5",
        SPOOLER_MAX_ATTEMPTS="5",
        SPOOLER_WEBHOOK="crm",
        SPOOLER_RECEIVED="2026-11-23T19:00:01.123456Z",
        SPOOLER_FILE="/spool/x.json",
    )
    assert ended.stdout == (
        "an-id a-type 77 True 5 5 True crm 2026-11-23T19:00:01.123456+00:00 /spool/x.json "
        "{'f_City': 'Québec', 'n': 12345678901234567890, 'x': 1.5}\n"
    )
    assert ended.returncode == 0


def test_at_the_shell_the_body_alone_is_enough() -> None:
    ended = run("for n in notifications(): print(n.id, n.type, n.contact, n.is_test, n.attempt, n.file)")
    assert ended.stdout == "7c1f4a52 contact_modified 550012 False 1 None\n"


def test_a_body_with_a_byte_order_mark_is_read() -> None:
    ended = run(
        "for n in notifications(): print(n.data['Type'])", b"\xef\xbb\xbf" + json.dumps(BODY).encode()
    )
    assert ended.stdout == "contact_modified\n"


@pytest.mark.parametrize(("exception", "status"), [("RetryLater", 75), ("GiveUp", 65)])
def test_the_exceptions_end_the_script_with_their_status_and_tell_why(exception: str, status: int) -> None:
    ended = run(f"for n in notifications():\n    raise {exception}('the CRM says no')")
    assert (ended.returncode, ended.stderr) == (status, "the CRM says no\n")


def test_a_broad_except_of_the_script_does_not_swallow_the_answer() -> None:
    ended = run(
        "for n in notifications():\n"
        "    try:\n        raise GiveUp('no such contact')\n"
        "    except Exception:\n        pass"
    )
    assert ended.returncode == 65


def test_any_other_exception_means_try_again_and_leaves_its_traceback() -> None:
    ended = run("for n in notifications():\n    n.data['missing']")
    assert ended.returncode not in {0, 65}
    assert "KeyError: 'missing'" in ended.stderr


def test_importing_it_is_cheap(tmp_path: Path) -> None:
    listing = "import sys\nprint(*sorted(sys.modules))"
    loaded = set(run(listing).stdout.split())
    assert loaded.isdisjoint({"cryptography", "bottle", "waitress", "watchdog", "click", "rich", "structlog"})


@pytest.mark.parametrize(
    ("city", "attempt", "status", "output"),
    [
        ("Québec", "1", 0, "contact 550012 lives in Québec\n"),
        (None, "1", 75, "the profile isn't complete yet\n"),
        (None, "2", 0, "contact 550012 lives in None\n"),
    ],
)
def test_the_example_of_the_readme_works(city: str | None, attempt: str, status: int, output: str) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    example = readme.partition("<!-- python -->\n```python\n")[2].partition("```")[0]
    body = json.dumps(BODY | {"Data": {"f_City": city}}).encode()
    ended = run(example, body, SPOOLER_ATTEMPT=attempt)
    assert (ended.returncode, ended.stdout + ended.stderr) == (status, output)
