"""The intake: which of the files in `incoming/` and `retry/` may be looked at, told to the backlog.

Owns: listing those folders, and judging names that didn't come from the receiver.
Promises: a name is passed on only when no older one can be missing from the same listing; what somebody is
still copying waits until its size has stood still for 2 s; what is no regular file is reported once and
left alone. A clock that was set back keeps nothing waiting longer than was meant (see `spooler.latest`).
Of a very large `incoming/` only the first are remembered, and what has a place in line already.
Does not promise: to be called at the right moment; it is the truth whenever it is.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta

from spooler import history
from spooler.backlog import Backlog
from spooler.log import get_logger
from spooler.name import Name, has_pattern, identify, log_name, stamp, stamp_of
from spooler.notification import Notification
from spooler.spool import WebhookSpool
from spooler.state import State

STILL_SECONDS = 2.0
_MOST = 100_000  # names that wait for their turn; a million would take 400 MB
MOVING_SECONDS = 30.0  # somebody who puts back one after another holds up the rest no longer


class Intake:
    """Looks into one webhook's folders."""

    def __init__(
        self, spool: WebhookSpool, *, by_contact: bool, longest_wait: float = math.inf, most: int = _MOST
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
        self._orders: dict[str, str] = {}  # of foreign names
        self._reported: set[str] = set()
        self.look_again_soon = False  # something is there that may not be passed on yet
        self.is_moving = False  # a person is putting some back
        self._moving_since: float | None = None

    def look(self) -> None:
        """List the folders and tell the backlog. Raises: OSError."""
        incoming = self._spool.listing(State.INCOMING, most=self._most, is_known=self.backlog.is_read)
        retry = self._spool.listing(State.RETRY)
        foreign = {name for name in incoming.names if not has_pattern(name)}
        for name in (*incoming.odd, *retry.odd):
            self.report(name, "is no regular file")
        # RACE: a listing may show a file that was put there while it was made, and not an older one that was
        # put there a moment before: what is later than its beginning, and what lies behind the last one's
        # limit, for of that nobody knows whether it is new.
        complete_here = min(incoming.complete_to, self._limit or incoming.complete_to)
        # Of what was there the last time already nothing older can be missing, nor of what is older than
        # that; though such a name lies ahead of the clock (it was given, and brought back, by hand).
        known_young = self._young.intersection(incoming.names)
        complete_to = max(complete_here, max(known_young, default=""))
        passed = [
            name
            for name in incoming.names
            if (self._may_pass(name) if name in foreign else name <= complete_to)
        ]
        # RACE: what is older than the last listing, and wasn't in it, was put back since. There may be an
        # even older one, put back just before, that this listing has missed: nothing is sure till the next.
        self.is_moving = self._is_bearable(
            any(
                name <= self._complete_to and name not in self._young and not self.backlog.has(name)
                for name in passed
                if name not in foreign
            )
        )
        self._complete_to = min(incoming.complete_to, incoming.limit or incoming.complete_to)
        self._young = {name for name in incoming.names if name > complete_here and name not in foreign}
        self._is_cut = bool(incoming.limit) or complete_here < incoming.complete_to
        self._limit = incoming.limit
        self.beyond = incoming.beyond + len(incoming.names) - len(passed)
        self.look_again_soon = self.is_moving or len(passed) < len(incoming.names)
        self._forget({*incoming.names, *incoming.odd, *retry.names, *retry.odd})
        until = min(complete_to, incoming.limit or complete_to) if self._is_cut else ""
        self.backlog.update(passed, dict(self._due_times(retry.names)), until)
        if incoming.complete_to > (now := stamp(self._spool.clock.now())):
            self._follow_clock(now)

    @property
    def is_short(self) -> bool:
        """Whether few are left of those that the backlog was told of, and there are more."""
        return self._is_cut and self.backlog.unread <= self._most // 2

    def _is_bearable(self, moving: bool) -> bool:
        """Say whether those that are being put back are waited for, or have been for too long."""
        if not moving:
            self._moving_since = None
            return False
        now = self._spool.clock.monotonic()
        if self._moving_since is None:
            self._moving_since = now
        return now - self._moving_since < MOVING_SECONDS

    def _follow_clock(self, now: str) -> None:
        """The clock was set back: where nothing that waits is later, let names be given by it again."""
        # RACE: of what moves meanwhile the backlog knows, and of what has only just come, the folders.
        if not any(stamp_of(name) > now for name in self.backlog.names()) and self._spool.follow_clock():
            get_logger().warning("names follow the clock again", webhook=self._spool.webhook)
            self._complete_to = min(self._complete_to, now)

    def _forget(self, there: set[str]) -> None:
        """Forget what isn't there any more: another file of that name is another one."""
        for remembered in (self._sizes, self._orders):
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
            self._orders[name] = f"{stamp(self._age(name))}_{name}"
        return self._orders[name]

    def _age(self, name: str) -> datetime:
        for state in (State.INCOMING, State.RETRY):
            with suppress(OSError):
                return self._spool.received(state, name)
        return self._spool.clock.now()

    def _lanes(self, state: State, name: str) -> tuple[str, ...] | None:
        try:
            notification = Notification.read(self._spool.read(state, name))
        except FileNotFoundError:
            return ()
        except OSError as error:
            self.report(name, str(error))
            return None
        parsed = Name.parse(name)
        lanes = [f"id {parsed.id if parsed else notification.id}"]
        if self._by_contact and notification.order_key is not None:
            lanes.append(f"contact {notification.order_key}")
        return tuple(lanes)
