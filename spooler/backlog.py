"""The backlog: which waiting notification is next, so that none overtakes an older one of its contact.

Owns: the order. All of it is memory that the folders can rebuild; nothing here touches a file.
Promises: `peek` gives the oldest that may run now. What shares a lane (a contact, or an id) with an older
one that isn't settled yet is held, costs nothing while it is, and comes up when the older one is settled,
or was taken away by hand. Work per notification doesn't grow with the number of those held.
Does not promise: that a file is still there.

A notification is known by its file's name; names sort by time of receipt. Lanes are named by whoever
calls, from the body. `unread` holds names whose lanes nobody has looked up yet: bodies are read when
their turn comes, not when they arrive.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain

from spooler.state import State

Lanes = tuple[str, ...]


class Backlog:
    """What waits for one webhook."""

    def __init__(
        self, lanes_of: Callable[[State, str], Lanes | None], order: Callable[[str], str] = str
    ) -> None:
        """Make an empty backlog.

        lanes_of: looks up a notification's lanes, when its turn comes; None if that can't be told now. It is
            called once for each, and again at each `update` for which it couldn't tell.
        order: gives the text by which a name sorts, where that isn't the name itself.
        """
        self._lanes_of = lanes_of
        self._order = order
        self._unread: list[tuple[str, str]] = []  # (order, name), youngest first: the next is popped
        self._due: list[tuple[float, str]] = []  # heap of (due, name) in retry/
        self._ready: list[tuple[str, str]] = []  # heap of (order, name): to be looked at (again)
        self._incoming: set[str] = set()
        self._retry: dict[str, float] = {}
        self._running: set[str] = set()
        self._busy: set[str] = set()  # lanes of those that are running
        self._lanes: dict[str, list[tuple[str, str]]] = {}  # lane -> heap of (order, name)
        self._member_of: dict[str, Lanes] = {}
        self._entered_as: dict[str, str] = {}  # name -> order; a name may come again, with another
        self._unreadable: set[str] = set()  # their lanes couldn't be looked up
        self._until = ""  # what sorts behind it waits for a further update; empty: nothing does

    @property
    def has_unread(self) -> bool:
        """Whether there is more to look at without listing the folder again."""
        return bool(self._unread)

    @property
    def unread(self) -> int:
        """How many are known here whose lanes nobody has looked up yet, or somewhat more."""
        return len(self._unread)

    def is_read(self, name: str) -> bool:
        """Say whether somebody tried to look up a name's lanes already."""
        return name in self._member_of or name in self._unreadable

    @property
    def next_due(self) -> float | None:
        """When the next retry is due, in seconds of the epoch; None if none waits."""
        return self._due[0][0] if self._due else None

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many wait in `incoming/`, are running, and wait in `retry/`."""
        return len(self._incoming), len(self._running), len(self._retry)

    def has(self, name: str) -> bool:
        """Say whether a name waits in `incoming/` or is running, as far as is known here."""
        return name in self._incoming or name in self._running

    def waiting(self) -> Iterator[str]:
        """Yield what waits in `incoming/` and `retry/`, as far as is known here."""
        return chain(self._incoming, self._retry)

    def names(self) -> Iterator[str]:
        """Yield all that isn't settled, as far as is known here."""
        return chain(self.waiting(), self._running)

    def update(self, incoming: Iterable[str], retry: Mapping[str, float], until: str = "") -> None:
        """Take in what the folders hold now: names in `incoming/`, and names with due times in `retry/`.

        until: there may be more behind it that isn't told of yet, so that nothing behind it is given; empty
            where there isn't.
        """
        self._until = until
        incoming = set(incoming) - self._running
        unreadable, self._unreadable = self._unreadable, set()
        for name in unreadable:
            heapq.heappush(self._ready, (self._order(name), name))
            if name in retry and not self._join(State.RETRY, name):
                self._unreadable.add(name)
        gone = [name for name in self._incoming if name not in incoming]
        for name in gone:
            self._incoming.discard(name)
            self._leave(name, stays=name in retry)
        if gone:  # those that lie behind a nearer limit now come again, and would count twice
            self._unread = [entry for entry in self._unread if entry[1] in incoming]
        for name in [name for name in self._retry if name not in retry]:
            del self._retry[name]
            self._leave(name, stays=name in incoming)
        arrived = incoming - self._incoming
        self._incoming |= arrived
        if arrived:
            self._unread += [(self._order(name), name) for name in arrived if name not in self._member_of]
            self._unread.sort(reverse=True)
            for name in arrived:
                if name in self._member_of:
                    heapq.heappush(self._ready, (self._order(name), name))
        for name, due in retry.items():
            if name not in self._running and self._retry.get(name) != due:
                self._retry[name] = due
                if not self._join(State.RETRY, name):
                    self._unreadable.add(name)
                heapq.heappush(self._due, (due, name))

    def peek(self, now: float) -> tuple[str, State, str] | None:
        """Return (order, state, name) of the oldest that may run `now` (seconds of the epoch), or None."""
        while self._due and self._due[0][0] <= now:
            due, name = heapq.heappop(self._due)
            if self._retry.get(name) == due:
                heapq.heappush(self._ready, (self._order(name), name))
        while self._ready or self._unread:
            is_unread = not self._ready or (bool(self._unread) and self._unread[-1] <= self._ready[0])
            order, name = self._unread[-1] if is_unread else self._ready[0]
            if self._until and order > self._until:
                return None
            if is_unread:
                self._unread.pop()
            else:
                heapq.heappop(self._ready)
            state = self._state(name, now)
            if state is None or not self._may_run(state, name):
                continue
            if order != self._entered_as[name]:  # of an earlier file of that name
                heapq.heappush(self._ready, (self._entered_as[name], name))
            else:
                heapq.heappush(self._ready, (order, name))
                return order, state, name
        return None

    def take(self, name: str) -> Lanes:
        """Note that the one that `peek` gave is being run; return its lanes."""
        self._incoming.discard(name)
        self._retry.pop(name, None)
        self._running.add(name)
        lanes = self._member_of.get(name, ())
        self._busy.update(lanes)
        return lanes

    def settle(self, name: str) -> None:
        """Note that a taken one has left for good, or isn't there any more."""
        self._end(name)
        self._leave(name, stays=False)

    def leave_alone(self, name: str) -> None:
        """Note that a taken one couldn't be claimed; it is tried again at the next `update`."""
        self._end(name)
        self._incoming.add(name)
        self._unreadable.add(name)

    def postpone(self, name: str, now_named: str, due: float) -> None:
        """Note that a taken one waits in `retry/`, under the name that it got there."""
        self._put_back(name, now_named)
        self._retry[now_named] = due
        heapq.heappush(self._due, (due, now_named))

    def release(self, name: str, now_named: str) -> None:
        """Note that a taken one is back in `incoming/`, under the name that it got there."""
        self._put_back(name, now_named)
        self._incoming.add(now_named)
        heapq.heappush(self._ready, (self._order(now_named), now_named))

    def _put_back(self, name: str, now_named: str) -> None:
        self._end(name)
        if now_named != name:
            lanes = self._member_of.get(name, ())
            self._enter(now_named, lanes)
            self._leave(name, stays=False)
        # An older one that a person put there meanwhile goes first.
        self._bring_up(self._member_of[now_named])

    def _end(self, name: str) -> None:
        self._running.discard(name)
        self._busy.difference_update(self._member_of.get(name, ()))

    def _state(self, name: str, now: float) -> State | None:
        if name in self._running or name in self._unreadable:
            return None
        if name in self._incoming:
            return State.INCOMING
        due = self._retry.get(name)
        return State.RETRY if due is not None and due <= now else None

    def _may_run(self, state: State, name: str) -> bool:
        if not self._join(state, name):
            self._unreadable.add(name)
            return False
        lanes = self._member_of[name]
        return self._busy.isdisjoint(lanes) and all(self._head(lane) == name for lane in lanes)

    def _join(self, state: State, name: str) -> bool:
        """Put a name into its lanes; False if nobody can tell now which they are."""
        if name not in self._member_of:
            lanes = self._lanes_of(state, name)
            if lanes is None:
                return False
            self._enter(name, lanes)
        return True

    def _enter(self, name: str, lanes: Lanes) -> None:
        self._member_of[name] = lanes
        self._entered_as[name] = self._order(name)
        for lane in lanes:
            heapq.heappush(self._lanes.setdefault(lane, []), (self._entered_as[name], name))

    def _head(self, lane: str) -> str | None:
        """Return the oldest that is still in the lane; those that left are dropped when they get there."""
        members = self._lanes.get(lane, [])
        while members and self._entered_as.get(members[0][1]) != members[0][0]:
            heapq.heappop(members)
        if not members:
            self._lanes.pop(lane, None)
            return None
        return members[0][1]

    def _leave(self, name: str, *, stays: bool) -> None:
        """Take a name out of its lanes, unless it only changed folders, and let those behind it come up."""
        if not stays:
            self._entered_as.pop(name, None)
            self._bring_up(self._member_of.pop(name, ()))

    def _bring_up(self, lanes: Lanes) -> None:
        """Let the oldest of each lane be looked at again."""
        for lane in lanes:
            head = self._head(lane)
            if head is not None and head not in self._running:
                heapq.heappush(self._ready, (self._order(head), head))
