"""The scenes in which services are killed at every boundary between two system calls, one kill in each take.

Owns: what is prepared, which thread is watched, where in its calls each phase begins and ends, and the
start after the kill, with what is checked then.
"""

import contextlib
import http.client
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import crash_checks
from call_boundaries import Boundary, Call, attached
from crash_checks import Sent, make_body
from crash_scene import Cut, Play, Scene, Target, Violations
from nursery import Nursery, Nursling
from running_service import Site, children_of, post, wait_until

from spooler.acceptors import _THREADS as _ACCEPTORS
from spooler.notification import Notification
from spooler.storing import ReceiversSpool
from spooler.work_folder import _APART_SECONDS

_WARM_UP = Sent("good-warm-up", make_body("good-warm-up", 1))
_LISTINGS = 3  # of processing/, and when that is empty of incoming/ and retry/; then comes the first claim


def _store(site: Site, *sent: Sent) -> None:
    for one in sent:
        ReceiversSpool(site.spool, "crm").store(one.body, Notification.read(one.body))


def _nothing_waits(site: Site) -> bool:
    return not any(site.files(state) for state in ("incoming", "processing", "retry"))


def finish(
    nursery: Nursery, site: Site, sent: Sequence[Sent], entitled: dict[str, int], kills: int = 1
) -> Violations:
    """Start a processor, let it settle everything, end it and check."""
    crash_checks.make_old(crash_checks.litter(site))
    hidden = [path for path in site.folder("processing").iterdir() if path.name.startswith(".")]
    again = nursery.start(site, "process")
    with contextlib.suppress(AssertionError):  # what still waits then is told by the checks
        wait_until(
            lambda: (
                not again.is_alive or (_nothing_waits(site) and not any(path.exists() for path in hidden))
            ),
            "everything settles, and what was left is swept",
        )
    again.stop()
    return crash_checks.when_settled(site, sent, entitled, kills)


# Store: the receiver's threads, from the connection to the answer and its end


def play_store(nursery: Nursery, site: Site, output: Path, boundary: Boundary | None) -> Violations:
    """Deliver one notification to a receiver; the sender repeats until it is confirmed."""
    receiver = nursery.start(site, "receive")
    address = receiver.address()
    wait_until(lambda: children_of(receiver.process), "the receiver's process starts")
    worker = Nursling(children_of(receiver.process)[0], receiver.log_file, receiver.log_from)
    loop, *others = _threads_that_store(worker)
    sent = Sent("good-1", make_body("good-1", 7), times=1)
    # The loop looks at its folders, once a second.
    watched = others if boundary and boundary.name == "newfstatat" else [loop, *others]
    with attached(watched, output, boundary):
        status = _deliver(address, sent.body)
        if boundary:
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not worker.is_alive, "the kill", seconds=0.5)
    receiver.kill()
    confirmed = [sent.body] if status == 200 else []
    violations = crash_checks.at_the_instant(site, confirmed, unsure=[sent.body])
    crash_checks.make_old(crash_checks.litter(site))
    receiver = nursery.start(site, "receive")
    if status != 200:
        sent = Sent(sent.id, sent.body, times=2)
        if _deliver(receiver.address(), sent.body) != 200:
            violations.append("a repeat was not confirmed after the start")
    else:
        receiver.address()
    receiver.stop()
    violations += [f"not swept: {path.name}" for path in crash_checks.litter(site)]
    return violations + finish(nursery, site, [sent], {})


def _threads_that_store(worker: Nursling) -> list[int]:
    """Return the threads of a receiver, when all are there: its loop, and those that may answer.

    Left out is the one that counts for the metrics, which is started right before those that accept; these
    are known by what they wait in.
    """
    wait_until(lambda: len(_accepting(worker)) == _ACCEPTORS, "the receiver's threads start")
    threads = worker.threads()
    first = threads.index(_accepting(worker)[0])
    return threads[: first - 1] + threads[first:]


def _accepting(worker: Nursling) -> list[int]:
    waits = {thread: Path(f"/proc/{worker.process}/task/{thread}/wchan") for thread in worker.threads()}
    return [thread for thread, where in waits.items() if re.search("epoll|ep_poll", where.read_text())]


def _deliver(address: "tuple[str, int] | str", body: bytes) -> int:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return post(address, body).status
    return 0


def store_phases(calls: Sequence[Call]) -> list[str]:
    loops, stores = (any(call.name == name for call in calls) for name in ("accept4", "renameat2"))
    # Once a second the loop looks whether its folders are still the same; that is no part of this.
    return ["store" if stores or (loops and call.name != "newfstatat") else "" for call in calls]


# A turn: the processor's worker, from the claim to where the notification is settled


