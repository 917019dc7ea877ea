"""Who is next: nobody overtakes, nobody starves, and those that are held cost nothing."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from spooler.backlog import Backlog, Lanes
from spooler.state import State

IN, RETRY, PROCESSING = State.INCOMING, State.RETRY, State.PROCESSING


def make(lanes: dict[str, Lanes]) -> Backlog:
    return Backlog(lambda _state, name: lanes.get(name, ()))


def give(backlog: Backlog, now: float = 0) -> str | None:
    """Take what is next, and return its name."""
    found = backlog.peek(now)
    if found is None:
        return None
    backlog.take(found[2])
    return found[2]


def drain(backlog: Backlog, now: float = 0) -> list[str]:
    """Take one after the other, each settled before the next."""
    given = []
    while name := give(backlog, now):
        given.append(name)
        backlog.settle(name)
    return given


def test_an_empty_backlog_gives_nothing() -> None:
    backlog = make({})
    assert backlog.peek(0) is None
    assert (backlog.next_due, backlog.has_unread) == (None, False)


def test_the_oldest_comes_first() -> None:
    backlog = make({})
    backlog.update(["b", "a"], {"c": 5.0})
    assert backlog.peek(0) == ("a", IN, "a")
    assert backlog.peek(9) == ("a", IN, "a")
    backlog.update(["b", "a", "0"], {"c": 5.0})
    assert drain(backlog, 9) == ["0", "a", "b", "c"]


def test_a_retry_is_given_when_it_is_due_and_in_its_place_in_line() -> None:
    backlog = make({})
    backlog.update(["b"], {"a": 5.0})
    assert backlog.next_due == 5.0
    assert give(backlog, 4.9) == "b"
    assert give(backlog, 4.9) is None
    assert backlog.peek(5.0) == ("a", RETRY, "a")


def test_a_retry_is_never_overtaken_by_a_younger_notification_of_its_lane() -> None:
    backlog = make({"a": ("x",), "b": ("x",), "c": ("y",)})
    backlog.update(["a", "b", "c"], {})
    assert give(backlog) == "a"
    backlog.postpone("a", "a", 60.0)
    assert give(backlog) == "c"
    assert give(backlog, 59.9) is None
    assert give(backlog, 60.0) == "a"
    assert give(backlog, 60.0) is None
    backlog.settle("a")
    assert give(backlog, 60.0) == "b"


def test_one_that_shares_two_lanes_waits_for_both() -> None:
    backlog = make({"a": ("x",), "b": ("y",), "c": ("x", "y")})
    backlog.update(["a", "b", "c"], {})
    assert [give(backlog), give(backlog), give(backlog)] == ["a", "b", None]
    backlog.settle("a")
    assert give(backlog) is None
    backlog.settle("b")
    assert give(backlog) == "c"


def test_an_older_one_that_a_person_brings_does_not_run_beside_a_younger_one_of_its_lane() -> None:
    backlog = make({"a": ("x",), "b": ("x",)})
    backlog.update(["b"], {})
    assert give(backlog) == "b"
    backlog.update(["a"], {})
    assert give(backlog) is None
    backlog.postpone("b", "b", 1.0)
    assert give(backlog, 2.0) == "a"
    backlog.settle("a")
    assert give(backlog, 2.0) == "b"


def test_what_a_person_takes_away_lets_those_behind_it_go_on() -> None:
    backlog = make({"a": ("x",), "b": ("x",)})
    backlog.update(["b"], {"a": 60.0})
    assert give(backlog) is None
    backlog.update(["b"], {})
    assert give(backlog) == "b"


def test_what_a_person_moves_from_retry_to_incoming_runs_at_once_and_back_again_waits() -> None:
    backlog = make({"a": ("x",), "b": ("x",)})
    backlog.update(["b"], {"a": 60.0})
    assert give(backlog) is None
    backlog.update(["a", "b"], {})
    assert backlog.peek(0) == ("a", IN, "a")
    backlog.update(["b"], {"a": 60.0})
    assert give(backlog) is None
    backlog.update(["b"], {"a": 1.0})
    assert backlog.next_due == 1.0
    assert backlog.peek(1.0) == ("a", RETRY, "a")


def test_a_name_that_changed_on_the_way_keeps_its_place() -> None:
    backlog = make({"a": ("x",), "c": ("x",)})
    backlog.update(["a", "c"], {})
    give(backlog)
    backlog.postpone("a", "b", 5.0)
    assert give(backlog) is None
    assert give(backlog, 5.0) == "b"
    backlog.release("b", "bb")
    assert give(backlog) == "bb"
    backlog.settle("bb")
    assert give(backlog) == "c"


def test_a_listing_from_before_the_end_of_a_turn_does_no_harm() -> None:
    backlog = make({"a": ("x",), "b": ("x",)})
    backlog.update(["a", "b"], {})
    give(backlog)
    backlog.update(["a", "b"], {"a": 1.0})  # it shows what is being run in two places
    assert give(backlog) is None
    backlog.settle("a")
    assert drain(backlog, 9) == ["b"]


def test_an_order_of_its_own_decides_where_the_name_does_not() -> None:
    age = {"z by hand": "1", "a by hand": "3"}
    backlog = Backlog(lambda _state, _name: ("x",), lambda name: age.get(name, name))
    backlog.update(["2", "4", *age], {})
    assert drain(backlog) == ["z by hand", "2", "a by hand", "4"]


def test_there_is_more_to_look_at_until_all_were_read() -> None:
    backlog = make({"a": ("x",), "b": ("x",)})
    backlog.update(["a", "b"], {})
    assert backlog.has_unread
    give(backlog)
    assert backlog.has_unread
    give(backlog)
    assert not backlog.has_unread


class Counted:
    """A backlog of one lane that counts what is done: bodies read, and places in line worked out."""

    def __init__(self, size: int) -> None:
        self.work: Counter[str] = Counter()
        self.names = [f"{number:06}" for number in range(size)]
        self.backlog = Backlog(self._lanes, self._order)
        self.backlog.update(self.names, {})

    def _lanes(self, _state: State, _name: str) -> Lanes:
        self.work["lanes"] += 1
        return ("one contact",)

    def _order(self, name: str) -> str:
        self.work["order"] += 1
        return name


@pytest.mark.parametrize("size", [10_000, 100_000])
def test_the_work_for_each_does_not_grow_with_the_number_of_those_held(size: int) -> None:
    counted = Counted(size)
    backlog = counted.backlog
    first = give(backlog)
    assert first == counted.names[0]
    assert give(backlog) is None  # now all have been looked at, and are held
    assert counted.work["lanes"] == size
    assert counted.work["order"] <= 4 * size

    counted.work.clear()
    for attempt in range(50):
        backlog.postpone(first, first, float(attempt))
        assert give(backlog, attempt - 0.5) is None
        assert give(backlog, attempt) == first
    for _ in range(50):
        assert give(backlog, 100.0) is None
    assert counted.work["lanes"] == 0
    assert counted.work["order"] <= 50 * 4

    counted.work.clear()
    backlog.settle(first)
    for name in counted.names[1:51]:
        assert give(backlog, 100.0) == name
        backlog.settle(name)
    assert counted.work["lanes"] == 0
    assert counted.work["order"] <= 51 * 4


def test_bodies_are_read_when_their_turn_comes_and_not_before() -> None:
    counted = Counted(0)
    backlog = Backlog(lambda state, name: (counted._lanes(state, name)[0] + name,))
    backlog.update([f"{number:06}" for number in range(10_000)], {})
    for _ in range(10):
        give(backlog)
    assert counted.work["lanes"] == 10


identities = st.sampled_from(["i1", "i2", "i3", "i4"])
contacts = st.sampled_from(["", "c1", "c2"])
numbers = st.integers(0, 40)


class Machine(RuleBasedStateMachine):
    """Any sequence of arrivals, turns, retries and moves by hand, against a model that is slow and plain."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.lanes: dict[str, Lanes] = {}
        self.incoming: set[str] = set()  # the folders
        self.retry: dict[str, float] = {}
        self.known: dict[str, tuple[State, float]] = {}  # what the backlog was told
        self.ended: list[tuple[str, str, State | None, float]] = []  # turns that it wasn't told of yet
        self.unclaimed: dict[str, State] = {}  # taken, while the worker hasn't moved the file yet
        self.backlog = Backlog(self._lanes_of, self._order)

    def _lanes_of(self, _state: State, name: str) -> Lanes:
        return self.lanes[name]

    @staticmethod
    def _order(name: str) -> str:
        return name[1:]

    def _is_anywhere(self, name: str) -> bool:
        return name in self.incoming or name in self.retry or name in self.known

    # The folders.

    @rule(letter=st.sampled_from("ab"), number=numbers, identity=identities, contact=contacts)
    def arrive(self, letter: str, number: int, identity: str, contact: str) -> None:
        name = f"{letter}{number:02}"
        if not self._is_anywhere(name):
            self.lanes.setdefault(name, tuple(lane for lane in (identity, contact) if lane))
            self.incoming.add(name)

    @precondition(lambda self: self.incoming or self.retry)
    @rule(data=st.data())
    def move_by_hand(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted({*self.incoming, *self.retry})))
        self.incoming.discard(name)
        self.retry.pop(name, None)
        to = data.draw(st.sampled_from(["incoming", "retry", "away"]))
        if to == "incoming":
            self.incoming.add(name)
        elif to == "retry":
            self.retry[name] = self.now + data.draw(st.integers(-5, 20))

    @rule(seconds=st.integers(1, 10))
    def advance(self, seconds: int) -> None:
        self.now += seconds

    # The processor.

    @rule()
    def look(self) -> None:
        self.backlog.update(set(self.incoming), dict(self.retry))
        running = {name: told for name, told in self.known.items() if told[0] is PROCESSING}
        self.known = dict.fromkeys(self.incoming, (IN, 0.0))
        self.known |= {name: (RETRY, due) for name, due in self.retry.items()}
        self.known |= running

    def _expected(self) -> str | None:
        def rank(name: str) -> tuple[str, str]:
            return self._order(name), name

        for name in sorted(self.known, key=rank):
            state, due = self.known[name]
            if state is PROCESSING or (state is RETRY and due > self.now):
                continue
            mates = [
                mate for mate in self.known if mate != name and set(self.lanes[mate]) & set(self.lanes[name])
            ]
            if not any(rank(mate) < rank(name) or self.known[mate][0] is PROCESSING for mate in mates):
                return name
        return None

    @invariant()
    def it_gives_the_oldest_that_overtakes_nobody(self) -> None:
        found = self.backlog.peek(self.now)
        expected = self._expected()
        assert (found and found[2]) == expected
        if found:
            assert found == (self._order(found[2]), self.known[found[2]][0], found[2])

    @precondition(lambda self: self._expected() is not None)
    @rule(target=running, claimed=st.booleans())
    def take(self, claimed: bool) -> str:
        found = self.backlog.peek(self.now)
        assert found is not None
        name = found[2]
        self.backlog.take(name)
        self.unclaimed[name] = found[1]
        if claimed and not self._claim(name):
            self.unclaimed[name] = found[1]  # a person was faster, which the turn's end tells
        self.known[name] = (PROCESSING, 0.0)
        return name

    def _claim(self, name: str) -> bool:
        """Move the file out of its folder; False if a person was faster."""
        state = self.unclaimed.pop(name, None)
        if state is IN:
            was_there = name in self.incoming
            self.incoming.discard(name)
        else:
            was_there = state is None or self.retry.pop(name, None) is not None
        return was_there

    @rule(
        name=consumes(running),
        to=st.sampled_from([None, IN, RETRY]),
        delay=st.integers(0, 20),
        renamed=st.booleans(),
        late=st.booleans(),
    )
    def end(self, name: str, to: State | None, delay: int, renamed: bool, late: bool) -> None:
        """A turn ends: the folders show it at once, the backlog hears of it now or later."""
        if not self._claim(name):
            to = None
        now_named = f"{name}+" if renamed and to is not None and not self._is_anywhere(f"{name}+") else name
        due = self.now + delay
        self.lanes[now_named] = self.lanes[name]
        if to is IN:
            self.incoming.add(now_named)
        elif to is RETRY:
            self.retry[now_named] = due
        self.ended.append((name, now_named, to, due))
        if not late:
            self.collect()

    @rule()
    def collect(self) -> None:
        for name, now_named, state, due in self.ended:
            del self.known[name]
            if state is None:
                self.backlog.settle(name)
            elif state is RETRY:
                self.backlog.postpone(name, now_named, due)
                self.known[now_named] = (RETRY, due)
            else:
                self.backlog.release(name, now_named)
                self.known[now_named] = (IN, 0.0)
        self.ended.clear()

    def teardown(self) -> None:
        """Nobody starves: in the end all come to their turn, each once."""
        self.collect()
        self.look()
        for name in [name for name, (state, _due) in self.known.items() if state is PROCESSING]:
            self.backlog.settle(name)
            del self.known[name]
        left = set(self.known)
        given = drain(self.backlog, self.now + 1000)
        assert len(given) == len(left)
        assert set(given) == left
        assert self.backlog.peek(self.now + 1000) is None


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnySequence = Machine.TestCase
