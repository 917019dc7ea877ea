"""The log: one logfmt line per step on standard error.

Owns: the shape of a line, for spooler's own events and for those of the libraries below it.
Promises: one event is one line, whatever the values hold. Line breaks, control and other unprintable
characters are escaped, so nobody's data can start a line, end a value or reach a terminal.
A line that can't be written (a full disk, a pipe that nobody reads) is lost, and nothing else is.
Does not promise: rotation or storage; that is the journal's.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from spooler.printable import printable

# First in a line, in this order, where they are known.
_LEADING = ("timestamp", "level", "event", "webhook", "id")
_STANDARD_ERROR = 2
_NEEDS_QUOTES = re.compile('[ ="]')
_PLAIN = re.compile("[!#-<>-~]+")  # text that stands for itself


def _render(_logger: WrappedLogger, level: str, event: EventDict) -> str:
    """Write an event as logfmt: what is unknown is left out."""
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(_logger, level, event)
    event["timestamp"] = f"{datetime.now(UTC).isoformat(timespec='microseconds')[:-6]}Z"
    event["level"] = level
    return _written(event)


def _written(event: Mapping[str, object]) -> str:
    leading = {key: event[key] for key in _LEADING if key in event}
    known = {
        key: value if type(value) is str else _text(value)
        for key, value in {**leading, **event}.items()
        if value is not None
    }
    # In most lines nothing is to be written differently. Each notification has some: one look at all values.
    if _PLAIN.fullmatch("".join(known.values())):
        return " ".join([f"{key}={text}" for key, text in known.items()])
    return " ".join([f"{key}={_one_word(text)}" for key, text in known.items()])


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _one_word(text: str) -> str:
    """Make a value printable, and one word.

    TRUST: values come from the network and from file names.
    """
    text = printable(text)
    if not _NEEDS_QUOTES.search(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _BestEffort:
    """A stream whose failures are nobody's: what was stored is answered with 200, logged or not."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            pass

    def flush(self) -> None:
        """Do nothing: what was written is flushed."""


def get_logger() -> FilteringBoundLogger:
    """Return a logger whose methods take an event and keyword values: `log.info("stored", id=…)`."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def line(level: str, event: str, values: Mapping[str, object]) -> str:
    """Return an event as its line reads in the log, but for the time, which the journal adds."""
    return _written({"level": level, "event": event, **values})


def _nowhere() -> TextIO:
    """Return what takes the place of a standard error that whoever started this process has closed.

    Its number is taken, too: else what is written there by it would go to whatever is opened next.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < _STANDARD_ERROR:
        pass
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123 - for good


def configure(stream: TextIO | None = None) -> None:
    """Send all log lines of this process to `stream` (standard error by default, where there is one)."""
    if sys.stderr is None:
        sys.stderr = _nowhere()
    unfailing = cast(TextIO, _BestEffort(stream or sys.stderr))
    structlog.configure(
        processors=[_render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=unfailing),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(unfailing)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # waitress reports every request that waits for a thread: under load that is a line per request.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    # watchdog calls an event that comes in while it ends an error.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)
