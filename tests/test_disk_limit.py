"""The disk's limit: what is counted is stored."""

import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import wait_until

from spooler import disk_limit


def test_every_file_that_is_counted_is_there_whole(tmp_path: Path) -> None:
    found = disk_limit.run(tmp_path, 0.2, 100)
    files = list(tmp_path.iterdir())
    assert len(files) == found.count >= disk_limit.WRITERS
    assert {file.stat().st_size for file in files} == {100}
    assert not [file for file in files if file.name.startswith(".")]


def test_each_writer_stores_one_at_least_however_short_the_time_is(tmp_path: Path) -> None:
    assert disk_limit.run(tmp_path, 0, 1).count == disk_limit.WRITERS


def test_what_is_called_before_each_ends_all_writers_at_once(tmp_path: Path) -> None:
    calls = itertools.count(1)

    def fail_once() -> None:
        if next(calls) == 20:
            raise RuntimeError("enough")

    begun = time.monotonic()
    with pytest.raises(RuntimeError, match="enough"):
        disk_limit.run(tmp_path, 60, 1, before_each=fail_once)
    assert time.monotonic() - begun < 30
    assert 10 < len(list(tmp_path.iterdir())) < 1000


def test_ctrl_c_ends_all_writers_at_once(tmp_path: Path) -> None:
    text = "import sys, pathlib, spooler.disk_limit as one; one.run(pathlib.Path(sys.argv[1]), 60, 1)"
    with subprocess.Popen([sys.executable, "-c", text, tmp_path], stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: any(tmp_path.glob("*.json")), 30)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
