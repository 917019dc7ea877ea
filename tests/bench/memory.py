"""Memory, and what the services do while nothing happens.

Owns: how that is measured: as systemd runs them, after some work.
"""

import time
from contextlib import ExitStack
from pathlib import Path

import load
from load import Sender
from processes import listens, proportional_bytes, run_seconds, running, wait_until
from processing import Workshop
from programs import build
from report import Aim
from rounds import Figures

PROGRAMS = ("gcc",)
_NOTIFICATIONS = 200  # before memory is looked at


def measure(folder: Path, idle_seconds: float) -> Figures:
    """Return the services' memory in MB, and the share of a core that they take when idle, in %."""
    sender = Sender.make(folder)
    shop = Workshop.make(folder, build("stamp.c", folder), sender)
    with ExitStack() as stack:
        receiver, processor = (
            stack.enter_context(running(shop.command(service), folder / "log", shop.environment))
            for service in ("receive", "process")
        )
        wait_until(lambda: listens(shop.port), "the receiver listens")
        for body, signature in sender.signed(_NOTIFICATIONS):
            status = load.post(shop.port, "/webhook/crm", body, signature)
            assert status == 200, status
        wait_until(lambda: shop.started() == _NOTIFICATIONS, "all are processed", each_seconds=0.05)
        time.sleep(2)
        sizes = {
            "receiver_mb": proportional_bytes([receiver]),
            "processor_mb": proportional_bytes([processor]),
        }
        before, begun = run_seconds([receiver, processor]), time.monotonic()
        time.sleep(idle_seconds)
        used = run_seconds([receiver, processor]) - before
        idle_percent = used / (time.monotonic() - begun) * 100
    return {**{which: size / 1e6 for which, size in sizes.items()}, "idle_percent": idle_percent}


def aims(figures: Figures) -> list[Aim]:
    """Return what is aimed at, and what it came to."""
    return [
        Aim("memory of both in MB (PSS)", figures["receiver_mb"] + figures["processor_mb"], at_most=120.0),
        Aim("of a core while idle, in %", figures["idle_percent"], at_most=0.2),
    ]
