"""A scene of the crash campaign: one way to be killed, its boundaries, and takes of it with one kill each.

Owns: playing a scene undisturbed to learn all boundaries of its phases, and playing it with a kill at one.
Promises: each take has a site of its own; what was violated is left on the disk, to look at.
"""

import atexit
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from call_boundaries import Boundary, Call, boundaries, read_calls, was_hit
from crash_checks import add_script
from nursery import Nursery
from running_service import Site, make_site, public_pem

from spooler.spool import WebhookSpool

PROCESSOR = 'retry_delays = ["0s", "0s", "0s", "0s"]'
_TRIES = 8  # for a thread may take another way, once in a while

Violations = list[str]
Play = Callable[[Nursery, Site, Path, Boundary | None], Violations]
Cut = Callable[[Sequence[Call]], list[str]]


@dataclass(frozen=True)
class Target:
    """A boundary, the phase that it is in, and the calls that lead up to it."""

    scene: "Scene"
    phase: str
    boundary: Boundary
    reference: Sequence[Call]


@dataclass(frozen=True)
class Take:
    """What one kill was about. hit: the thread had made exactly the calls that lead up to the boundary."""

    hit: bool
    violations: Violations


@dataclass(frozen=True)
class Scene:
    """One way to be killed.

    play: plays it in a site, traced into a file, killed at the boundary where there is one; what is violated.
    phases: names the phase of each of one thread's calls, "" where that is none; may end before them.
    """

    name: str
    play: Play
    phases: Cut

    def targets(self, nursery: Nursery, folder: Path) -> tuple[list[Target], Violations]:
        """Play it undisturbed; return all boundaries, and what is wrong already without a kill.

        A busy machine may have a thread make another call now and then: two plays have to agree.
        """
        violations: Violations = []
        earlier: list[list[str]] = []
        for number in range(_TRIES):
            place = folder / str(number)
            place.mkdir()
            site, output = _site(place), place / "trace"
            violations += self.play(nursery, site, output, None)
            found = self._targets(read_calls(output))
            names = [
                f"{target.phase} {target.boundary}" for target in found if target.boundary.name != "read"
            ]
            if violations or names in earlier:
                break
            earlier.append(names)
        return found, violations

    def _targets(self, calls: Sequence[Call]) -> list[Target]:
        found = []
        for thread in sorted({call.thread for call in calls}):
            own = [call for call in calls if call.thread == thread]
            phases = self.phases(own)
            while phases and not phases[-1]:
                phases.pop()
            # After the last call is before the next one, whatever that belongs to.
            phases += phases[-1:]
            found += [
                Target(self, phase, boundary, own)
                for phase, boundary in zip(phases, boundaries(own), strict=False)
                if phase
            ]
        return found

    def take(self, nursery: Nursery, folder: Path, target: Target) -> Take:
        """Kill at the boundary, start again, and check; tried again when it was another boundary."""
        violations: Violations = []
        for number in range(_TRIES):
            played = folder / str(number)
            played.mkdir(parents=True)
            site, output = _site(played), played / "trace"
            violations += self.play(nursery, site, output, target.boundary)
            hit = was_hit(target.boundary, read_calls(output), target.reference)
            if not violations:
                shutil.rmtree(played)
            if hit or violations:
                return Take(hit, violations)
        return Take(False, violations)


@cache
def _settled_key() -> Path:
    """Return a key file that wasn't written just now: that is read once more, sooner or later."""
    folder = Path(tempfile.mkdtemp(prefix="spooler-key-"))
    atexit.register(shutil.rmtree, folder)
    file = folder / "crm.pem"
    file.write_bytes(public_pem())
    time.sleep(2.1)
    return file


def _site(folder: Path) -> Site:
    site = make_site(folder / "site", receiver="workers = 1", processor=PROCESSOR)
    site.key_file.unlink()
    site.key_file.symlink_to(_settled_key())
    add_script(site)
    WebhookSpool(site.spool, "crm").prepare()
    return site
