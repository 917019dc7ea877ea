"""Which files may be looked at, and when."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from conftest import FakeClock
from whole_spool import WholeSpool

from spooler import history
from spooler.intake import STILL_SECONDS, Intake
from spooler.name import Name
from spooler.notification import Notification
from spooler.state import State


@pytest.fixture
def logged() -> Iterator[list[structlog.typing.EventDict]]:
    """What is logged, as values."""
    with structlog.testing.capture_logs() as entries:
        yield entries


def body(contact: object = None, identifier: str = "") -> bytes:
    members = [f'"EventUniqueID": "{identifier}"'] if identifier else []
    members += [f'"ContactID": {{"idContact": {contact}}}'] if contact is not None else []
    return f"{{{', '.join(members)}}}".encode()


def store(spool: WholeSpool, contact: object = None, identifier: str = "") -> str:
    content = body(contact, identifier)
    return spool.store(content, Notification.read(content))


def put(spool: WholeSpool, name: str, content: bytes = b"{}", *, age: float = 0) -> Path:
    """Put a file into `incoming/` as a person does."""
    path = spool.path(State.INCOMING, name)
    path.write_bytes(content)
    written = spool.clock.now().timestamp() - age
    os.utime(path, (written, written))
    return path


def set_aside(spool: WholeSpool, *names: str) -> None:
    """Bring what waits to `failed/`, from where a person may put it back."""
    for name in names:
        spool.claim(State.INCOMING, name)
        spool.give_up(name)


def put_back(spool: WholeSpool, *names: str) -> None:
    """Put back into `incoming/` what was set aside."""
    for name in names:
        spool.path(State.FAILED, name).rename(spool.path(State.INCOMING, name))


def put_back_and_take(spool: WholeSpool, intake: Intake, name: str) -> None:
    """Put one back: it is waited for during one look, for an older one may follow; then it goes first."""
    put_back(spool, name)
    intake.look()
    assert intake.is_moving
    intake.look()
    assert not intake.is_moving
    assert take(intake) == name


def give(intake: Intake, now: float = 0) -> str | None:
    """Look, and take what is next."""
    intake.look()
    return take(intake, now)


def take(intake: Intake, now: float = 0) -> str | None:
    found = intake.backlog.peek(now)
    if found is None:
        return None
    intake.backlog.take(found[2])
    return found[2]


def test_what_was_stored_before_the_look_is_given_in_order(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    names: list[str] = []
    for _ in range(3):
        names.append(store(spool, identifier=f"id-{len(names)}"))
        clock.advance(1)
    intake.look()
    assert [take(intake), take(intake), take(intake), take(intake)] == [*names, None]
    assert not intake.look_again_soon


def test_what_may_have_been_stored_during_the_look_waits_for_the_next_one(
    spool: WholeSpool, intake: Intake
) -> None:
    # Stamped at the very instant at which the listing begins: an older one could be missing.
    name = str(Name(spool.clock.now(), "one", "contact_modified"))
    put(spool, name)
    assert give(intake) is None
    assert intake.look_again_soon
    assert give(intake) == name  # what was there the last time has nothing to wait for
    assert not intake.look_again_soon


def test_a_clock_that_was_set_back_holds_nothing_up(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    clock.advance(3600)
    name = store(spool)
    clock.advance(-3600)
    assert give(intake) == name


def test_those_of_one_contact_wait_for_each_other(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    first, second, other = (
        store(spool, contact, f"id-{number}") for number, contact in enumerate((7, '"7"', 8))
    )
    clock.advance(1)
    intake.look()
    assert [take(intake), take(intake), take(intake)] == [first, other, None]
    intake.backlog.settle(first)
    assert take(intake) == second


def test_without_order_by_contact_only_those_of_one_id_wait(spool: WholeSpool, clock: FakeClock) -> None:
    intake = Intake(spool, by_contact=False)
    first = store(spool, 7, "same")
    clock.advance(1)
    repeat = store(spool, 7, "same")
    clock.advance(1)
    other = store(spool, 7, "other")
    clock.advance(1)
    intake.look()
    assert [take(intake), take(intake), take(intake)] == [first, other, None]
    intake.backlog.settle(first)
    assert take(intake) == repeat


@pytest.mark.parametrize("by_contact", [True, False])
def test_a_file_of_a_foreign_name_shares_the_lane_of_its_id(
    spool: WholeSpool, clock: FakeClock, by_contact: bool
) -> None:
    intake = Intake(spool, by_contact=by_contact)
    stored = store(spool, identifier="same")
    clock.advance(1)
    put(spool, "copy.json", body(identifier="same"))
    intake.look()
    clock.advance(2)
    assert give(intake) == stored
    assert take(intake) is None
    intake.backlog.settle(stored)
    assert take(intake) == "copy.json"


def test_a_foreign_name_waits_until_its_size_has_stood_still_for_two_seconds(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    path = put(spool, "by hand.json", b"{")
    assert give(intake) is None
    clock.advance(1.9)
    assert give(intake) is None
    path.write_bytes(b"{}")
    clock.advance(0.1)
    assert give(intake) is None
    clock.advance(1.9)
    assert give(intake) is None
    assert intake.look_again_soon
    clock.advance(0.1)
    assert give(intake) == "by hand.json"
    assert not intake.look_again_soon


def test_a_foreign_name_that_comes_again_waits_again(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    put(spool, "a.json", b"{}").unlink()
    path = put(spool, "a.json", b"{}")
    intake.look()
    path.unlink()
    intake.look()
    clock.advance(5)
    put(spool, "a.json", b"{}")
    assert give(intake) is None


def test_foreign_names_sort_by_the_files_age(spool: WholeSpool, intake: Intake, clock: FakeClock) -> None:
    clock.advance(-10)
    stored = store(spool)
    clock.advance(10)
    put(spool, "a.json", b'{"n": 1}', age=5)
    put(spool, "b.json", b'{"n": 2}', age=20)
    intake.look()
    clock.advance(2)
    intake.look()
    assert [take(intake), take(intake), take(intake)] == ["b.json", stored, "a.json"]


def test_after_a_restart_a_foreign_name_keeps_its_place_though_it_was_in_retry(
    spool: WholeSpool, clock: FakeClock
) -> None:
    put(spool, "a.json", body(7))
    clock.advance(1)
    spool.claim(State.INCOMING, "a.json")
    spool.record(State.PROCESSING, "a.json", {"at": history.iso(clock.now()), "attempt": 1, "exit": 75})
    spool.postpone("a.json", clock.now() + timedelta(hours=1))
    clock.advance(1)
    younger = store(spool, 7)
    clock.advance(1)
    intake = Intake(spool, by_contact=True)
    assert give(intake, clock.now().timestamp()) is None
    assert give(intake, clock.now().timestamp() + 3600) == "a.json"
    intake.backlog.settle("a.json")
    assert take(intake) == younger


def test_after_a_restart_a_foreign_name_that_had_a_turn_is_not_overtaken_while_it_would_have_to_stand_still(
    spool: WholeSpool, clock: FakeClock
) -> None:
    put(spool, "a.json", body(7))
    clock.advance(1)
    spool.claim(State.INCOMING, "a.json")
    spool.record(State.PROCESSING, "a.json", {"at": history.iso(clock.now()), "note": "n", "attempt": 1})
    spool.release("a.json")
    clock.advance(1)
    younger = store(spool, 7)
    clock.advance(1)
    intake = Intake(spool, by_contact=True)
    assert give(intake) == "a.json"
    intake.backlog.settle("a.json")
    assert take(intake) == younger


@pytest.mark.parametrize("at", ["soon", None, 5, "2026-11-23", "0001-01-01", "9999-12-31T23:59:59-12:00"])
def test_a_log_that_a_person_wrote_is_no_obstacle(spool: WholeSpool, intake: Intake, at: object) -> None:
    put(spool, "a.json")
    history.append(spool.path(State.INCOMING, "a.log"), [{"at": at}])
    assert give(intake) == "a.json"


def test_a_retry_is_given_when_the_files_time_has_come(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    name = store(spool)
    clock.advance(1)
    spool.claim(State.INCOMING, name)
    spool.postpone(name, clock.now() + timedelta(seconds=60))
    now = clock.now().timestamp()
    assert give(intake, now + 59.9) is None
    assert intake.backlog.next_due == pytest.approx(now + 60, abs=1e-5)
    os.utime(spool.path(State.RETRY, name), (now + 10, now + 10))  # a person wants it sooner
    assert give(intake, now + 9.9) is None
    assert give(intake, now + 10) == name


def make_link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


ODD: list[Callable[[Path], None]] = [make_link, make_pipe, Path.mkdir]


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("state", [State.INCOMING, State.RETRY])
def test_what_is_no_regular_file_is_reported_once_and_left_alone(
    spool: WholeSpool,
    intake: Intake,
    logged: list[structlog.typing.EventDict],
    make: Callable[[Path], None],
    state: State,
) -> None:
    path = spool.path(state, "20261123T190001.123456Z_a_b.json")
    make(path)
    for _ in range(3):
        assert give(intake) is None
    assert logged == [
        {
            "event": "left alone",
            "log_level": "error",
            "webhook": "crm",
            "id": "a",
            "file": path.name,
            "reason": "is no regular file",
        }
    ]
    assert os.path.lexists(path)


def test_one_that_cannot_be_read_holds_nobody_up(spool: WholeSpool, intake: Intake, clock: FakeClock) -> None:
    large = str(Name(clock.now(), "large", "t"))
    spool.path(State.INCOMING, large).touch()
    os.truncate(spool.path(State.INCOMING, large), 1 << 40)
    clock.advance(1)
    name = store(spool, 7)
    clock.advance(1)
    intake.look()
    assert [take(intake), take(intake)] == [name, None]
    assert spool.path(State.INCOMING, large).exists()


def test_a_file_that_goes_away_between_two_looks_is_forgotten(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    first, second = store(spool, 7, "a"), store(spool, 7, "b")
    clock.advance(1)
    intake.look()
    spool.path(State.INCOMING, first).unlink()
    assert give(intake) == second


def test_hidden_files_and_logs_are_nothing(spool: WholeSpool, intake: Intake) -> None:
    for name in (".new-1", ".a.json", "a.log", "a.txt"):
        put(spool, name)
    assert give(intake) is None
    assert not intake.look_again_soon


def test_a_folder_that_is_gone_is_an_error(spool: WholeSpool, intake: Intake) -> None:
    shutil.rmtree(spool.folder(State.RETRY))
    with pytest.raises(FileNotFoundError):
        intake.look()


def test_a_hundred_foreign_names_each_get_their_own_place(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    for number in range(100):
        put(spool, f"{number:02}.json", b"[%d]" % number, age=float(number))
    intake.look()
    clock.advance(2)
    intake.look()
    assert [take(intake) for _ in range(100)] == [f"{number:02}.json" for number in reversed(range(100))]


def test_ages_are_of_the_file_and_not_of_the_clock(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    path = put(spool, "a.json")
    os.utime(path, (0, 0))
    intake.look()
    clock.advance(2)
    intake.look()
    found = intake.backlog.peek(0)
    assert found is not None
    assert found[0] == f"{datetime(1970, 1, 1, tzinfo=UTC):%Y%m%dT%H%M%S.%fZ}_a.json"


def test_a_foreign_name_that_is_used_again_gets_no_elders_place(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    put(spool, "replay.json", body(7), age=60)
    for _ in range(2):
        intake.look()
        clock.advance(STILL_SECONDS)
    assert take(intake) == "replay.json"
    spool.path(State.INCOMING, "replay.json").unlink()
    intake.backlog.settle("replay.json")
    older = store(spool, 7)
    clock.advance(1)
    intake.look()
    path = put(spool, "replay.json", body(7))
    os.utime(path, (clock.now().timestamp(), clock.now().timestamp()))
    for _ in range(2):
        intake.look()
        clock.advance(STILL_SECONDS)
    assert take(intake) == older


def test_one_that_could_not_be_read_for_a_moment_gets_its_place_when_it_can(
    spool: WholeSpool, intake: Intake, clock: FakeClock
) -> None:
    older = store(spool, 7, "a")
    clock.advance(0.001)
    spool.claim(State.INCOMING, older)
    spool.postpone(older, clock.now() + timedelta(seconds=100))
    content = spool.read(State.RETRY, older)
    os.truncate(spool.path(State.RETRY, older), 1 << 40)  # more than can be a body
    os.utime(spool.path(State.RETRY, older), (clock.now().timestamp() + 100,) * 2)
    intake.look()
    spool.path(State.RETRY, older).write_bytes(content)
    os.utime(spool.path(State.RETRY, older), (clock.now().timestamp() + 100,) * 2)
    clock.advance(5)
    intake.look()
    store(spool, 7, "b")
    clock.advance(5)
    intake.look()
    assert take(intake, clock.now().timestamp()) is None


def test_what_is_being_put_back_is_waited_for(spool: WholeSpool, intake: Intake, clock: FakeClock) -> None:
    first, second = store(spool, 7, "a"), store(spool, 7, "b")
    set_aside(spool, first, second)
    clock.advance(1)
    intake.look()
    put_back(spool, second)
    intake.look()
    assert intake.is_moving
    put_back_and_take(spool, intake, first)
