"""Key files that change while requests come in."""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from key_files import OTHERS, PRIVATE_XML, PUBLIC, SPKI, XML, pem_file
from running_service import PATIENCE_SECONDS
from structlog.testing import capture_logs

from spooler.errors import KeyFileError
from spooler.keypair import to_xml
from spooler.keyring import Keyring


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "crm.pem"
    path.write_bytes(pem_file(OTHERS[0].public_key()))
    return path


def test_all_files_are_loaded_in_their_order_and_logged(path: Path) -> None:
    second = path.with_name("next.xml")
    second.write_bytes(PRIVATE_XML)
    with capture_logs() as lines:
        keyring = Keyring([path, second])
    assert [key.public for key in keyring.keys] == [OTHERS[0].public_key(), PUBLIC]
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("info", "key loaded"),
        ("warning", "key warning"),  # 1024 bits
        ("info", "key loaded"),
        ("warning", "key warning"),  # private parts
    ]
    assert lines[0]["file"] == str(path)
    assert lines[0]["fingerprint"] == keyring.keys[0].fingerprint


def test_a_file_that_cannot_be_used_at_the_start_is_an_error(path: Path) -> None:
    with pytest.raises(KeyFileError, match="doesn't exist"):
        Keyring([path, path.with_name("missing.pem")])


def test_an_unchanged_file_is_not_spoken_of_again(path: Path) -> None:
    keyring = Keyring([path])
    with capture_logs() as lines:
        keyring.refresh()
        keyring.refresh()
    assert lines == []


def test_a_file_written_over_in_place_is_noticed_at_once(path: Path) -> None:
    keyring = Keyring([path])
    for turn in range(1, 60):  # of one size, and some within one tick of the file system's clock
        other = OTHERS[turn % 3].public_key()
        path.write_bytes(pem_file(other))
        keyring.refresh()
        assert keyring.keys[0].public == other


def test_a_file_replaced_by_rename_is_noticed(path: Path) -> None:
    keyring = Keyring([path])
    new = path.with_name("new")
    new.write_bytes(SPKI)
    os.utime(new, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    new.replace(path)
    with capture_logs() as lines:
        keyring.refresh()
    assert keyring.keys[0].public == PUBLIC
    assert [(line["event"], line["bits"]) for line in lines] == [("key loaded", 2048)]


def test_the_last_good_key_is_kept_and_each_breakage_reported_once(path: Path) -> None:
    keyring = Keyring([path])
    with capture_logs() as lines:
        for content in (SPKI[:100], b""):
            path.write_bytes(content)
            keyring.refresh()
            keyring.refresh()
        path.unlink()
        keyring.refresh()
        keyring.refresh()
    assert keyring.keys[0].public == OTHERS[0].public_key()
    assert [(line["log_level"], line["event"]) for line in lines] == [("error", "key kept")] * 3
    for line, words in zip(lines, ("damaged", "is empty", "doesn't exist"), strict=True):
        assert words in line["reason"]


def test_what_was_read_quietly_counts_and_what_was_refused_quietly_is_told_later(path: Path) -> None:
    keyring = Keyring([path])
    with capture_logs() as lines:
        path.write_bytes(SPKI)
        keyring.refresh(quietly=True)
        path.write_bytes(b"")
        keyring.refresh(quietly=True)
        keyring.refresh(force=True, quietly=True)
        assert lines == []
        keyring.refresh()
    assert keyring.keys[0].public == PUBLIC
    assert [(line["event"], line["fingerprint"]) for line in lines] == [
        ("key kept", keyring.keys[0].fingerprint)
    ]


def test_a_file_that_comes_back_is_taken_up(path: Path) -> None:
    keyring = Keyring([path])
    path.unlink()
    keyring.refresh()
    path.write_bytes(SPKI)
    keyring.refresh()
    assert keyring.keys[0].public == PUBLIC
    path.unlink()
    with capture_logs() as lines:
        keyring.refresh()
    assert [line["event"] for line in lines] == ["key kept"]


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(path: Path) -> None:
    keyring = Keyring([path])
    path.unlink()
    os.mkfifo(path)
    with capture_logs() as lines:
        reading = threading.Thread(target=keyring.refresh, daemon=True)
        reading.start()
        reading.join(PATIENCE_SECONDS)
    assert [line["reason"] for line in lines] == [f"{path}: is no regular file"]
    assert keyring.keys[0].public == OTHERS[0].public_key()


def test_one_broken_file_does_not_hold_up_the_others(path: Path) -> None:
    second = path.with_name("next.xml")
    second.write_bytes(to_xml(OTHERS[1].public_key()).encode())
    keyring = Keyring([path, second])
    path.unlink()
    second.write_bytes(XML)
    keyring.refresh()
    assert [key.public for key in keyring.keys] == [OTHERS[0].public_key(), PUBLIC]


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's right to read everything, for a while; others have no such right."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_file_made_readable_again_is_taken_up() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "crm.pem"
        path.write_bytes(pem_file(OTHERS[0].public_key()))
        keyring = Keyring([path])
        path.write_bytes(SPKI)
        path.chmod(0)
        with as_nobody():
            keyring.refresh()
        assert keyring.keys[0].public == OTHERS[0].public_key()
        path.chmod(0o644)
        with as_nobody():
            keyring.refresh()
        assert keyring.keys[0].public == PUBLIC


def test_force_reads_and_reports_everything(path: Path) -> None:
    keyring = Keyring([path])
    with capture_logs() as lines:
        keyring.refresh(force=True)
        path.unlink()
        keyring.refresh(force=True)
        keyring.refresh(force=True)
    assert [line["event"] for line in lines if line["event"] != "key warning"] == [
        "key loaded",
        "key kept",
        "key kept",
    ]


def test_many_threads_may_refresh_while_the_file_changes(path: Path) -> None:
    keyring = Keyring([path])
    publics = [other.public_key() for other in OTHERS]
    wrong: list[object] = []
    done = threading.Event()

    def serve() -> None:
        while not done.is_set():
            try:
                keyring.refresh()
                wrong.extend(key for key in keyring.keys if key.public not in publics)
            except Exception as error:  # noqa: BLE001 - anything at all is what the test looks for
                wrong.append(error)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    with capture_logs():
        for thread in threads:
            thread.start()
        for turn in range(100):
            path.write_bytes(pem_file(publics[turn % 3]))
        done.set()
        for thread in threads:
            thread.join()
        keyring.refresh()
    assert wrong == []
    assert keyring.keys[0].public == publics[99 % 3]
