"""Shared measures: every process's numbers, in small hidden files of the spool, and all of them added up.

Owns: `<spool>/.metrics/`, with one file for each process of the services, named like the process.
Promises: a process that is started again goes on from its forerunner's numbers, so that no counter falls
and no file is left over. Nothing waits for these files: they are written a second after something was
counted, by a thread, which sleeps while nothing is.
Does not promise: the last second before a crash.

Why not the library's own files for several processes: it maps them into memory, and on a disk that is full
the kernel then kills whoever counts (SIGBUS), where a receiver has to answer 503; and every process that was
ever started leaves its file.
"""

import threading
from contextlib import suppress
from pathlib import Path

from spooler import keepsake, measures
from spooler.durable import FOLDER_MODE
from spooler.log import get_logger
from spooler.measures import Labels
from spooler.name import HIDDEN

_FOLDER = HIDDEN + "metrics"
_SUFFIX = ".json"
_AFTER_SECONDS = 1.0

Numbers = dict[str, list[tuple[Labels, list[float]]]]  # of a metric's name: its series
_KNOWN = {measure.name: measure for measure in measures.ALL}


class Sharing:
    """Hands this process's numbers on while it is entered. `process`: such as `receiver-1`."""

    def __init__(self, spool: Path, process: str) -> None:
        self.folder = spool / _FOLDER  # which is made here; it has to be writable
        self._path = self.folder / f"{process}{_SUFFIX}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._written: Numbers = {}
        self._told = ""
        with suppress(OSError):  # writing will tell
            self.folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)

    def __enter__(self) -> None:
        for name, series in _read(self._path).items():
            for values, numbers in series:
                _KNOWN[name].add(values, numbers)
        self._write()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        measures.counted.set()
        self._thread.join(_AFTER_SECONDS)
        self._write()

    def _run(self) -> None:
        while measures.counted.wait() and not self._ended.wait(_AFTER_SECONDS):
            measures.counted.clear()  # RACE: before they are copied; what is counted after that is new again
            try:
                self._write()
            except Exception:  # noqa: BLE001 - the outermost frame of a thread, which is to live on
                get_logger().exception("defect", process="metrics")

    def _write(self) -> None:
        numbers = {measure.name: measure.copy() for measure in measures.ALL}
        if numbers == self._written:
            return
        try:
            keepsake.write(self._path, numbers)
        except (OSError, ValueError) as error:  # ValueError: a text that is none
            reason = f"{self._path}: {getattr(error, 'strerror', None) or error}"
            if reason != self._told:
                get_logger().warning("metrics not written", reason=reason)
            self._told = reason
            measures.counted.set()  # it is tried again, whether anything is counted or not
        else:
            self._written, self._told = numbers, ""


def read_all(spool: Path) -> Numbers:
    """Return the numbers of all processes, added up; of what can't be read, nothing."""
    total: dict[str, dict[Labels, list[float]]] = {name: {} for name in _KNOWN}
    with suppress(OSError):
        for path in sorted((spool / _FOLDER).glob(f"*{_SUFFIX}")):
            for name, series in _read(path).items():
                for values, numbers in series:
                    so_far = total[name].get(values, [0.0] * len(numbers))
                    total[name][values] = [a + b for a, b in zip(so_far, numbers, strict=True)]
    return {name: list(series.items()) for name, series in total.items()}


def _read(path: Path) -> Numbers:
    """Return a file's numbers, without what another version counted otherwise."""
    found = keepsake.read(path, Numbers) or {}
    return {
        name: [
            (values, numbers)
            for values, numbers in series
            if len(values) == len(_KNOWN[name].labels) and len(numbers) == _KNOWN[name].numbers()
        ]
        for name, series in found.items()
        if name in _KNOWN
    }
