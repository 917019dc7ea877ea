"""Confirming: how many notifications a second are stored and answered, how soon, and what each costs.

Owns: what is compared with what, and the aims.
Promises: every turn ends with a count of the files: nothing is measured that wasn't stored. Who says that
signatures are checked is tried with a forged one.
"""

import resource
import subprocess
import time
from functools import partial
from pathlib import Path

import click
import load
import peers
from load import Sender
from peers import PHP, PHP_SAFE, SPOOLER, WEBHOOK, WEBHOOK_SAFE, Peer
from processes import processor_seconds
from programs import build
from report import Aim
from rounds import Figures, Measure, Turns, ratio, take_turns

from spooler.load import BODY_BYTES

PROGRAMS = ("wrk", "webhook", "nginx", "php-fpm", "openssl", "gcc")
MANY, ONE = 32, 1
DISK, DISK_ONE = "disk, 4 threads", "disk, 1 thread"


def measure(folder: Path, rounds: int, seconds: int, bodies: int) -> dict[int, Turns]:
    """Return the turns by the number of connections."""
    sender, disk = Sender.make(folder, bodies), build("disk_limit.c", folder)
    found = {}
    for connections in (MANY, ONE):
        measures: dict[str, Measure] = {
            name: partial(_peer, name, sender, connections, seconds) for name in peers.STARTS
        }
        threads = {DISK: 4, DISK_ONE: 1} if connections == MANY else {DISK_ONE: 1}
        measures |= {name: partial(disk_limit, disk, count, seconds) for name, count in threads.items()}
        found[connections] = take_turns(measures, rounds, folder, f"{connections} connections")
    return found


def _peer(name: str, sender: Sender, connections: int, seconds: int, folder: Path) -> Figures:
    with peers.started(name, folder, sender.public_key) as peer:
        body, signature = next(sender.signed(1))
        _try(name, peer, body, signature)
        before, files_before = processor_seconds(peer.processes), _files(peer)
        figures = sender.run(peer.url, connections, seconds)
        time.sleep(0.2)  # for what was under way when wrk went home
        used = processor_seconds(peer.processes) - before
        missing = figures.requests - (_files(peer) - files_before)
    if missing > 0:
        raise click.ClickException(f"{name}: {missing} of {figures.requests} answered and not stored")
    return _figures(figures, used)


def _try(name: str, peer: Peer, body: bytes, signature: str) -> None:
    for _ in range(5):
        if (status := load.post(peer.port, peer.path, body, signature)) != 200:
            raise click.ClickException(f"{name} answers {status}; the end of its log: {peer.said}")
    refused = load.post(peer.port, peer.path, body + b" ", signature) != 200
    if refused != peer.checks:
        raise click.ClickException(f"{name}: a forged notification was{'' if refused else ' not'} refused")


def _files(peer: Peer) -> int:
    return sum(1 for _ in peer.stored.glob("[!.]*.json"))


def disk_limit(program: Path, threads: int, seconds: int, folder: Path) -> Figures:
    """Return what so many threads that only store get done; `program` is made of disk_limit.c."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [str(program), str(folder), str(threads), str(seconds), str(BODY_BYTES)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _figures(load.Figures.read(ended.stdout), used)


def _figures(figures: load.Figures, used_seconds: float) -> Figures:
    return {
        "per_second": figures.requests / figures.seconds,
        "processor_ms": used_seconds * 1e3 / figures.requests,
        "p50_ms": figures.p50_ms,
        "p99_ms": figures.p99_ms,
        "max_ms": figures.max_ms,
    }


def aims(turns: dict[int, Turns]) -> list[Aim]:
    """Return what is aimed at, and what it came to."""
    many, one = turns[MANY], turns[ONE]
    p99_ms = sorted(turn["p99_ms"] for turn in many[SPOOLER])[len(many[SPOOLER]) // 2]

    def times(other: str) -> float:
        return ratio(many, SPOOLER, other, "per_second")

    return [
        Aim(f"confirmed a second, x {PHP_SAFE}", times(PHP_SAFE), at_least=2.0),
        Aim(f"confirmed a second, x {PHP} as published", times(PHP)),
        Aim(f"confirmed a second, x {WEBHOOK_SAFE}", times(WEBHOOK_SAFE), at_least=3.0),
        Aim(f"confirmed a second, x {WEBHOOK}", times(WEBHOOK), at_least=3.0),
        Aim(f"confirmed a second, x {DISK}", times(DISK), at_least=0.5),
        Aim(
            f"processor time a request, x {PHP_SAFE}",
            ratio(many, SPOOLER, PHP_SAFE, "processor_ms"),
            at_most=0.5,
        ),
        Aim(f"p99 in ms, {MANY} connections", p99_ms, at_most=100.0),
        Aim(f"p50 at one connection, x {DISK_ONE}", ratio(one, SPOOLER, DISK_ONE, "p50_ms"), at_most=2.0),
    ]
