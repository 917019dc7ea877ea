"""The intake: which of the files in `incoming/` and `retry/` may be looked at, told to the backlog.

Owns: listing those folders, and judging names that didn't come from the receiver.
Promises: a name is given only when no older one can be missing from the same listing; what somebody is
still copying waits until its size has stood still for 2 s, and what is younger for the first 2 s, for it may
be one that waited under another name; what is no regular file is reported once and left alone. A clock that
was set back keeps nothing waiting longer than was meant (see `spooler.latest`). Of a very large `incoming/`
only the first are remembered, and what has a place in line already.
Does not promise: to be called at the right moment; it is the truth whenever it is. The order of what a person
moves there while the very first listing is made.

A listing may show a file that was put there while it was made, and have missed an older one that was put
there a moment before. So a name that it shows is sure only if receivers can't have given it since the listing
began, or if the listing before showed it, too; where that one was cut, what lies behind the cut isn't sure
either. Nothing is given that sorts behind the first that isn't sure. No name vouches for another: a person
may have put one there that lies ahead of the clock, and nothing is known of what comes before it. Such a one
has its turn when a listing shows nothing new before it, or after 30 s of listings that all did. What is sure,
but wasn't there the last time and should have been, was put back; what waited and isn't there any more may be
on its way from one folder to the other. Then nothing at all is given before the next look.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from spooler import history
from spooler.backlog import Backlog
from spooler.claiming import ProcessorsSpool
from spooler.log import get_logger
from spooler.name import Name, has_pattern, identify, log_name, stamp, stamp_of
from spooler.notification import Notification
from spooler.patience import Patience
from spooler.state import State

STILL_SECONDS = 2.0
_MOST = 100_000  # names that wait for their turn; a million would take 400 MB
MOVING_SECONDS = 30.0  # somebody who puts back one after another holds up the rest no longer
AHEAD_SECONDS = 30.0  # what keeps coming holds up what lies ahead of the clock no longer


class Intake:
    """Looks into one webhook's folders."""

    def __init__(
        self, spool: ProcessorsSpool, *, by_contact: bool, longest_wait: float = math.inf, most: int = _MOST
    ) -> None:
        """by_contact: notifications of one contact share a lane, not only those of one id.

        longest_wait: how many seconds of waiting in `retry/` the configuration can mean. most: how many that
        nobody has looked into are remembered.
        """
        self._most = most
        self._spool = spool
        self._by_contact = by_contact
        self._longest_wait = longest_wait
        self.backlog = Backlog(self._lanes, self._order)
        self._young: set[str] = set()  # in the last listing, but perhaps without what is older
        self._complete_to = ""  # what sorts up to here and wasn't in the last listing came since
        self._limit = ""  # of the last listing
        self._is_cut = False  # there are more than the backlog was told of
        self.beyond = 0  # so many
        self._sizes: dict[
            str, tuple[int, float]
        ] = {}  # of foreign names: the size, and since when it is that
        self._seen: dict[str, float] = {}  # of foreign names: since when
        self._orders: dict[str, str] = {}  # of foreign names
        self._reported: set[str] = set()
        self.look_again_soon = False  # something is there that may not be passed on yet
        self.is_moving = False  # a person is putting some back
        self._moving = Patience(spool.clock, MOVING_SECONDS)
        self._ahead = Patience(spool.clock, AHEAD_SECONDS)
        self._renamed = Patience(spool.clock, MOVING_SECONDS)

    def look(self) -> None:
        """List the folders and tell the backlog. Raises: OSError."""
        incoming = self._spool.listing(State.INCOMING, most=self._most, is_known=self.backlog.is_read)
        retry = self._spool.listing(State.RETRY)
        due = dict(self._due_times(retry.names))
        foreign = {name for name in incoming.names if not has_pattern(name)}
        for name in (*incoming.odd, *retry.odd):
            self.report(name, "is no regular file")
        complete_here = min(incoming.complete_to, self._limit or incoming.complete_to)
        unsure = [
            name
            for name in incoming.names
            if name > complete_here and name not in self._young and name not in foreign
        ]
        untold = {*unsure, *(name for name in foreign if not self._may_pass(name))}
        passed = [name for name in incoming.names if name not in untold]
        there = {*incoming.names, *due}
        moving = self._is_put_back(passed, foreign) or self._is_gone(there, incoming.limit)
        self.is_moving = self._moving.lasts(waiting=moving) and moving
        self._complete_to = min(incoming.complete_to, incoming.limit or incoming.complete_to)
        complete_next = min(complete_here, self._complete_to)
        self._young = {name for name in incoming.names if name > complete_next and name not in foreign}
        self._is_cut = bool(incoming.limit) or complete_here < incoming.complete_to
        self._limit = incoming.limit
        self.beyond = incoming.beyond + len(incoming.names) - len(passed)
        self.look_again_soon = self.is_moving or len(passed) < len(incoming.names)
        self._forget({*incoming.names, *incoming.odd, *retry.names, *retry.odd})
        until = self._until(incoming.limit, unsure, [*passed, *due])
        if renamed := self._least_renamed(foreign & untold):
            until = min(until or renamed, renamed)
        self.backlog.update(passed, due, until)
        if incoming.complete_to > (now := stamp(self._spool.clock.now())):
            self._follow_clock(now)

    @property
    def is_short(self) -> bool:
        """Whether few are left of those that the backlog was told of, and there are more."""
        return self._is_cut and self.backlog.unread <= self._most // 2

    def _is_put_back(self, passed: list[str], foreign: set[str]) -> bool:
        """Say whether one that is sure should have been in the last listing, and wasn't."""
        # RACE: there may be an even older one, put back just before, that this listing has missed.
        return any(
            name <= self._complete_to and name not in self._young and not self.backlog.has(name)
            for name in passed
            if name not in foreign
        )

    def _is_gone(self, there: set[str], limit: str) -> bool:
        """Say whether something that waited isn't there any more, as far as the listing goes."""
        # RACE: a person may be moving it between the two folders; then each may have been listed without it.
        return any(name not in there for name in self.backlog.waiting() if not limit or name <= limit)

    def _until(self, limit: str, unsure: list[str], known: list[str]) -> str:
        """Return what nothing may be given behind before the next look; empty where anything may."""
        ends = [end for end in (limit, *unsure[:1]) if end]
        is_ahead = bool(unsure) and any(name > unsure[0] for name in known)
        if not self._ahead.lasts(waiting=is_ahead):
            ends = [limit]
        return min(ends, default="")

    def _least_renamed(self, standing: set[str]) -> str:
        """Return by what the first sorts of those that may have waited before, under another name."""
        now = self._spool.clock.monotonic()
        # What is being copied for longer holds up nobody.
        new = [name for name in standing if now - self._seen.get(name, now) < STILL_SECONDS]
        if not self._renamed.lasts(waiting=bool(new)):
            return ""
        return min(map(self._by_age, new), default="")

    def _follow_clock(self, now: str) -> None:
        """The clock was set back: where nothing that waits is later, let names be given by it again."""
        # RACE: of what moves meanwhile the backlog knows, and of what has only just come, the folders.
        if any(stamp_of(name) > now for name in self.backlog.names()):
            return
        with suppress(BlockingIOError):  # there is the next look
            if self._spool.follow_clock():
                get_logger().warning("names follow the clock again", webhook=self._spool.webhook)
                self._complete_to = min(self._complete_to, now)

    def _forget(self, there: set[str]) -> None:
        """Forget what isn't there any more: another file of that name is another one."""
        for remembered in (self._sizes, self._seen, self._orders):
            for name in remembered.keys() - there:
                del remembered[name]
        self._reported &= there

    def report(self, name: str, what: str, identifier: str = "") -> None:
        """Tell once of a file that is left alone; its id, where more than the name is known."""
        if name not in self._reported:
            self._reported.add(name)
            about = {"webhook": self._spool.webhook, "id": identifier or identify(name), "file": name}
            get_logger().error("left alone", **about, reason=what)

    def _may_pass(self, name: str) -> bool:
        """Say whether one that a person put there may be passed on."""
        # Where a log stands beside it, it has had a turn: younger ones may not get past it now.
        return self._spool.path(State.INCOMING, log_name(name)).exists() or self._stands_still(name)

    def _stands_still(self, name: str) -> bool:
        try:
            size = self._spool.path(State.INCOMING, name).lstat().st_size
        except FileNotFoundError:
            return False
        now = self._spool.clock.monotonic()
        self._seen.setdefault(name, now)
        known_size, since = self._sizes.setdefault(name, (size, now))
        if size != known_size:
            self._sizes[name] = (size, now)
            return False
        return now - since >= STILL_SECONDS

    def _due_times(self, names: Iterable[str]) -> Iterator[tuple[str, float]]:
        for name in names:
            with suppress(FileNotFoundError):
                yield name, self._due(name)

    def _due(self, name: str) -> float:
        """Return when one in `retry/` is due, in seconds of the epoch. Raises: FileNotFoundError."""
        due, now = self._spool.due(name), self._spool.clock.now()
        if due - now.timestamp() <= self._longest_wait:
            return due
        # A person may have made it so late. But if its last attempt is yet to come, the clock was wrong then,
        # and it waits for as long as was meant.
        with suppress(OSError):
            tried = history.moment(next(reversed(self._spool.log_lines(State.RETRY, name)), {}))
            if tried is not None and tried > now:
                wait = min(self._longest_wait, max(0.0, due - tried.timestamp()))
                self._spool.correct_due(name, now + timedelta(seconds=wait))
                return self._spool.due(name)
        return due

    def _order(self, name: str) -> str:
        """Return by what a name sorts: one that a person gave sorts by the file's age."""
        if has_pattern(name):
            return name
        if name not in self._orders:
            self._orders[name] = self._by_age(name)
        return self._orders[name]

    def _by_age(self, name: str) -> str:
        return f"{stamp(self._age(name))}_{name}"

    def _age(self, name: str) -> datetime:
        # RACE: a person may be moving it between the two folders.
        for state in (State.INCOMING, State.RETRY, State.INCOMING):
            with suppress(OSError):
                return self._spool.received(state, name)
        return self._spool.clock.now()

    def _lanes(self, state: State, name: str) -> tuple[str, ...] | None:
        other = State.RETRY if state is State.INCOMING else State.INCOMING
        # RACE: a person may be moving it between the two folders, and back.
        for place in (state, other, state):
            try:
                return self._lanes_of(name, Notification.read(self._spool.read(place, name)))
            except FileNotFoundError:
                continue
            except OSError as error:
                self.report(name, str(error))
                return None
        return None  # it is gone; should it come back, it isn't without lanes

    def _lanes_of(self, name: str, notification: Notification) -> tuple[str, ...]:
        parsed = Name.parse(name)
        lanes = [f"id {parsed.id if parsed else notification.id}"]
        if self._by_contact and notification.order_key is not None:
            lanes.append(f"contact {notification.order_key}")
        return tuple(lanes)
