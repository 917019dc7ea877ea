"""The failures that end a command or a service, and the exit status of each.

Owns: the tree of exceptions that `SpoolerError` is the root of, and the table of the exit statuses.
Promises: `str(error)` is one clear line that names the culprit and says what to do.
Does not promise: anything about scripts' exit statuses; those are `spooler.outcome`'s.
"""

from enum import IntEnum
from typing import ClassVar


class Exit(IntEnum):
    """Exit statuses of the `spooler` command."""

    OK = 0
    FAILED = 1  # the answer is no, or something failed
    USAGE = 2
    CONFIGURATION = 78  # EX_CONFIG of sysexits.h


class SpoolerError(Exception):
    """Root of the tree: caught in the outermost frame of a process, and told in one line."""

    exit: ClassVar[Exit] = Exit.FAILED


class ConfigurationError(SpoolerError):
    """The configuration can't be used as it is: a key, a value, a file or a folder that it names."""

    exit: ClassVar[Exit] = Exit.CONFIGURATION


class KeyFileError(ConfigurationError):
    """A key file can't be used; the line says which, what it is and what was expected."""


class CertificateFileError(SpoolerError):
    """A client certificate's file can't be used; the line says which, what it is and what was expected."""


class SpoolUnusableError(ConfigurationError):
    """A folder of the spool can't be made, read or written."""


class SpoolMissingError(SpoolerError):
    """There is no spool where the configuration says, so nobody can say what is in it."""


class SpoolLockedError(SpoolerError):
    """Another processor works on this spool."""


class StorageUnavailableError(SpoolerError):
    """A notification can't be stored now (full, read-only, I/O error, too late): try again later."""


class SignatureRefusedError(SpoolerError):
    """A request's signature was not accepted; the text is for the log, never for the client."""


class CertificateRefusedError(SpoolerError):
    """A request's client certificate isn't on the webhook's list, or it has none; for the log, too."""
