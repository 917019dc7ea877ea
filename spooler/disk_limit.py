"""The disk's limit: notifications stored by a few threads that do nothing else.

Owns: how many at once. Each is stored by the very calls with which the receiver stores one.
"""

import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

from spooler import durable
from spooler.latency import Latencies
from spooler.name import HIDDEN

WRITERS = 4


def run(
    folder: Path, seconds: float, size_bytes: int, *, before_each: Callable[[], None] | None = None
) -> Latencies:
    """Store files of so many bytes in a folder that exists, for so long.

    before_each: called before each file; what it raises ends all. Raises: OSError.
    """
    started, ended = time.monotonic(), threading.Event()

    def goes_on() -> bool:
        if before_each:
            before_each()
        return time.monotonic() < started + seconds and not ended.is_set()

    with ThreadPoolExecutor(WRITERS) as pool:
        try:
            turns = [
                pool.submit(_write, folder, f"{writer}", goes_on, size_bytes) for writer in range(WRITERS)
            ]
            wait(turns, return_when=FIRST_EXCEPTION)
        finally:
            ended.set()  # of Ctrl-C, or of one that failed, the others learn here
    taken = [seconds for turn in turns for seconds in turn.result()]
    return Latencies.of(taken, time.monotonic() - started)


def _write(folder: Path, writer: str, goes_on: Callable[[], bool], size_bytes: int) -> list[float]:
    taken: list[float] = []
    content = secrets.token_bytes(size_bytes)  # a disk may be quicker with what repeats itself
    with durable.opened_folder(folder) as place:
        while goes_on() or not taken:
            begun = time.monotonic()
            name = f"{writer}-{len(taken)}.json"
            file = durable.NewFile(hidden=HIDDEN + name, content=content)

            def publish(file: durable.NewFile = file, name: str = name) -> None:
                durable.rename(file.hidden, name, source_folder=place, target_folder=place)
                file.name = name

            durable.create(place, [file], publish)
            if file.error is not None:
                raise file.error
            taken.append(time.monotonic() - begun)
    return taken
