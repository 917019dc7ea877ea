"""The administrator's commands, for their tests: run as a person runs them, on a spool with real files.

Owns: running a command to its end, notifications put where a processor would have put them, and the schemas
of what is printed as JSON.
"""

import importlib
import io
import json
import os
import pkgutil
import pty
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
from conftest import FakeClock

from spooler import cli, history
from spooler.cli import main
from spooler.history import Line
from spooler.name import Name
from spooler.owner import acting_for
from spooler.person import PersonsSpool
from spooler.state import State

MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}
_COUNT = {"type": "integer", "minimum": 0}


def _closed(**members: Any) -> dict[str, Any]:
    """Return the schema of an object of exactly these members."""
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"type": "null"}, schema]}


STATUS = _closed(
    webhooks={
        "type": "object",
        "additionalProperties": _closed(
            states=_closed(**{state.value: _COUNT for state in State}),
            oldest_seconds=_or_null({"type": "number", "minimum": 0}),
            last_received=_or_null(MOMENT),
            received_last_hour=_COUNT,
            failures_today=_COUNT,
            paused={"type": "boolean"},
            held=_or_null({"type": "string", "minLength": 1}),
        ),
    },
    disk=_closed(
        free_bytes=_COUNT,
        free_inodes=_or_null(_COUNT),
        min_free_bytes=_COUNT,
        shortage=_or_null({"type": "string", "minLength": 1}),
    ),
)
_ENTRY: dict[str, Any] = {
    "webhook": {"type": "string"},
    "state": {"enum": [state.value for state in State]},
    "file": {"type": "string", "pattern": "^/.*[.]json$"},
    "id": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
    "type": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
    "contact": _or_null({"type": "string", "minLength": 1}),
    "received": MOMENT,
    "attempts": _COUNT,
}
_HISTORY = {"history": {"type": "array", "items": {"type": "object"}}, "body": {"type": "string"}}


def entry_schema(state: State, *, shown: bool = False) -> dict[str, Any]:
    """Return the schema of a line of `list --json`, or of `show --json`."""
    due = {"due": MOMENT} if state is State.RETRY else {}
    return _closed(**_ENTRY, **due, **(_HISTORY if shown else {}))


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    def lines(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what was printed as JSON Lines, each of which is of the schema."""
        found = [json.loads(line) for line in self.out.splitlines()]
        for one in found:
            jsonschema.validate(one, schema)
        return found


def spooler(config: Path, *arguments: str, given: str = "") -> Ended:
    """Run a command without a terminal."""
    ended = subprocess.run(
        _line(config, arguments), input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in ended.stderr
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def in_process(arguments: Sequence[str], *, given: bytes = b"") -> Ended:
    """Run a command in this process, many times as fast, on streams as strict as those of a UTF-8 locale."""
    out, err = io.BytesIO(), io.BytesIO()
    inner = io.TextIOWrapper(out, "utf-8", write_through=True)
    outer = io.TextIOWrapper(err, "utf-8", errors="backslashreplace", write_through=True)  # as Python's own
    kept, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(given), "utf-8")
    try:
        with redirect_stdout(inner), redirect_stderr(outer):
            status = main(arguments)
    finally:
        sys.stdin = kept
    return Ended(int(status), out.getvalue().decode(), err.getvalue().decode())


def as_its_owner(spool: PersonsSpool, config: Path, *arguments: str) -> Ended:
    """Run a command as the user whom a spool was given to."""
    for module in pkgutil.iter_modules(cli.__path__, "spooler.cli."):
        importlib.import_module(module.name)  # that user needn't be able to
    in_process(["list", "done", "--config", str(config)])  # nor what is loaded when it is first needed
    with acting_for(spool.base):
        return in_process([*arguments, "--config", str(config)])


def on_a_terminal(config: Path, *arguments: str, typed: str) -> Ended:
    """Run a command on a terminal, where somebody types."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        _line(config, arguments), stdin=slave, stderr=slave, stdout=subprocess.PIPE, text=True
    )
    os.close(slave)
    os.write(master, typed.encode())
    assert process.stdout
    out = process.stdout.read()
    status = process.wait(60)
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:
        pass  # Linux' way to say that nobody has the other end any more
    os.close(master)
    return Ended(status, out, shown.decode())


def _line(config: Path, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "spooler", *arguments, "--config", str(config)]


def make_spool(config: Path, webhook: str = "crm") -> PersonsSpool:
    """Return the folders of the spool beside a configuration, made, on a clock that stands still."""
    spool = PersonsSpool(config.parent / "spool", webhook, FakeClock(), who="anna")
    spool.prepare()
    return spool


def put(
    spool: PersonsSpool,
    state: State,
    identifier: str = "id-1",
    *,
    type_: str = "contact_modified",
    contact: int = 1,
    age: float = 0,
    day: str = "",
    lines: Sequence[Line] = (),
) -> Path:
    """Put a notification where it would be, with its log; return its path."""
    received = spool.clock.now() - timedelta(seconds=age)
    day = (day or spool.today) if state is State.DONE else ""
    path = spool.path(state, str(Name(received, identifier, type_)), day)
    path.parent.mkdir(exist_ok=True)
    body = {"EventUniqueID": identifier, "Type": type_, "ContactID": {"idContact": contact}}
    path.write_text(json.dumps(body))
    if lines:
        history.append(path.with_suffix(".log"), lines)
    return path


def run_line(exit_: int = 75, output: str = "", attempt: int = 1) -> Line:
    """Return the line of a run."""
    at = "2026-11-23T19:00:00.000000Z"
    told = {"at": at, "attempt": attempt, "script": "10-crm", "exit": exit_, "seconds": 0.1}
    return {**told, "output": output, "version": "0"}
