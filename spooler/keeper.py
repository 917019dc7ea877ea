"""Scripts that stay alive: which of them wait, who gets the next notification, and when one is ended.

Owns: one webhook's living scripts while they have nothing in hand, and the working folder of each.
Promises: one serves one notification at a time, of the version of its file that it was started from. It is
ended after 1,000 notifications, when its file has changed or is gone, after 5 idle minutes, and when spooler
stops; another is started in its place only then. What ends while it has nothing in hand costs no attempt,
and what is stuck then costs one time limit: it may only be slow, and nobody can take back what it was told.
Does not promise: to notice a change in what a script's file makes use of.
Logs: each that is ended, or has ended, while it had nothing in hand.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spooler import durable, work_folder
from spooler.channel import Channel
from spooler.dropins import Script
from spooler.living import Living, NeverSawError, Run
from spooler.log import get_logger
from spooler.scripts import Runner
from spooler.work_folder import WorkFolder, WorkFolders

MOST_NOTIFICATIONS = 1000
IDLE_SECONDS = 300.0
_LOOK_SECONDS = 1.0
_SHOWN_CHARACTERS = 500  # of what one wrote while it had nothing in hand, in the log
_BY_ITSELF, _ASTRAY = "it ended while it waited", "it didn't wait to be told of the next"
_STUCK = "it didn't read of the next within the time limit"
_CHANGED, _STOP = "its file has changed", "spooler stops"


@dataclass(slots=True, eq=False)
class _Kept:
    """A living script. stamp: of its file. waits_since: monotonic seconds."""

    script: Script
    stamp: tuple[int, ...]
    living: Living
    folder: WorkFolder
    served: int = 0
    waits_since: float = 0.0


class Keeper:
    """Runs the scripts of one webhook, each by a process that waits for it or by a new one."""

    def __init__(
        self,
        runner: Runner,
        folders: WorkFolders,
        *,
        most_notifications: int = MOST_NOTIFICATIONS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        """most_notifications, idle_seconds: after how many, and how long without any, one is ended."""
        self.folders = folders
        self._runner = runner
        self._most_notifications = most_notifications
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._waiting: list[_Kept] = []
        self._leaving: list[tuple[Path, threading.Thread]] = []
        self._keeps = True
        self._look_at = 0.0

    def run(
        self, script: Script, file: Path | str, environment: Mapping[str, str], timeout_seconds: float
    ) -> Run:
        """Have a script work on a notification. Raises: OSError if it could not even be prepared."""
        while kept := self._take(script):
            try:
                run = self._runner.go_on(kept.living, environment, timeout_seconds)
            except NeverSawError as error:
                _tell(kept, _why_unseen(error), error.run)
                self.folders.take_back(kept.folder)
                if error.is_stuck:
                    break  # a further one may be stuck, too; a new one isn't, so a turn takes two time limits
            except BaseException:
                self.folders.take_back(kept.folder)
                raise
            else:
                self._keep(kept)
                return run
        return self._start(script, file, environment, timeout_seconds)

    def look(self) -> None:
        """End those that have waited for too long, and clear away after what has ended; for now and then."""
        now = time.monotonic()
        if not self._waiting or now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        with suppress(OSError):  # no descriptor is left to look with: at the next look again
            self._runner.reap()
        self._end_where(lambda kept: self._why_to_end(kept, now))

    def end_waiting(self) -> None:
        """End all that wait, and keep no further one; they are waited for in `close`."""
        self._keeps = False
        self._end_where(lambda _kept: _STOP)

    def close(self) -> None:
        """End all that wait; return when nothing of them is left. No script may be running any more."""
        self.end_waiting()
        for _path, thread in self._leaving:
            thread.join()
        self.folders.remove()

    def _start(
        self, script: Script, file: Path | str, environment: Mapping[str, str], timeout_seconds: float
    ) -> Run:
        stamp = _stamp(script.path)
        folder = self.folders.give()
        try:
            with durable.opened_file(file) as body:
                living = self._runner.start(
                    script.path,
                    body=body,
                    environment=environment,
                    folder=folder.path,
                    channel=Channel(),
                )
            run = living if isinstance(living, Run) else self._runner.attend(living, timeout_seconds)
        except BaseException:
            self.folders.take_back(folder)
            raise
        if isinstance(living, Run):
            self.folders.take_back(folder)
        else:
            self._keep(_Kept(script, stamp, living, folder))
        return run

    def _take(self, script: Script) -> _Kept | None:
        """Return one that waits for notifications of this script; None if one is to be started."""
        if (
            self._waiting
        ):  # RACE: one that another thread lets wait meanwhile is taken if it is of this version
            stamp = _stamp(script.path)
            self._end_where(
                lambda kept: (
                    _CHANGED
                    if kept.script.path == script.path and (kept.script, kept.stamp) != (script, stamp)
                    else ""
                )
            )
        with self._lock:
            for kept in reversed(self._waiting):  # what is more than needed gets none, and ends
                if kept.script == script:
                    self._waiting.remove(kept)
                    return kept
            leaving = [thread for path, thread in self._leaving if path == script.path]
        for thread in leaving:
            thread.join()
        return None

    def _keep(self, kept: _Kept) -> None:
        """Let one that has answered wait, if it may go on."""
        if kept.living.has_ended:
            self.folders.take_back(kept.folder)
            return
        kept.served += 1
        kept.waits_since = time.monotonic()
        reason = "" if work_folder.empty(kept.folder.path) else "its working folder can't be emptied"
        if kept.served >= self._most_notifications:
            reason = f"{kept.served} notifications"
        with self._lock:
            if self._keeps and not reason:
                self._waiting.append(kept)
                return
        self._end(kept, reason or _STOP)

    def _why_to_end(self, kept: _Kept, now: float) -> str:
        if kept.living.has_exited:
            return _BY_ITSELF
        if _stamp(kept.script.path) != kept.stamp:
            return _CHANGED
        return "nothing to do" if now - kept.waits_since >= self._idle_seconds else ""

    def _end_where(self, why: Callable[[_Kept], str]) -> None:
        """End those that wait and that there is a reason for."""
        with self._lock:
            over = [(kept, reason) for kept in self._waiting if (reason := why(kept))]
            for kept, _reason in over:
                self._waiting.remove(kept)
        for kept, reason in over:
            self._end(kept, reason)

    def _end(self, kept: _Kept, reason: str) -> None:
        """End one that has nothing in hand, in a thread of its own: it may take its time."""

        def end() -> None:
            try:
                _tell(kept, reason, self._runner.dismiss(kept.living))
            finally:
                self.folders.take_back(kept.folder)

        thread = threading.Thread(target=end, name="leaving")
        with self._lock:
            self._leaving = [(path, other) for path, other in self._leaving if other.is_alive()]
            with suppress(RuntimeError):  # no thread can be had
                thread.start()
                self._leaving.append((kept.script.path, thread))
                return
        end()


def _stamp(path: Path) -> tuple[int, ...]:
    """Return what changes with a file, and when somebody touches it; nothing for one that can't be run."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_ino, status.st_mtime_ns) if os.access(path, os.X_OK) else ()


def _why_unseen(error: NeverSawError) -> str:
    if error.is_stuck:
        return _STUCK
    return _BY_ITSELF if error.has_exited else _ASTRAY


def _tell(kept: _Kept, reason: str, run: Run) -> None:
    get_logger().info(
        "script dismissed",
        script=kept.script.name,
        reason=reason,
        notifications=kept.served,
        exit=run.exit,
        output=run.output[-_SHOWN_CHARACTERS:] or None,
    )