def play_turn(kind: str) -> Play:
    """Return what plays the turns of one notification, with a younger one of its contact behind it."""

    def play(nursery: Nursery, site: Site, output: Path, boundary: Boundary | None) -> Violations:
        processor = nursery.start(site, "process")
        processor.wait_for("processor ready")
        before = processor.threads()
        _store(site, _WARM_UP)
        wait_until(lambda: processor.log().count("event=done") == 1, "the first notification is done")
        time.sleep(2 * _APART_SECONDS)  # now its working folder needn't be listed, however soon it goes on
        threads = [thread for thread in processor.threads() if thread not in before]
        older = Sent(f"{kind}-1", make_body(f"{kind}-1", 7))
        younger = Sent("good-2", make_body("good-2", 7), after=older.id)
        with attached(threads, output, boundary):
            _store(site, older, younger)
            wait_until(lambda: not processor.is_alive or _nothing_waits(site), "the kill, or the end")
        processor.kill()
        sent = [_WARM_UP, older, younger]
        violations = crash_checks.at_the_instant(site, [one.body for one in sent])
        return violations + finish(nursery, site, sent, crash_checks.interrupted(site))

    return play


def turn_phases(of_the_first: str, later: str = "") -> Cut:
    """Return what cuts a worker's calls: phases of the first turn, and of those after it, that count."""

    def cut(calls: Sequence[Call]) -> list[str]:
        wanted, cut_up, phase, clears_mark = of_the_first.split(), [], "claim", False
        for call in calls:
            if "good-2" in call.rest:  # the younger one's turn
                break
            opens_mark, was = call.name == "openat" and "/.run-" in call.rest, phase
            if opens_mark and was.endswith("claim"):  # to write it
                phase = phase.replace("claim", "run")
            cut_up.append(phase if phase in wanted else "")
            if was.endswith("run") and call.name == "openat" and ".log" in call.rest:  # for the run's line
                phase = phase.replace("run", "settle")
            elif clears_mark and call.name == "close":
                phase, wanted = "retry-claim", later.split()
            clears_mark = call.name == "pwrite64"
        return cut_up

    return cut


# Recovery: the processor's main thread, from its first step to the first claim


def play_recovery(nursery: Nursery, site: Site, output: Path, boundary: Boundary | None) -> Violations:
    """Start a processor on what crashes left behind in every folder."""
    sent, entitled = leave_behind(nursery, site)
    paths = _paths(site)
    processor = nursery.start(site, "process", stopped=True)
    with attached([processor.process], output, boundary, paths=paths):
        processor.go_on()
        wait_until(lambda: not processor.is_alive or _nothing_waits(site), "the kill, or the end")
    processor.kill()
    violations = crash_checks.at_the_instant(site, [one.body for one in sent])
    now = crash_checks.interrupted(site)
    entitled = {key: entitled.get(key, 0) + now.get(key, 0) for key in entitled.keys() | now.keys()}
    return violations + finish(nursery, site, sent, entitled, kills=2)


def _paths(site: Site) -> list[Path]:
    """Return what recovery may have a hand on: all that is there, and where it may be moved."""
    folders = [folder for folder in site.spool.rglob("*") if folder.is_dir()]
    names = {path.stem for path in site.all_files() if path.suffix in {".json", ".log"}}
    moved = [folder / (name + suffix) for folder in folders for name in names for suffix in (".json", ".log")]
    hidden = [path for path in site.all_files() if path.name.startswith(".")]
    return [site.root / "stderr.log", site.spool, *folders, *hidden, *moved]


def leave_behind(nursery: Nursery, site: Site) -> tuple[list[Sent], dict[str, int]]:
    """Kill a processor while a script runs, and part logs from files as kills between two renames do."""
    done = Sent("good-0", make_body("good-0", 5))
    running = Sent("long-1", make_body("long-1", 7))
    younger = Sent("good-2", make_body("good-2", 7), after=running.id)
    _store(site, done)
    processor = nursery.start(site, "process")
    wait_until(lambda: len(site.files("done")) == 1, "the first is done")
    crash_checks.journal_of(site).with_suffix(".long").write_text("30")
    _store(site, running, younger)
    wait_until(lambda: ("long-1", 1) in crash_checks.read_journal(site), "the script runs")
    processor.kill()
    crash_checks.journal_of(site).with_suffix(".long").unlink()
    (finished,) = site.files("done")
    log = finished.with_suffix(".log")
    log.rename(site.folder("processing") / log.name)
    return [done, running, younger], crash_checks.interrupted(site)


def recovery_phases(calls: Sequence[Call]) -> list[str]:
    cut_up, phase, locked = [], "start", 0
    for call in calls:
        cut_up.append(phase)
        if "processor ready" in call.rest:
            phase = "recovery"
        locked += phase == "recovery" and "LOCK_UN" in call.rest
        if locked == _LISTINGS:
            break
    return cut_up


SCENES = (
    Scene("store", play_store, store_phases),
    Scene("a turn that works", play_turn("good"), turn_phases("claim run settle")),
    Scene(
        "a turn that works later",
        play_turn("later"),
        turn_phases("settle", "retry-claim retry-run retry-settle"),
    ),
    Scene("a turn that never works", play_turn("never"), turn_phases("settle")),
    Scene("recovery", play_recovery, recovery_phases),
)


def all_targets(
    nursery: Nursery, folder: Path, scenes: Sequence[Scene] = SCENES
) -> Iterator[tuple[Scene, list[Target], Violations]]:
    """Count the boundaries of each scene, in a run of it that nobody disturbs."""
    for number, scene in enumerate(scenes):
        place = folder / f"undisturbed-{number}"
        place.mkdir(parents=True)
        targets, violations = scene.targets(nursery, place)
        yield scene, targets, violations
