"""The alerter: a thread beside the processor that looks, remembers, and sends what is due.

Owns: when is looked, the memory's file `<spool>/.alerts`, and when a mail is tried again.
Promises: nothing of the processor ever waits for it. Counts, what was told and what is due survive a restart;
after a crash the failures are counted that nobody had noted yet. A mail server that is away is tried again
after half a minute, then ever more rarely, up to half an hour. So is a mail that it refuses, by itself, and
dropped after a day; it holds up no other.
Does not promise: that a mail is never sent twice: it is, after a crash between sending it and noting that.
Rather so than never.
Logs: a line for each mail, sent or not.
"""

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from spooler import (
    alerts,
    keepsake,
    mail,
    measures,
)
from spooler.alert_facts import Failed, Watch
from spooler.alerts import Facts, Memory
from spooler.clock import Clock, SystemClock
from spooler.config import Alerts as Settings
from spooler.config import Configuration
from spooler.folders import WebhookFolders
from spooler.log import get_logger
from spooler.name import HIDDEN

FILE_NAME = HIDDEN + "alerts"
LOOK_SECONDS = 5.0
_AGAIN_SECONDS, _LONGEST_AGAIN_SECONDS = 30.0, 1800.0
_REFUSED_SECONDS = 86400.0  # a mail that the server refuses is tried for so long
_PAUSE_SECONDS = 1.0  # between two looks, so that a burst of failures is taken in together
_STOP_SECONDS = 2.0


class Alerter:
    """Sends mails while it is entered, if any are configured."""

    def __init__(self, configuration: Configuration, *, clock: Clock | None = None) -> None:
        self._settings = configuration.alerts
        self._min_free = configuration.receiver.min_free
        self._clock = clock or SystemClock()
        self._root = configuration.spool
        self._folders = [WebhookFolders(self._root, name, self._clock) for name in configuration.webhooks]
        self._failed: queue.SimpleQueue[Failed] = queue.SimpleQueue()
        self._begun = self._clock.now()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)

    def __enter__(self) -> "Alerter":
        self._begun = self._clock.now()  # from here on the processor tells of each
        if self._settings:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._wake.set()
        if self._settings:
            self._thread.join(_STOP_SECONDS)  # a mail that is just being sent isn't waited for longer

    def failed(self, webhook: str, file_name: str) -> None:
        """Take note that a notification ended in `failed/`; from any thread, and at once."""
        if self._settings:
            self._failed.put(Failed(webhook, file_name, self._clock.now()))
            self._wake.set()

    def _run(self) -> None:
        assert self._settings is not None  # noqa: S101 - else the thread isn't started
        desk = Desk(self._settings, self._root, self._clock)
        watch = Watch(self._folders, self._min_free, self._clock)
        failed = watch.missed(desk.memory.counted_to, self._begun)
        while True:
            ending = self._ended.is_set()
            self._wake.clear()
            failed += self._drain()
            with _living_on():
                facts, counted_to = watch.facts(failed), max((one.at for one in failed), default=None)
                failed = []  # whatever comes of it: nothing is counted twice
                desk.take_in(facts, counted_to)
            with _living_on():
                if not ending:
                    desk.send_due()
            if ending:
                return
            self._ended.wait(_PAUSE_SECONDS)
            self._wake.wait(LOOK_SECONDS)

    def _drain(self) -> list["Failed"]:
        found: list[Failed] = []
        with suppress(queue.Empty):
            while True:
                found.append(self._failed.get_nowait())
        return found


@contextmanager
def _living_on() -> Iterator[None]:
    """Log whatever goes wrong: the outermost frame of a thread, which is to live on."""
    try:
        yield
    except Exception:  # noqa: BLE001 - see above
        get_logger().exception("defect", process="alerts")


class _AwayError(Exception):
    """The mail server can't be reached, or takes nothing now."""


