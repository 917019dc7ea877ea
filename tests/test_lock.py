"""One processor per spool."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spooler.errors import Exit, SpoolLockedError, SpoolUnusableError
from spooler.lock import ProcessorLock, is_held

HOLD = "import sys; from pathlib import Path; from spooler.lock import ProcessorLock; "
HOLD += "lock = ProcessorLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"


def test_a_second_lock_is_refused_at_once_and_says_why(tmp_path: Path) -> None:
    lock = ProcessorLock(tmp_path)
    with pytest.raises(SpoolLockedError) as raised:
        ProcessorLock(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}: another processor works on this spool (there can be one); stop that one first"
    )
    assert raised.value.exit is Exit.FAILED
    lock.close()


def test_the_lock_can_be_taken_again_after_it_was_let_go(tmp_path: Path) -> None:
    ProcessorLock(tmp_path).close()
    ProcessorLock(tmp_path).close()


def test_two_spools_have_two_locks(tmp_path: Path) -> None:
    locks = [ProcessorLock(tmp_path / name) for name in ("a", "b")]
    for lock in locks:
        lock.close()


def test_the_lock_ends_with_the_process_that_holds_it_however_that_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(SpoolLockedError):
            ProcessorLock(tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        ProcessorLock(tmp_path).close()


def test_a_program_that_is_started_meanwhile_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = ProcessorLock(tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False):
        lock.close()
        ProcessorLock(tmp_path).close()


def test_the_lock_leaves_nothing_that_could_go_stale(tmp_path: Path) -> None:
    ProcessorLock(tmp_path / "new" / "spool").close()
    assert os.listdir(tmp_path / "new" / "spool") == []  # noqa: PTH208 - nothing at all, hidden or not


def test_a_refused_lock_keeps_no_descriptor(tmp_path: Path) -> None:
    lock = ProcessorLock(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(SpoolLockedError):
            ProcessorLock(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    lock.close()


def test_what_can_be_no_spool_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        SpoolUnusableError, match="file/spool: can't be used as the spool: Not a directory"
    ) as raised:
        ProcessorLock(tmp_path / "file" / "spool")
    assert raised.value.exit is Exit.CONFIGURATION


def test_it_can_be_told_whether_a_processor_works_without_touching_its_lock(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    held = ProcessorLock(tmp_path)
    assert is_held(tmp_path)
    assert not is_held(tmp_path.parent)
    held.close()
    assert not is_held(tmp_path)
    with pytest.raises(FileNotFoundError):
        is_held(tmp_path / "gone")
