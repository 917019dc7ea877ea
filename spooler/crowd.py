"""The crowd: all connections of one process together, and who has to go when they are too many or too much.

Owns: how many connections a process holds, how many bytes of requests that aren't answered yet, and who goes
first when that isn't enough.
Promises: memory is bounded, whoever sends what how slowly. When it gets scarce, requests take turns: those
are read on for which there is room to the end, and the others wait in the kernel. Who is small or quick goes
last: of the requests on their way in, those go that take the most room and have stood still for the longest;
of the connections, the one that has been silent for the longest. What has come in whole is answered, and
nothing more is read until there is room.
Does not promise: fairness between addresses; behind a proxy all have the same one.
"""

import time
from collections.abc import Sequence
from operator import attrgetter

from spooler.connection import Channel
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
        self.is_scarce = False

    def may_read(self) -> bool:
        """Say whether there is room for more than waits for an answer already."""
        return not self.is_full

    def thin(self, channels: Sequence[Channel]) -> None:
        """Let those wait, or go, that are too many, or hold too much."""
        waiting = sum(channel.bytes_waiting for channel in channels)
        self.is_full = waiting > self._max_bytes // 2
        if self.is_full:  # nothing is read: nobody is silent of his own will, for waitress to close
            for channel in channels:
                channel.last_activity = time.time()
        held = waiting + sum(channel.bytes_coming for channel in channels)
        was_scarce, self.is_scarce = self.is_scarce, held > self._max_bytes // 2
        if self.is_scarce or was_scarce:
            self._ration(channels, held)
        if len(channels) > self._max_connections:
            self._make_places(channels)
        if self._closed and time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + _TELL_SECONDS
            get_logger().warning("too many connections", limit=self._max_connections, closed=self._closed)
            self._closed = 0

    def _ration(self, channels: Sequence[Channel], held_bytes: int) -> None:
        """Read on those for which there is room to the end; of those who don't use it, give some up."""
        coming = [channel for channel in channels if channel.bytes_coming and not channel.requests]
        if self.is_full or not self.is_scarce:
            for channel in coming:  # that nothing is read, or was, is nobody's slowness
                channel.let_read()
            if held_bytes <= self._max_bytes:
                return
        room = self._max_bytes - held_bytes
        for channel in sorted(coming, key=_in_turn):
            if channel.bytes_to_come <= room:
                room -= channel.bytes_to_come
                if channel.is_held_back:
                    channel.let_read()
            else:
                channel.is_held_back = True
        self._make_room(coming, held_bytes)

    def _make_room(self, coming: Sequence[Channel], held_bytes: int) -> None:
        now = time.monotonic()
        wanted = max((one.bytes_to_come for one in coming if one.is_held_back), default=0)
        room = self._max_bytes - held_bytes - sum(one.bytes_to_come for one in coming if not one.is_held_back)
        if room >= 0 and not wanted:
            return
        reading = [channel for channel in coming if not channel.is_held_back]
        greedy = sorted(
            # Where all wait for room, nobody would ever get any.
            (one for one in reading or coming if held_bytes > self._max_bytes or one.is_slow(now)),
            # Time counts for more than size: a large body that comes in swiftly is an honest sender's.
            key=lambda one: (one.bytes_coming + one.bytes_to_come) * (now - one.stands_still_since(now)) ** 2,
        )
        while greedy and room < max(wanted, self._max_bytes // _ROOM_SHARE):
            channel = greedy.pop()
            room += channel.bytes_coming + channel.bytes_to_come
            channel.refuse_for_want_of_room()

    def _make_places(self, channels: Sequence[Channel]) -> None:
        silent = sorted((one for one in channels if one.is_dispensable), key=attrgetter("last_activity"))
        excess = len(channels) - self._max_connections + self._max_connections // _ROOM_SHARE
        for channel in silent[:excess]:
            channel.close_now()
            self._closed += 1


def _in_turn(channel: Channel) -> tuple[bool, float]:
    """Sort first who is being read, the nearly whole first; then who waits, the latest first: all others
    have had time to come in.
    """
    if channel.is_held_back:
        return True, -channel.request.begun
    return False, channel.bytes_to_come
