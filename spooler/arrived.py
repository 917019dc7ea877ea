"""What has just arrived: its name can be seen, and found, before it is on the disk.

Owns: knowing for which names in a folder that isn't so any more.
Promises: a name that `keep` was called for survives a power cut. One sync serves for all that was there when
it began: where many wait, hardly any turn costs one.
Does not promise: that on a file system where a rename doesn't change a file's time of change (POSIX leaves it
open; ext4, XFS and Btrfs do change it).
"""

import os

from spooler import durable


class Arrived:
    """What has arrived in one folder."""

    def __init__(self) -> None:
        # The folder's time of change when the last sync began, in nanoseconds: it is set by each rename into
        # it. All times are the kernel's, and are compared with each other only.
        self._synced_to = 0

    def keep(self, folder: str, path: str) -> None:
        """See to it that a file's name in the folder survives a power cut. Raises: OSError."""
        renamed = os.lstat(path).st_ctime_ns
        changed = os.stat(folder).st_ctime_ns  # noqa: PTH116 - a text
        # What has the same time may have come after that sync. A folder that was changed earlier than it was:
        # the clock was set back.
        if renamed < self._synced_to <= changed:
            return
        durable.sync_folder(folder)
        self._synced_to = changed
