"""The disk's limit: notifications stored by a few threads that do nothing else.

Owns: how many at once. Each is stored by the very calls with which the receiver stores one.
"""

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spooler import durable
from spooler.latency import Latencies
from spooler.name import HIDDEN

WRITERS = 4


def run(folder: Path, seconds: float, size_bytes: int) -> Latencies:
    """Store files of so many bytes in a folder that exists, for so long. Raises: OSError."""
    started = time.monotonic()
    with ThreadPoolExecutor(WRITERS) as pool:
        turns = [
            pool.submit(_write, folder, f"{writer}", started + seconds, size_bytes)
            for writer in range(WRITERS)
        ]
        taken = [seconds for turn in turns for seconds in turn.result()]
    return Latencies.of(taken, time.monotonic() - started)


def _write(folder: Path, writer: str, ends_at: float, size_bytes: int) -> list[float]:
    taken: list[float] = []
    content = secrets.token_bytes(size_bytes)  # a disk may be quicker with what repeats itself
    with durable.opened_folder(folder) as place:
        while (begun := time.monotonic()) < ends_at or not taken:
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
