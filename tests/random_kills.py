"""Kills at random moments: receiver and processor work under load, and any of their processes ends suddenly.

Owns: the rounds, and what must hold after them: `crash_checks`, and each contact's order.
"""

import itertools
import json
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import crash_checks
from crash_checks import Sent, add_script, read_journal
from running_service import HOST, Load, Service, Site, is_alive, make_site, running, wait_until

from spooler.notification import Notification

VICTIMS = ("all", "a child", "the parent", "all", "a child", "all")
_CONTACTS = 20
_ATTEMPTS = 20  # enough that no series of kills uses them up
_SETTLE_SECONDS = 180.0


@dataclass(frozen=True)
class Rounds:
    """How many kills, confirmed notifications and runs of a script there were, and what was violated."""

    kills: int
    confirmed: int
    runs: int
    violations: list[str]


def play(root: Path, rounds: int, chance: random.Random) -> Iterator[Rounds | None]:
    """Yield after each round, and what came of all of them at the end."""
    delays = ", ".join(['"100ms"'] * (_ATTEMPTS - 1))
    site = make_site(root, receiver="workers = 2", processor=f"workers = 2\nretry_delays = [{delays}]")
    add_script(site)
    with running(site) as service:
        address = service.address
        fix_port(site, service)
    violations = []
    with Load(address, senders=8, pause_seconds=0.1, contacts=_CONTACTS) as load:
        for victim in itertools.islice(itertools.cycle(VICTIMS), rounds):
            crash(site, victim, load, chance)
            confirmed = list(load.stored)  # at rest now, but for what was confirmed and isn't noted yet
            on_disk = crash_checks.bodies(site)
            violations += [f"{on_disk[body]} files hold {body!r}" for body in confirmed if on_disk[body] != 1]
            yield None
    with running(site) as service:
        wait_until(
            lambda: not any(site.files(state) for state in ("incoming", "processing", "retry")),
            "everything settles",
            seconds=_SETTLE_SECONDS,
        )
        if service.stop() != 0:
            violations.append("the orderly end was none")
    violations += _check(site, load, rounds)
    yield Rounds(rounds, len(load.stored), len(read_journal(site)), violations)


def crash(site: Site, victim: str, load: Load, chance: random.Random) -> None:
    """Start everything, and kill it or some of it at a random moment while notifications come in."""
    answered = load.statuses[200]
    with running(site) as service:
        wait_until(lambda: load.statuses[200] > answered, "the service answers again")
        time.sleep(chance.uniform(0, 0.3))
        children = service.children()
        if victim == "the parent":
            service.process.kill()
            service.process.wait()
            wait_until(lambda: not any(map(is_alive, children)), "the children end")
        elif victim == "a child":
            os.kill(chance.choice(children), signal.SIGKILL)
            wait_until(lambda: service.log().count('event="process ended"') == 1)
            time.sleep(chance.uniform(0, 0.3))
        # What is left is killed at once.


def fix_port(site: Site, service: Service) -> None:
    """Let the next starts listen where this one does."""
    written = site.config_file.read_text()
    site.config_file.write_text(written.replace(f"{HOST}:0", f"{HOST}:{service.address[1]}"))


def _check(site: Site, load: Load, kills: int) -> list[str]:
    on_disk = crash_checks.bodies(site)
    confirmed = set(load.stored)
    kept = confirmed | {body for body in load.sent if on_disk[body]}  # the sender may not have heard of it
    sent = [Sent(json.loads(body)["EventUniqueID"], body) for body in kept]
    strange = {status for status in load.statuses if status not in {0, 200}}
    return [
        *(f"the answer {status} to an honest request" for status in strange),
        *crash_checks.when_settled(site, sent, crash_checks.interruptions(site), kills),
        *_overtakings(site),
    ]


def _overtakings(site: Site) -> Iterator[str]:
    """Compare each contact's files, by time of receipt, with the order of the runs."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, (identifier, _attempt) in enumerate(read_journal(site)):
        places[identifier].append(place)
    by_contact: dict[str, list[str]] = defaultdict(list)
    for file in sorted(site.files("done"), key=lambda path: path.name):
        notification = Notification.read(file.read_bytes())
        by_contact[notification.contact].append(notification.id)
    for older, younger in itertools.chain.from_iterable(map(itertools.pairwise, by_contact.values())):
        if places[younger] and places[older] and places[younger][0] < places[older][-1]:
            yield f"{younger} overtook {older}"
