"""The log: one logfmt line per step on standard error.

Owns: the shape of a line, for spooler's own events and for those of the libraries below it.
Promises: one event is one line, whatever the values hold. Line breaks, control and other unprintable
characters are escaped, so nobody's data can start a line, end a value or reach a terminal.
A line that can't be written (a full disk, a pipe that nobody reads) is lost, and nothing else is.
Does not promise: rotation or storage; that is the journal's.
"""

import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

# First in a line, in this order, where they are known.
_LEADING = ["timestamp", "level", "event", "webhook", "id"]
_RENDER = structlog.processors.LogfmtRenderer(key_order=_LEADING, drop_missing=True, bool_as_flag=False)


def _escape(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Make every value printable before it is rendered.

    TRUST: values come from the network and from file names.
    """
    return {key: _printable_value(value) for key, value in event.items() if value is not None}


def _printable_value(value: object) -> object:
    return value if isinstance(value, bool | int | float) else printable(str(value))


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
    said: EventDict = {"level": level, "event": event, **values}
    return str(_RENDER(None, level, _escape(None, level, said)))


def configure(stream: TextIO | None = None) -> None:
    """Send all log lines of this process to `stream` (standard error by default)."""
    unfailing = cast(TextIO, _BestEffort(stream or sys.stderr))
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _escape,
    ]
    structlog.configure(
        processors=[*shared, _RENDER],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=unfailing),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(unfailing)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _RENDER],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # waitress reports every request that waits for a thread: under load that is a line per request.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    # watchdog calls an event that comes in while it ends an error.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)
