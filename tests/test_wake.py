"""A wake-up call that a signal handler may give."""

import os
import signal
import threading
import time
from pathlib import Path

from conftest import wait_until

from spooler.wake import Wake


def test_it_stays_set_until_it_is_cleared_however_often_it_was_set() -> None:
    wake = Wake()
    assert not wake.wait(0)
    wake.set()
    wake.set()
    assert wake.wait(30)
    assert wake.wait(0)
    wake.clear()
    wake.clear()
    assert not wake.wait(0.01)


def test_another_thread_and_a_signal_wake_who_waits() -> None:
    for how in ("thread", "signal"):
        wake = Wake()
        before = signal.signal(signal.SIGUSR1, lambda *_, wake=wake: wake.set())
        call = wake.set if how == "thread" else lambda: os.kill(os.getpid(), signal.SIGUSR1)
        timer = threading.Timer(0.05, call)
        timer.start()
        try:
            begun = time.monotonic()
            assert wake.wait(30)
            assert time.monotonic() - begun < 10
        finally:
            timer.join()
            signal.signal(signal.SIGUSR1, before)


def test_its_descriptor_is_closed_with_it() -> None:
    wake = Wake()
    descriptor = Path(f"/proc/self/fd/{wake.fileno()}")
    assert str(descriptor.readlink()) == "anon_inode:[eventfd]"
    del wake
    wait_until(lambda: not descriptor.is_symlink())
