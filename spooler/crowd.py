"""The crowd: all connections of one process together, and who has to go when they are too many or too much.

Owns: how many connections a process holds, how many bytes of requests that aren't answered yet, and who goes
first when that isn't enough.
Promises: memory is bounded, whoever sends what how slowly. Requests take turns: those are read on for which
there is room to the end, and the others wait in the kernel. Of those that don't use their room the one is
given up first that takes the most and has stood still for the longest; of connections, the one that has been
silent for the longest. What has come in whole is answered, and nothing more is read until there is room.
Does not promise: fairness between addresses; behind a proxy all have the same one. Or that a large body is
read at once when hundreds of others have begun: it may be their turn before.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from spooler.connection import Channel
from spooler.log import get_logger

_MAX_BYTES = 8 << 20
_BODIES = 4  # of the largest size: room for these there is always
_ROOM_SHARE = 16  # what is made at once, so that not every byte has to look for room
_TELL_SECONDS = 10.0
# So long a request may stand still while another one waits for its room; the more wait, the shorter.
_PATIENCE_SECONDS = 0.25
_LEAST_PATIENCE_SECONDS = 0.15
_PATIENT_WITH = 32  # that wait
_SMALL_BYTES = 64 << 10  # a request that takes no more than that


class Crowd:
    """The connections of a process, looked at after each turn of its loop."""

    def __init__(self, max_connections: int, max_body_bytes: int) -> None:
        self._max_connections = max_connections
        self._max_bytes = max(_MAX_BYTES, _BODIES * max_body_bytes)
        self._closed = 0  # connections, of which the log doesn't know yet
        self._tell_at = 0.0
        self._is_the_latest_next = True
        self.is_full = False
        self.is_scarce = False

    def may_read(self) -> bool:
        """Say whether there is room for more than waits for an answer already."""
        return not self.is_full

    def thin(self, channels: Sequence[Channel]) -> None:
        """Let those wait, or go, that are too many, or hold too much."""
        if not channels and not self._closed:  # as at most looks of a receiver that nobody talks to
            self.is_full = self.is_scarce = False
            return
        waiting = sum(channel.bytes_waiting for channel in channels)
        self.is_full = waiting > self._max_bytes // 2
        if self.is_full:  # nothing is read: nobody is silent of his own will, for waitress to close
            for channel in channels:
                channel.last_activity = time.time()
        coming = [channel for channel in channels if channel.bytes_coming and not channel.requests]
        self._ration(coming, self._max_bytes - waiting - sum(channel.bytes_coming for channel in coming))
        self.is_scarce = any(channel.is_held_back for channel in coming)
        if len(channels) > self._max_connections:
            self._make_places(channels)
        if self._closed and time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + _TELL_SECONDS
            get_logger().warning("too many connections", limit=self._max_connections, closed=self._closed)
            self._closed = 0

    def _ration(self, coming: Sequence[Channel], room: int) -> None:
        """Read on those for which there is room to the end; of those who don't use it, give some up."""
        if self.is_full:
            for channel in coming:  # that nothing is read is nobody's slowness
                channel.begin_step()
        for channel in self._in_turn(coming):
            if channel.bytes_to_come <= room:
                room -= channel.bytes_to_come
                if channel.is_held_back:
                    channel.let_read()
                    self._is_the_latest_next = not self._is_the_latest_next
            else:
                channel.hold_back()
        self._make_room(coming, room)

    def _in_turn(self, coming: Sequence[Channel]) -> Iterator[Channel]:
        """Give first who is being read, the nearly whole first; then who waits.

        Of these by turns the latest, for all others have had time to come in, and the earliest, so that
        those who came a moment before a flood don't wait for its end.
        """
        waiting = deque(sorted((one for one in coming if one.is_held_back), key=attrgetter("request.begun")))
        yield from sorted((one for one in coming if not one.is_held_back), key=attrgetter("bytes_to_come"))
        while waiting:
            yield waiting.pop() if self._is_the_latest_next else waiting.popleft()

    def _make_room(self, coming: Sequence[Channel], room: int) -> None:
        """Of those who don't use their room give up as many as are in the way; `room` is what is left now."""
        waiting = [channel for channel in coming if channel.is_held_back]
        if not coming or (room >= 0 and not waiting):
            return
        now = time.monotonic()
        patience = _PATIENCE_SECONDS * min(1.0, _PATIENT_WITH / max(1, len(waiting)))
        patience = max(patience, _LEAST_PATIENCE_SECONDS)
        reading = [channel for channel in coming if not channel.is_held_back]
        slow = [one for one in reading or coming if one.is_slow(now, patience)]
        # Where all wait for room, nobody would ever get any: then it is made for one.
        wanted = (sum if reading else max)(one.bytes_to_come for one in waiting or coming)
        large = [one for one in slow if not reading or one.bytes_taken > _SMALL_BYTES]
        room = _give_up(large, room, min(wanted, self._max_bytes), now)
        # A small one makes no room worth having, unless all of them together let somebody in.
        small = [one for one in slow if one.request]
        least = min((one.bytes_to_come for one in waiting), default=0)
        if room + sum(one.bytes_taken for one in small) >= least:
            room = _give_up(small, room, least, now)
        _give_up([one for one in coming if one.request], room, 0, now)

    def _make_places(self, channels: Sequence[Channel]) -> None:
        silent = sorted((one for one in channels if one.is_dispensable), key=attrgetter("last_activity"))
        excess = len(channels) - self._max_connections + self._max_connections // _ROOM_SHARE
        for channel in silent[:excess]:
            channel.close_now()
            self._closed += 1


def _give_up(channels: Iterable[Channel], room: int, wanted: int, now: float) -> int:
    """Give up the greediest of these until there is the room that is wanted; return what there is then."""
    # Time counts for more than size: a large body that comes in swiftly is an honest sender's.
    greedy = sorted(channels, key=lambda one: one.bytes_taken * (now - one.stands_still_since(now)) ** 2)
    while greedy and room < wanted:
        channel = greedy.pop()
        room += channel.bytes_taken
        channel.refuse_for_want_of_room()
    return room
