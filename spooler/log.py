"""The log: one logfmt line per step on standard error.

Owns: the shape of a line, for spooler's own events and for those of the libraries below it.
Promises: one event is one line, whatever the values hold. Line breaks, control and other unprintable
characters are escaped, so nobody's data can start a line, end a value or reach a terminal.
A line that can't be written (a full disk, a pipe that nobody reads) is lost, and nothing else is.
Does not promise: rotation or storage; that is the journal's.
"""

import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

# First in a line, in this order, where they are known.
_LEADING = ("timestamp", "level", "event", "webhook", "id")
_NEEDS_QUOTES = re.compile('[ ="]')
_PLAIN = re.compile("[!#-<>-~]+")  # text that stands for itself


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """Write an event as logfmt: what is unknown is left out."""
    said = [(key, event.pop(key)) for key in _LEADING if key in event]
    return " ".join(f"{key}={_written(value)}" for key, value in (*said, *event.items()) if value is not None)


def _written(value: object) -> str:
    """Make a value printable, and one word.

    TRUST: values come from the network and from file names.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if type(value) is str else str(value)
    if _PLAIN.fullmatch(text):
        return text
    if not text.isprintable():
        text = printable(text)
    if not _NEEDS_QUOTES.search(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = f"{datetime.now(UTC).isoformat(timespec='microseconds')[:-6]}Z"
    return event


def printable(text: str) -> str:
    """Return a text with whatever a terminal or a log could take for more than text escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class _BestEffort:
    """A stream whose failures are nobody's: what was stored is answered with 200, logged or not."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def get_logger() -> FilteringBoundLogger:
    """Return a logger whose methods take an event and keyword values: `log.info("stored", id=…)`."""
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def line(level: str, event: str, values: Mapping[str, object]) -> str:
    """Return an event as its line reads in the log, but for the time, which the journal adds."""
    return _render(None, level, {"level": level, "event": event, **values})


def configure(stream: TextIO | None = None) -> None:
    """Send all log lines of this process to `stream` (standard error by default)."""
    unfailing = cast(TextIO, _BestEffort(stream or sys.stderr))
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        _stamp,
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=unfailing),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(unfailing)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # waitress reports every request that waits for a thread: under load that is a line per request.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    # watchdog calls an event that comes in while it ends an error.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)
