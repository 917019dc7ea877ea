"""The helper for scripts in Python, in scripts that are run as spooler runs them."""

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import spooler

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


def test_importing_it_is_cheap() -> None:
    listing = (
        "import os, sys\nbefore = set(sys.modules)\nimport spooler.script\nprint(*set(sys.modules) - before)"
    )
    environment = {"PYTHONPATH": str(Path(spooler.__file__).parent.parent)}
    command = [sys.executable, "-S", "-c", listing]  # nor is there anything that an installation brings along
    loaded = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    assert set(loaded.split()) == {"spooler", "spooler.script", "__future__"}


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


# Staying alive.


@dataclass
class Spoken:
    """A script that was started as spooler does, and spooler's end of its channel."""

    process: "subprocess.Popen[str]"
    channel: socket.socket
    folder: Path

    def status(self) -> str:
        """Wait for what it says; empty if it says no more."""
        return self.channel.recv(100).decode()

    def tell(self, identifier: str, **members: object) -> None:
        file = self.folder / f"{identifier}.json"
        file.write_text(json.dumps(BODY | members))
        environment = {"SPOOLER_ID": identifier, "SPOOLER_FILE": str(file), "SPOOLER_ATTEMPT": "3"}
        self.channel.sendall(json.dumps({"file": str(file), "environment": environment}).encode() + b"\n")

    def end(self) -> tuple[int, str]:
        """Say that there is no more; return its exit status and the rest of its output."""
        self.channel.shutdown(socket.SHUT_WR)
        return self.rest()

    def rest(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=30)
        return self.process.returncode, output


@contextmanager
def spoken(folder: Path, source: str, *, leads: bool = True, number: str = "") -> Iterator[Spoken]:
    own, scripts = socket.socketpair()
    own.settimeout(30)
    program = folder / "script.py"
    program.write_text(f"import os, sys\nfrom spooler.script import *\n{source}\n")
    with own, scripts:
        process = subprocess.Popen(
            [sys.executable, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
                "SPOOLER_FD": number or str(scripts.fileno()),
                "SPOOLER_ID": "first",
            },
            pass_fds=[scripts.fileno()],
            start_new_session=leads,
        )
        scripts.close()
        assert process.stdin
        with suppress(BrokenPipeError):  # it may have ended already, without looking at it
            process.stdin.write(json.dumps(BODY))
            process.stdin.close()
        process.stdin = None
        try:
            yield Spoken(process, own, folder)
        finally:
            process.kill()
            process.communicate()


def test_each_notification_is_given_with_all_that_is_its_own(tmp_path: Path) -> None:
    source = (
        "for n in notifications(): print(n.id, n.attempt, n.data['Data'], n.file, os.environ['SPOOLER_ID'])"
    )
    with spoken(tmp_path, source) as script:
        assert script.status() == "0\n"
        script.tell("second", Data={"a": 1})
        assert script.status() == "0\n"
        script.tell("third", Data={"b": 2})
        assert script.status() == "0\n"
        assert script.end() == (
            0,
            f"first 1 {BODY['Data']} None first\n"
            f"second 3 {{'a': 1}} {tmp_path}/second.json second\n"
            f"third 3 {{'b': 2}} {tmp_path}/third.json third\n",
        )


def test_one_that_was_given_before_stays_what_it_was(tmp_path: Path) -> None:
    source = "all = []\nfor n in notifications():\n    n.id; all.append(n)\nprint([n.id for n in all])"
    with spoken(tmp_path, source) as script:
        script.status()
        script.tell("second")
        script.status()
        assert script.end() == (0, "['first', 'second']\n")


def test_what_was_printed_is_out_before_the_answer(tmp_path: Path) -> None:
    with spoken(tmp_path, "for n in notifications(): print(n.id)") as script:
        script.status()
        assert script.process.stdout
        assert select.select([script.process.stdout], [], [], 0)[0]
        assert os.read(script.process.stdout.fileno(), 100) == b"first\n"


