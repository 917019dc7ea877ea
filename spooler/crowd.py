"""The crowd: all connections of one process together, and who has to go when they are too many or too much.

Owns: how many connections a process holds, how many bytes of requests that aren't answered yet, and who goes
first when that isn't enough.
Promises: memory is bounded, whoever sends what how slowly. Who is small or quick goes last: of the requests
on their way in, those go that have taken the most room for the longest; of the connections, the one that has
been silent for the longest. What has come in whole is answered, and nothing more is read until there is room.
Does not promise: fairness between addresses; behind a proxy all have the same one.
"""

import time
from collections.abc import Sequence
from operator import attrgetter

from spooler.http_requests import Channel
from spooler.log import get_logger

_MAX_BYTES = 8 << 20
_BODIES = 4  # of the largest size: room for these there is always
_ROOM_SHARE = 16  # what is made at once, so that not every byte has to look for room
_TELL_SECONDS = 10.0


class Crowd:
    """The connections of a process, looked at after each turn of its loop."""

    def __init__(self, max_connections: int, max_body_bytes: int) -> None:
        self._max_connections = max_connections
        self._max_bytes = max(_MAX_BYTES, _BODIES * max_body_bytes)
        self._closed = 0  # connections, of which the log doesn't know yet
        self._tell_at = 0.0
        self.is_full = False

    def may_read(self) -> bool:
        """Say whether there is room for more than waits for an answer already."""
        return not self.is_full

    def thin(self, channels: Sequence[Channel]) -> None:
        """Let those go that are too many, or hold too much."""
        waiting = sum(channel.bytes_waiting for channel in channels)
        self.is_full = waiting > self._max_bytes // 2
        coming = sum(channel.bytes_coming for channel in channels)
        if waiting + coming > self._max_bytes:
            self._make_room(channels, waiting + coming)
        if len(channels) > self._max_connections:
            self._make_places(channels)
        if self._closed and time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + _TELL_SECONDS
            get_logger().warning("too many connections", limit=self._max_connections, closed=self._closed)
            self._closed = 0

    def _make_room(self, channels: Sequence[Channel], held_bytes: int) -> None:
        now = time.monotonic()
        greedy = sorted(
            (channel for channel in channels if channel.bytes_coming and not channel.requests),
            # Time counts for more than size: a large body that comes in swiftly is an honest sender's.
            key=lambda channel: channel.bytes_coming * (now - channel.request.begun) ** 2,
        )
        while greedy and held_bytes > self._max_bytes - self._max_bytes // _ROOM_SHARE:
            channel = greedy.pop()
            held_bytes -= channel.bytes_coming
            channel.refuse_for_want_of_room()

    def _make_places(self, channels: Sequence[Channel]) -> None:
        silent = sorted((one for one in channels if one.is_dispensable), key=attrgetter("last_activity"))
        excess = len(channels) - self._max_connections + self._max_connections // _ROOM_SHARE
        for channel in silent[:excess]:
            channel.close_now()
            self._closed += 1
