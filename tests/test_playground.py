"""The playground: a real service starts, is measured, and ends with its block."""

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


def test_a_free_port_can_be_listened_on() -> None:
    assert 1024 < free_port() < 65536
