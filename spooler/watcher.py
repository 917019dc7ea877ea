"""The watcher: a hint that something moved in the folders.

Owns: inotify, through watchdog.
Promises: its handler sets an event and does nothing else, so that it can't fail. Where inotify can't be
had, or its thread has died, `start` and `check` say so and the regular look goes on alone.
Does not promise: that every change is noticed. The kernel drops events, watchdog too; a scan finds all.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from watchdog.events import FileCreatedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from spooler.log import get_logger
from spooler.name import is_notification


class _Hint(FileSystemEventHandler):
    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if is_notification(os.path.basename(os.fsdecode(event.dest_path or event.src_path))):  # noqa: PTH119
            self._wake()


class Watcher:
    """Calls `wake` when a notification appears in one of the folders."""

    def __init__(self, folders: Iterable[Path], wake: Callable[[], None]) -> None:
        self._folders = list(folders)
        self._handler = _Hint(wake)
        self._observer: BaseObserver | None = None
        self._watched: dict[Path, int] = {}

    @property
    def works(self) -> bool:
        """Whether hints may be expected."""
        return self._observer is not None and all(emitter.is_alive() for emitter in self._observer.emitters)

    def start(self) -> None:
        """Watch the folders. Where that can't be done, say so once and leave it to the regular look."""
        observer = Observer()
        try:
            for folder in self._folders:
                observer.schedule(self._handler, str(folder), event_filter=[FileCreatedEvent, FileMovedEvent])
            observer.start()
            self._watched = {folder: folder.stat().st_ino for folder in self._folders}
        except OSError as error:
            get_logger().warning(
                "not watching", reason=f"inotify: {error.strerror}; looking every few seconds"
            )
            return
        self._observer = observer

    def check(self) -> None:
        """Start anew if a folder was replaced or a thread has died; cheap enough for every look."""
        if self._observer is None:
            return
        replaced = [folder for folder, inode in self._watched.items() if _inode(folder) not in {inode, None}]
        if replaced or not self.works:
            get_logger().warning("watching anew", folders=[str(folder) for folder in replaced])
            self.stop()
            self.start()

    def stop(self) -> None:
        """Let go of inotify."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except OSError:
        return None