@pytest.mark.parametrize(
    "source",
    [
        "(n,) = notifications()\nprint(n.id)\nsys.exit(9)",
        "all = list(notifications())\nprint(*[n.id for n in all])\nsys.exit(9)",
        "n, = list(notifications())\nprint(n.data and n.id)\nsys.exit(9)",
        "for n in list(notifications()):\n    print(n.id)\n    sys.exit(9)",
        "n = next(notifications())\nprint(n.id)\nsys.exit(9)",
        "for n in notifications():\n    pass\nprint('first')\nsys.exit(9)",
        "for n in notifications():\n    print(n.id)\n    break\nsys.exit(9)",
    ],
)
def test_what_takes_them_all_before_it_looks_at_any_gets_one_and_answers_by_its_exit(
    tmp_path: Path, source: str
) -> None:
    with spoken(tmp_path, source) as script:
        assert script.status() == ""
        assert script.rest() == (9, "first\n")


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ("break", 0),
        ("raise RetryLater('no')", 75),
        ("raise GiveUp('no')", 65),
        ("1 / 0", 1),
        ("sys.exit(7)", 7),
    ],
)
def test_leaving_the_loop_answers_by_the_exit_status(tmp_path: Path, last: str, status: int) -> None:
    source = f"for n in notifications():\n    if n.id == 'second':\n        {last}"
    with spoken(tmp_path, source) as script:
        assert script.status() == "0\n"
        script.tell("second")
        assert script.status() == ""
        assert script.rest()[0] == status


@pytest.mark.parametrize(
    "again",
    ["for n in notifications(): print('again', n.body)", "print('again', next(notifications()).body)"],
)
def test_a_second_loop_is_a_clear_error_and_answers_for_none(tmp_path: Path, again: str) -> None:
    """The first one's body was read, and asking for the next one would say that the last one is done."""
    with spoken(tmp_path, f"for n in notifications():\n    if n.id == 'second': break\n{again}") as script:
        assert script.status() == "0\n"
        script.tell("second")
        assert script.status() == ""
        status, output = script.rest()
    assert status == 1
    assert output.splitlines()[-1] == (
        "RuntimeError: notifications() was called before, and gives each one once: use a single loop"
    )
    assert "again b" not in output


def test_what_stands_after_the_loop_is_run_when_there_is_no_more(tmp_path: Path) -> None:
    with spoken(tmp_path, "for n in notifications(): n.id\nprint('bye')") as script:
        script.status()
        assert script.end() == (0, "bye\n")


@pytest.mark.parametrize("half", [b"", b'{"file": "/x", "env'])
def test_when_spooler_is_gone_there_is_no_more(tmp_path: Path, half: bytes) -> None:
    with spoken(tmp_path, "for n in notifications(): n.id\nprint('bye')") as script:
        script.status()
        script.channel.sendall(half)
        script.channel.close()
        assert script.rest() == (0, "bye\n")


def test_its_children_have_no_part_in_the_channel(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text("from spooler.script import *\nfor n in notifications(): print(n.id)")
    source = (
        "import subprocess\n"
        "def descriptors(): return subprocess.run(['ls', '/proc/self/fd'], stdout=subprocess.PIPE,"
        " close_fds=False).stdout.split()\n"
        "for n in notifications():\n"
        "    print(n.data and len(descriptors()), flush=True)\n"
        "    child = [sys.executable, 'child.py']\n"
        f"    subprocess.run(child, cwd={str(tmp_path)!r}, input=b'{{}}', close_fds=False)"
    )
    with spoken(tmp_path, source) as script:
        assert script.status() == "0\n"
        assert script.end() == (0, "4\nfirst\n")


def test_a_fork_of_it_answers_nothing(tmp_path: Path) -> None:
    source = (
        "for n in notifications():\n    n.id\n    child = os.fork()\n    if child: os.waitpid(child, 0)\n"
        "print('end')"
    )
    with spoken(tmp_path, source) as script:
        assert script.status() == "0\n"
        assert script.end() == (0, "end\nend\n")


def test_a_program_that_the_script_runs_does_not_answer_for_it(tmp_path: Path) -> None:
    with spoken(tmp_path, "for n in notifications(): print(n.id)", leads=False) as script:
        assert script.status() == ""
        assert script.rest() == (0, "first\n")


@pytest.mark.parametrize("number", ["77", "-1", "x", "1.0", "99999999999999999999"])
def test_a_channel_that_is_none_is_no_reason_to_fail(tmp_path: Path, number: str) -> None:
    with spoken(tmp_path, "for n in notifications(): print(n.id)", number=number) as script:
        assert script.rest() == (0, "first\n")


def test_a_notification_has_what_it_has_and_nothing_else() -> None:
    ended = run(
        "import copy\nfor n in notifications():\n"
        "    print(hasattr(n, 'nonsense'), hasattr(n, '_nonsense'), copy.copy(n).id, n.environment)",
        SPOOLER_ID="x",
    )
    assert ended.stdout == "False False x {'SPOOLER_ID': 'x'}\n"
