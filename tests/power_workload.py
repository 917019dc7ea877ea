"""What real services do until the power goes, and how they start again on what is left.

Owns: the notifications, the scripts, and noting each promise after it was made and before anything else.
"""

import contextlib
import os
import re
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mutations import mutate
from power_cases import Broken
from power_promises import FIRST, SECOND, UNUSABLE, Violation, id_of
from running_service import Service, Site, make_body, post, running, wait_until

from spooler import durable
from spooler.folders import PAUSED

_BODY_BYTES = 9000  # three blocks
_TOGETHER = 6
_EXITS = {"ok": 0, "later": 75, "never": 65}
_SETTLED = re.compile(r"event=(done|retry|failed)\b.* file=\S+?Z_([0-9a-z-]+)_")


@contextlib.contextmanager
def service(case: Broken, site: Site) -> Iterator[Service]:
    """Run a case's services."""
    with tempfile.TemporaryDirectory() as folder:
        path = mutate(Path(folder), case.changes, case.module)
        with running(site, case.command, environment={"PYTHONPATH": str(path)}) as started:
            yield started


def work(
    service: Service, case: Broken, marks: Path, sent: dict[str, bytes], count: int, *, hang: bool
) -> None:
    """Send notifications and note what is promised of them; return right after the last promise.

    hang: return while a script runs.
    """
    site = service.site
    pause = f"${{SPOOLER_FILE%/processing/*}}/{PAUSED}"
    _script(site, FIRST, marks, f'case "$SPOOLER_TYPE" in pause) touch "{pause}";; esac')
    exits = "".join(f"{type_}) exit {status};; " for type_, status in _EXITS.items())
    _script(
        site,
        SECOND,
        marks,
        f'case "$SPOOLER_TYPE" in {exits}hang) echo $$ > "{site.root}/hanging"; exec sleep 60;; esac',
    )
    ours = set() if case.command == "receive" else _send_noted(service, marks, sent)
    # Each of a contact of its own, so that none waits for another.
    types = [list(_EXITS)[number % len(_EXITS)] for number in range(count)]
    bodies = [make_body(len(sent) + number, type_, _BODY_BYTES) for number, type_ in enumerate(types)]
    if case.command == "receive":  # what comes together is stored together
        _send_all(service, bodies, marks, sent, _TOGETHER)
        return
    # What runs is sent one by one first, each with all its own syncs: the next when nothing is under way any
    # more, so that its mark is written over an earlier one, whose sync brings nothing else onto the disk.
    for body in bodies:
        identifier = _send(service, body, marks, sent)
        wait_until(lambda: identifier in _settled(service), "it is settled")  # noqa: B023
        ours.add(identifier)
    # Then many at once: what is done is synced in groups, while the next have their turns already.
    bodies = [make_body(len(sent) + number, "ok", _BODY_BYTES) for number in range(_TOGETHER)]
    ours |= _send_all(service, bodies, marks, sent, _TOGETHER)
    noted: set[str] = set()

    def note_settled() -> bool:
        for identifier, state in _settled(service).items():
            if identifier in ours and identifier not in noted:
                noted.add(identifier)
                _mark(marks, f"settled {state} {identifier}")
        return noted == ours

    wait_until(note_settled, "all are settled")
    if hang:
        last = _send(service, make_body(len(sent), "hang", _BODY_BYTES), marks, sent)
        wait_until(lambda: f"ran {last} {SECOND}" in marks.read_text(), "the script runs")


def _send_all(
    service: Service, bodies: Sequence[bytes], marks: Path, sent: dict[str, bytes], at_a_time: int
) -> set[str]:
    """Send notifications, so many at a time; return the ids."""
    with ThreadPoolExecutor(at_a_time) as pool:
        return set(pool.map(lambda body: _send(service, body, marks, sent), bodies))


def _settled(service: Service) -> dict[str, str]:
    """Return in which states the service has settled what, by id."""
    return {identifier: state for state, identifier in _SETTLED.findall(service.log())}


def _send_noted(service: Service, marks: Path, sent: dict[str, bytes]) -> set[str]:
    """Send what spooler writes a note about; return the ids. The last one waits out a pause between scripts.

    Each is sent when the one before has just moved: what is synced then brings that onto the disk, but no
    line of a log that its writer hasn't synced.
    """
    site = service.site
    paused = site.spool / "crm" / PAUSED
    no_json = b"no " + make_body(len(sent), "ok", _BODY_BYTES)
    failed = _send(service, no_json, marks, sent)
    _wait_for(site, "failed", failed)
    test = make_body(len(sent), "ok", _BODY_BYTES).replace(b"{", b'{"isTest": true, ', 1)
    done = _send(service, test, marks, sent)
    _wait_for(site, "done", done)
    back = _send(service, make_body(len(sent), "pause", _BODY_BYTES), marks, sent)
    wait_until(paused.exists, "its first script pauses")
    _wait_for(site, "incoming", back)
    _mark(marks, f"paused {back}")
    paused.unlink()
    durable.sync_folder(paused.parent)
    return {failed, done, back}


def _wait_for(site: Site, state: str, identifier: str) -> None:
    wait_until(lambda: any(identifier in path.name for path in site.files(state)), f"it is in {state}/")


def end_script(site: Site) -> None:
    """End the script that hangs, as the power's end does; the services' end alone doesn't."""
    hanging = site.root / "hanging"
    if hanging.exists():
        os.kill(int(hanging.read_text()), signal.SIGKILL)
        hanging.unlink()


def _send(service: Service, body: bytes, marks: Path, sent: dict[str, bytes]) -> str:
    identifier = id_of(body)
    sent[identifier] = body
    assert post(service.address, body).status == 200
    _mark(marks, f"ack {identifier}")
    return identifier


def _mark(marks: Path, text: str) -> None:
    with marks.open("ab", buffering=0) as file:
        file.write(f"{text}\n".encode())


def _script(site: Site, name: str, marks: Path, end: str) -> None:
    site.script(f'#!/bin/sh\necho "ran $SPOOLER_ID {name}" >> "{marks}"\n{end}\n', name)


def start_again(site: Site, sent: dict[str, bytes]) -> list[Violation]:
    """Start the real services on what came back: they must get ready, and store."""
    body = make_body(len(sent), "ok", _BODY_BYTES)
    sent[id_of(body)] = body
    site.script("#!/bin/sh\nexit 0\n", FIRST)
    site.script("#!/bin/sh\nexit 0\n", SECOND)
    with running(site) as service:
        status = post(service.address, body).status
        wait_until(lambda: not site.files("incoming") and not site.files("processing"), "all is done")
        if status == 200 and service.stop() == 0:
            return []
        return [Violation(UNUSABLE, f"started again, answers with {status}", service.log())]
