"""`spooler demo`: the whole path in an empty folder."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "spooler", "demo"]


def test_the_folders_tell_the_story(tmp_path: Path) -> None:
    ended = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\x1b" not in ended.stdout
    spool = tmp_path / "spooler-demo" / "spool" / "demo"
    done = sorted(path.name.split("_", 1)[1] for path in spool.glob("done/*/*.json"))
    assert done == [
        "demo-bounce_sending_Bounce.json",
        "demo-later_contact_created.json",
        "demo-modified_contact_modified.json",
        "demo-modified_contact_modified.json",
        "demo-optout_contact_optout.json",
        "demo-test_contact_modified.json",
    ]
    (failed,) = spool.glob("failed/*.json")
    lines = [json.loads(line) for line in failed.with_suffix(".log").read_text().splitlines()]
    assert [line.get("exit") for line in lines] == [75, 75, 75, None]
    assert len(list(spool.glob("rejected/*.json"))) == 1
    for state in ("incoming", "processing", "retry"):
        assert list((spool / state).iterdir()) == []


def test_it_can_be_run_again_but_takes_no_folder_of_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "spooler-demo").mkdir()
    (tmp_path / "spooler-demo" / "mine").touch()
    ended = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert ended.returncode == 1
    assert ended.stderr == (
        "spooler: spooler-demo: exists already and isn't from a demonstration; name another folder\n"
    )
    assert (tmp_path / "spooler-demo" / "mine").exists()


@pytest.mark.parametrize(("variable", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_on_a_terminal_a_table_fills(tmp_path: Path, variable: dict[str, str], coloured: bool) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    environment = {**os.environ, "TERM": "xterm", **variable}
    started = subprocess.Popen(COMMAND, cwd=tmp_path, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # the terminal is gone with the last process on it
        pass
    os.close(ours)
    assert started.wait(20) == 0
    assert b"fails in every attempt" in shown
    assert (b"\x1b[32m" in shown) == coloured