class Desk:
    """The memory, its file, and what is due."""

    def __init__(self, settings: Settings, root: Path, clock: Clock) -> None:
        self._settings = settings
        self._path = root / FILE_NAME
        self._clock = clock
        now = clock.now()
        self.memory = keepsake.read(self._path, Memory) or Memory(since=now, counted_to=now)
        self.memory.counted_to = min(self.memory.counted_to, now)
        self._pause_seconds = 0.0
        self._try_at = 0.0
        self._saved = b""
        self._told = ""

    def take_in(self, facts: Facts, counted_to: datetime | None = None) -> None:
        """Let the rules look at the facts, and keep what came of it.

        counted_to: when the latest of the failures in the facts happened.
        """
        silence = timedelta(seconds=self._settings.silence) if self._settings.silence else None
        host = socket.gethostname()
        alerts.review(self.memory, facts, self._clock.now(), host=host, silence=silence)
        if counted_to:
            self.memory.counted_to = max(self.memory.counted_to, counted_to)
        self._save()

    def send_due(self) -> None:
        """Send the mails that are due, unless the server was away a moment ago."""
        if self._clock.monotonic() < self._try_at:
            return
        for about, letter in list(self.memory.due.items()):
            if letter.waits(self._clock.now(), timedelta(seconds=_LONGEST_AGAIN_SECONDS)):
                continue
            try:
                is_settled = self._send(letter)
            except _AwayError:
                # Perhaps it takes others: the next try begins with one of those.
                self.memory.due[about] = self.memory.due.pop(about)
                self._save()
                return
            # CRASH: sent and not noted: it is sent again, under the same Message-ID.
            if is_settled:
                del self.memory.due[about]
            self._save()

    def _send(self, letter: alerts.Mail) -> bool:
        """Try a mail; return whether it needs no further try. Raises: _AwayError if none can be sent now."""
        log = get_logger().bind(subject=letter.subject)
        try:
            mail.send(self._settings, letter.subject, letter.body, letter.id)
        except mail.PartlyRefusedError as error:
            log.warning("mail sent", reason=str(error))
        except mail.RefusedError as error:
            measures.ALERT_MAILS.count("not_sent")
            return self._put_off(letter, str(error))
        except mail.MailError as error:
            self._pause_seconds = min(max(_AGAIN_SECONDS, 2 * self._pause_seconds), _LONGEST_AGAIN_SECONDS)
            self._try_at = self._clock.monotonic() + self._pause_seconds
            log.error("mail not sent", reason=str(error), again_in_seconds=self._pause_seconds)  # noqa: TRY400
            measures.ALERT_MAILS.count("not_sent")
            raise _AwayError from None
        else:
            log.info("mail sent")
        measures.ALERT_MAILS.count("sent")
        self._pause_seconds = 0.0
        return True

    def _put_off(self, letter: alerts.Mail, reason: str) -> bool:
        """Let a mail that the server doesn't want wait for itself; return whether it is given up."""
        now = self._clock.now()
        letter.refused_since = min(letter.refused_since or now, now)
        waited_seconds = (now - letter.refused_since).total_seconds()
        log = get_logger().bind(subject=letter.subject, reason=reason)
        if waited_seconds > _REFUSED_SECONDS:
            log.error("mail dropped")
            return True
        pause_seconds = min(max(_AGAIN_SECONDS, waited_seconds), _LONGEST_AGAIN_SECONDS)
        letter.again_at = now + timedelta(seconds=pause_seconds)
        log.error("mail refused", again_in_seconds=pause_seconds)
        return False

    def _save(self) -> None:
        """Write the memory down if it changed. Where that fails (a full disk), alerts go on without."""
        try:
            content = msgspec.json.encode(self.memory)
            if content == self._saved:
                return
            keepsake.write(self._path, self.memory, sync=True)
            self._saved, self._told = content, ""
        except (OSError, ValueError) as error:  # ValueError: a text that is none
            why = getattr(error, "strerror", None) or error
            reason = f"{self._path}: {why}: after a restart mails may come twice"
            if reason != self._told:
                get_logger().warning("alerts not noted", reason=reason)
            self._told = reason


def waiting_mails(root: Path) -> int:
    """Return how many mails are not sent yet."""
    memory = keepsake.read(root / FILE_NAME, Memory)
    return len(memory.due) if memory else 0
