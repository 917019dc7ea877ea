"""What alerts are judged by: how the folders and the disk are, looked up in turns that cost little.

Owns: where each fact is looked up, and how often.
Promises: what can't be looked up now is left out, and ends nothing.
Does not promise: to know what is worth a mail; that is `spooler.alerts`'s.
Logs: nothing.
"""

import os
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from spooler import alert_texts, durable, history, inventory, refusals, selection
from spooler.alert_texts import Failure
from spooler.alerts import Facts, WebhookFacts
from spooler.clock import Clock
from spooler.folders import Place, WebhookFolders
from spooler.name import identify
from spooler.room import Room
from spooler.spool import hidden_name
from spooler.state import State

SURVEY_SECONDS = 60.0
_SURVEY_SHARE = 50  # looking into the folders may take at most this fraction of the time
_MARGIN = 10  # a tenth more than `min_free` is well again


class Failed(NamedTuple):
    webhook: str
    file: str
    at: datetime  # not before its log was written


class Watch:
    """Gathers the facts from the folders and the disk."""

    def __init__(self, folders: list[WebhookFolders], min_free_bytes: int, clock: Clock) -> None:
        self._folders = folders
        self._min_free_bytes = min_free_bytes
        self._clock = clock
        self._survey_at = 0.0
        self._unwritable = ""

    def missed(self, counted_to: datetime, until: datetime) -> list[Failed]:
        """Return what the processor gave up between two moments: what a crash kept from being counted."""
        found = []
        for folders in self._folders:
            with suppress(OSError):
                for entry in folders.notifications(State.FAILED):
                    with suppress(OSError):
                        if entry.stat(follow_symlinks=False).st_ctime >= counted_to.timestamp():
                            found += _given_up(folders, entry.name, counted_to, until)
        return found

    def facts(self, failed: list[Failed]) -> Facts:
        """Return how everything is; what folders hold only once a minute."""
        begun = self._clock.monotonic()
        survey = begun >= self._survey_at
        shortage, roomy = self._disk()
        if survey:
            self._unwritable = self._trial()
        of_webhook = {folders.webhook: self._of(folders, failed, survey=survey) for folders in self._folders}
        if survey:
            took = self._clock.monotonic() - begun
            self._survey_at = begun + max(SURVEY_SECONDS, took * _SURVEY_SHARE)
        return Facts(of_webhook, shortage, roomy, self._unwritable)

    def _of(self, folders: WebhookFolders, failed: list[Failed], *, survey: bool) -> WebhookFacts:
        names = [one.file for one in failed if one.webhook == folders.webhook]
        shown = len(names) - alert_texts.FILES_SHOWN  # of those before nobody sees the reason
        failures = [_failure(folders, name, shown=place >= shown) for place, name in enumerate(names)]
        known = WebhookFacts(tuple(failures), refusals.read(folders.folder(State.REJECTED)), surveyed=False)
        try:
            return _surveyed(known, folders) if survey else known
        except OSError:
            return known

    def _disk(self) -> tuple[str, bool]:
        try:
            room = Room.of(self._folders[0].root)
        except OSError:
            return "", False
        margin = self._min_free_bytes // _MARGIN
        return room.shortage(self._min_free_bytes), not room.shortage(self._min_free_bytes + margin)

    def _trial(self) -> str:
        """Write where refusals are counted: where that fails they aren't, and nobody would be told."""
        for folders in self._folders:
            path = folders.folder(State.REJECTED)
            hidden = hidden_name()  # CRASH: it stays, and the receiver's next start sweeps it
            try:
                with durable.opened_folder(path) as folder:
                    durable.write_hidden(folder, hidden, b"\n", sync=False)
                    os.unlink(hidden, dir_fd=folder)
            except OSError as error:
                return f"{path}: {error.strerror}"
        return ""


def _failure(folders: WebhookFolders, file_name: str, *, shown: bool) -> Failure:
    """Return what a mail tells; of one that it doesn't show nothing is read."""
    reason = _reason(folders, file_name) if shown else ""
    id_ = selection.identifier(Place(folders, State.FAILED, file_name)) if shown else ""
    return Failure(*map(alert_texts.harmless, (file_name, id_ or identify(file_name), reason)))


def _surveyed(known: WebhookFacts, folders: WebhookFolders) -> WebhookFacts:
    return replace(
        known,
        received=inventory.last_received(folders),
        oldest_waiting=inventory.oldest_waiting(folders),
        paused=folders.paused,
        surveyed=True,
    )


def _reason(folders: WebhookFolders, file_name: str) -> str:
    """Return what the last line of a failed notification's log says."""
    try:
        lines = folders.log_lines(State.FAILED, file_name)
    except OSError:
        lines = []
    note = lines[-1].get("note") if lines else None
    return note if isinstance(note, str) else "its log doesn't say why"


def _given_up(folders: WebhookFolders, file_name: str, after: datetime, until: datetime) -> list[Failed]:
    """Return the notification if the processor itself, and not a person, brought it there in that time."""
    lines = folders.log_lines(State.FAILED, file_name)
    at = history.moment(lines[-1]) if lines else None
    if at is None or not after < at <= until or not str(lines[-1].get("note", "")).startswith("given up"):
        return []
    return [Failed(folders.webhook, file_name, at)]
