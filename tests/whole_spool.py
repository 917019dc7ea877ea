"""The receiver's and the processor's part of the spool in one, for tests that play both."""

from dataclasses import dataclass

from spooler.claiming import ProcessorsSpool
from spooler.storing import ReceiversSpool


@dataclass(frozen=True, slots=True)
class WholeSpool(ReceiversSpool, ProcessorsSpool):
    """One webhook's part of the spool."""
