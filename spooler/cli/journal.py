"""What a person decided, for the journal: it stands there beside what the services tell of a notification.

Owns: the way there, syslog(3); a command's standard error is the person's, and no service sees the move.
Promises: where there is no journal nothing happens.
Does not promise: that it is kept; the notification's own log is the record.
"""

import syslog

from spooler import log


def tell(event: str, **about: str) -> None:
    """Write one line of the log's shape to the journal."""
    syslog.openlog("spooler", syslog.LOG_PID)
    syslog.syslog(syslog.LOG_NOTICE, log.line("info", event, about))
