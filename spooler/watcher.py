"""The watcher: a hint that something moved in the folders.

Owns: inotify, through watchdog.
Promises: its handler sets an event and does nothing else, so that it can't fail. Where inotify can't be
had, or its thread has died, `start` and `check` say so and the regular look goes on alone. An arrival is told
of at once, in a folder whose departures nobody asks for.
Does not promise: that every change is noticed, or a departure before half a second has passed. The kernel
drops events, watchdog too; a scan finds all. Or to work with another watchdog than 7.1: it relies on that
version's inner parts.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from watchdog.events import (
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyEmitter, InotifyObserver
from watchdog.observers.inotify_c import InotifyConstants, Mask

from spooler.log import get_logger
from spooler.name import is_notification

_STOP_SECONDS = 2.0


class _Hint(FileSystemEventHandler):
    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if is_notification(os.path.basename(os.fsdecode(event.dest_path or event.src_path))):  # noqa: PTH119
            self._wake()


class _Emitter(InotifyEmitter):
    """Doesn't hear of what leaves by a rename, unless it is asked for what leaves.

    The library holds back all that comes after such an event for half a second, in case its other half comes
    too; and a receiver publishes by a rename.
    """

    def get_event_mask_from_filter(self) -> Mask:
        mask = super().get_event_mask_from_filter()
        if mask & InotifyConstants.IN_DELETE:
            return mask
        return Mask(mask & ~InotifyConstants.IN_MOVED_FROM)


class _Observer(InotifyObserver):
    def __init__(self) -> None:
        super().__init__()
        self._emitter_class = _Emitter


class Watcher:
    """Calls `wake` when a notification appears in one of the folders, or leaves one of `departures`."""

    def __init__(
        self, folders: Iterable[Path], wake: Callable[[], None], *, departures: Iterable[Path] = ()
    ) -> None:
        self._folders = list(folders)
        self._departures = set(departures)
        self._handler = _Hint(wake)
        self._observer: _Observer | None = None
        self._watched: dict[Path, int | None] = {}
        self._told = ""  # why it can't be done, as it was logged last

    @property
    def works(self) -> bool:
        """Whether hints may be expected."""
        if self._observer is None or not self._observer.is_alive():
            return False
        return all(emitter.is_alive() for emitter in self._observer.emitters)

    def start(self) -> None:
        """Watch the folders that are there. Where that can't be done, say so once; `check` tries again."""
        self._watched = {folder: _inode(folder) for folder in self._folders}
        observer: _Observer | None = None
        try:
            observer = _Observer()
            for folder, inode in self._watched.items():
                if inode is not None:
                    events: list[type[FileSystemEvent]] = [FileCreatedEvent, FileMovedEvent]
                    if folder in self._departures:
                        events.append(FileDeletedEvent)
                    observer.schedule(self._handler, str(folder), event_filter=events)
            observer.start()
        except OSError as error:
            if observer is not None:
                observer.stop()
            reason = f"inotify: {error.strerror}; looking every few seconds"
            if reason != self._told:
                get_logger().warning("not watching", reason=reason)
            self._told = reason
        else:
            self._observer = observer
            self._told = ""

    def check(self) -> bool:
        """Start anew if a folder was replaced or a thread has died; cheap enough for every look.

        Returns whether hints may have been missed.
        """
        if self._observer is not None:
            replaced = [str(f) for f, inode in self._watched.items() if _inode(f) not in {inode, None}]
            if not replaced and self.works:
                return False
            get_logger().warning("watching anew", folders=replaced)
            self.stop()
        self.start()
        return self._observer is not None

    def stop(self) -> None:
        """Let go of inotify."""
        if self._observer is not None:
            self._observer.stop()
            # Its threads end with the process; a stop must not wait for one that is stuck in the kernel.
            self._observer.join(_STOP_SECONDS)
            self._observer = None


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except OSError:
        return None
