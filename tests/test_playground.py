"""The playground: a real service starts, is measured, and ends with its block."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import KeyPair, write_config

from spooler.errors import SpoolerError
from spooler.playground import Service, free_port


def test_a_service_answers_in_its_block_and_is_gone_after_it(tmp_path: Path, key_pair: KeyPair) -> None:
    port = free_port()
    config = write_config(tmp_path, f'[receiver]\nlisten = "127.0.0.1:{port}"\n', key=key_pair.public_pem)
    with Service("receive", config, port, tmp_path / "log") as service:
        assert 0 < service.processor_seconds() < 60
        with pytest.raises(SpoolerError, match=r"spooler receive didn't start: .*"):
            Service("receive", config, free_port(), tmp_path / "second").__enter__()
    assert service.processor_seconds() == 0


def test_one_that_does_not_start_is_told_with_its_last_word(tmp_path: Path) -> None:
    (tmp_path / "spooler.toml").write_text("spool = 7")
    with pytest.raises(
        SpoolerError, match=r"^spooler run didn't start: /.*spooler.toml, line 1: spool: expected"
    ) as caught:
        Service("run", tmp_path / "spooler.toml", free_port(), tmp_path / "log").__enter__()
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(
    not shutil.which("unshare")
    or subprocess.call(["unshare", "--net", "true"], stderr=subprocess.DEVNULL) != 0,
    reason="needs unshare, and root",
)
def test_one_that_runs_and_can_not_be_reached_is_told_so(tmp_path: Path, key_pair: KeyPair) -> None:
    text = """
import sys
from pathlib import Path
from spooler.playground import Service
Service("receive", Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])).__enter__()
"""
    port = free_port()
    config = write_config(tmp_path, f'[receiver]\nlisten = "127.0.0.1:{port}"\n', key=key_pair.public_pem)
    command = ["unshare", "--net", sys.executable, "-c", text, str(config), str(port), str(tmp_path / "log")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    words = "spooler receive didn't start: it can't be reached on 127.0.0.1: Network is unreachable"
    assert ended.stderr.splitlines()[-1] == f"spooler.errors.SpoolerError: {words}"


def test_a_free_port_can_be_listened_on() -> None:
    assert 1024 < free_port() < 65536
