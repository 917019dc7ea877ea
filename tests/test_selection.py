"""Which notifications are meant, out of how many there may be."""

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from commands import as_its_owner, make_spool, put
from conftest import give_to_nobody, write_config
from hypothesis import given
from hypothesis import strategies as st

from spooler import history, selection
from spooler.folders import Place
from spooler.notification import Notification
from spooler.owner import acting_for
from spooler.person import PersonsSpool
from spooler.selection import Filter, Sought, seek, select
from spooler.state import State


@pytest.fixture
def spool(tmp_path: Path) -> PersonsSpool:
    return make_spool(write_config(tmp_path))


@pytest.mark.parametrize("number", [0, 1, 9, 10, 11, 20, 57])
def test_every_name_comes_once_and_in_order_however_many_slices_it_takes(
    spool: PersonsSpool, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(selection, "_SLICE", 10)
    names = [put(spool, State.FAILED, f"id-{one}", age=(one * 37) % 101).name for one in range(number)]
    assert [place.file_name for place in select(spool, State.FAILED, Filter())] == sorted(names)


@pytest.mark.parametrize("state", [State.FAILED, State.DONE])
def test_what_a_person_named_comes_when_it_was_received(
    spool: PersonsSpool, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    monkeypatch.setattr(selection, "_SLICE", 3)
    paths = [put(spool, state, f"id-{age}", age=age) for age in range(20, 0, -1)]
    for number, name in ((0, "z-oldest"), (7, "0 a replay"), (8, "a"), (19, "20260231T000000.000000Z_a_t")):
        at = spool.clock.now().timestamp() - 20 + number
        os.utime(paths[number], (at, at))
        paths[number] = paths[number].rename(paths[number].with_name(f"{name}.json"))
    os.utime(paths[7])  # it was in retry/ meanwhile; its log says when it came
    came = history.iso(spool.clock.now() - timedelta(seconds=13))
    history.append(paths[7].with_suffix(".log"), [history.note(spool.clock.now(), "", received=came)])
    assert [place.path for place in select(spool, state, Filter())] == paths


def test_files_that_move_out_meanwhile_are_no_obstacle(
    spool: PersonsSpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "_SLICE", 5)
    names = {put(spool, State.FAILED, f"id-{one}", age=one).name for one in range(23)}
    moved = []
    for place in select(spool, State.FAILED, Filter(contact="1")):
        moved.append(spool.retry(State.FAILED, place.file_name))
        if len(moved) == 1:  # and one that another person takes
            taken = max(names)
            spool.path(State.FAILED, taken).unlink()
    assert set(moved) == names - {taken}


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (Filter(), True),
        (Filter(type="optout"), True),
        (Filter(type="other"), False),
        (Filter(contact="7"), True),
        (Filter(contact="70"), False),
        (Filter(type="optout", contact="7"), True),
        (Filter(type="other", contact="7"), False),
    ],
)
@pytest.mark.parametrize("named", ["by a person", "by the receiver"])
def test_a_filter_admits_what_is_all_that_it_says(
    spool: PersonsSpool, named: str, wanted: Filter, meant: bool
) -> None:
    path = put(spool, State.INCOMING, type_="optout", contact=7)
    if named == "by a person":
        path = path.rename(path.with_name("hand.json"))
    assert wanted.admits(Place(spool, State.INCOMING, path.name)) is meant


def test_the_body_of_a_refused_request_has_no_say(spool: PersonsSpool) -> None:
    os.rename(put(spool, State.REJECTED), spool.path(State.REJECTED, "hand.json"))  # noqa: PTH104
    place = Place(spool, State.REJECTED, "hand.json")
    assert not Filter(contact="1").admits(place)
    assert not Filter(type="contact_modified").admits(place)
    assert Filter(type="unknown").admits(place)


IDS = ["a", "ab", "abc", "abd", "b-1", "b-2"]


@given(st.lists(st.sampled_from(["a", "ab", "abc", "abd", "b", "b-", "b-1", "c", "abcd"]), min_size=1))
def test_a_beginning_means_an_id_if_it_is_one_or_only_one_begins_so(texts: Sequence[str]) -> None:
    found = [Sought(text) for text in dict.fromkeys(texts)]
    beginnings = {one.text: one for one in found}
    lengths = sorted({len(text) for text in beginnings})
    place = Place(PersonsSpool(Path("/nowhere"), "crm"), State.FAILED, "x.json")
    for identifier in IDS:
        selection._note(place, identifier, lengths, beginnings)
    for one in found:
        fitting = [identifier for identifier in IDS if identifier.startswith(one.text)]
        clear = one.text in IDS or len(fitting) == 1
        assert bool(one.places) is clear
        assert bool(one.problem) is not clear


def test_a_whole_id_is_found_among_many_that_begin_so(spool: PersonsSpool) -> None:
    for number in range(30):
        put(spool, State.FAILED, f"a{number}")
    put(spool, State.FAILED, "a")
    whole, short = seek([spool], [State.FAILED], ["a", "a1"])
    assert [place.file_name.split("_")[1] for place in whole.places] == ["a"]
    assert [place.file_name.split("_")[1] for place in short.places] == ["a1"]
    (ambiguous,) = seek([spool], [State.FAILED], ["a2"])
    assert ambiguous.places
    spool.path(State.FAILED, ambiguous.places[0].file_name).unlink()
    (ambiguous,) = seek([spool], [State.FAILED], ["a2"])
    assert ambiguous.problem.startswith("'a2' may be any of: a2")
    assert ambiguous.problem.endswith(", …")


def test_a_file_is_found_by_its_path_only_if_it_is_that_one(spool: PersonsSpool, tmp_path: Path) -> None:
    path = put(spool, State.DONE)
    other = tmp_path / path.name
    other.touch()
    found, not_found = seek([spool], list(State), [str(path), str(other)])
    assert [place.path for place in found.places] == [path]
    assert not_found.problem == f"there is no notification {str(other)!r}"


def test_a_file_that_a_person_named_is_found_by_the_id_in_its_body(spool: PersonsSpool) -> None:
    named = put(spool, State.FAILED, "abc-1").rename(spool.path(State.FAILED, "by hand.json"))
    broken = spool.path(State.FAILED, "broken.json")
    broken.write_bytes(b"{")
    os.truncate(put(spool, State.FAILED, "z").rename(spool.path(State.FAILED, "huge.json")), 65 << 20)
    os.rename(put(spool, State.REJECTED, "abc-2"), spool.path(State.REJECTED, "hand.json"))  # noqa: PTH104
    whole, short, digest = seek([spool], list(State), ["abc-1", "abc", Notification.read(b"{").id])
    for found, path in ((whole, named), (short, named), (digest, broken)):
        assert [place.path for place in found.places] == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders that others can't read")
@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["list", "done", "--json"], '"id": "id-done"'),
        (["status", "--json"], '"done": 1, "failed": 1'),
        (["show", "id-done"], "id        id-done"),
        (["show", "id-failed"], "id        id-failed"),
        (["retry", "id-done", "--done"], "back in incoming/"),
        (["retry", "--all", "--done"], "1 notification back in incoming/"),
    ],
)
def test_a_day_that_cannot_be_read_is_told_and_hides_no_other(
    open_to_all: Path, command: Sequence[str], says: str
) -> None:
    config = write_config(open_to_all)
    spool = make_spool(config)
    for state in (State.DONE, State.FAILED):
        put(spool, state, f"id-{state}")
    day = put(spool, State.DONE, "closed", day="2026-01-02").parent
    give_to_nobody(spool.root)
    day.chmod(0o000)
    ended = as_its_owner(spool, config, *command)
    assert (ended.status, ended.err) == (1, f"spooler: {day}: can't be read: Permission denied\n")
    assert says in ended.out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders that others can't read")
@pytest.mark.parametrize("closed", ["done", "its day"])
def test_a_folder_that_cannot_be_read_ends_the_pass_only_if_nobody_is_told(
    open_to_all: Path, closed: str
) -> None:
    spool = make_spool(write_config(open_to_all))
    path = put(spool, State.DONE)
    give_to_nobody(spool.root)
    folder = spool.folder(State.DONE) if closed == "done" else path.parent
    folder.chmod(0o000)
    told: list[Path] = []

    def tell(place: Place, _error: OSError) -> None:
        told.append(place.path)

    with acting_for(spool.base):
        assert list(select(spool, State.DONE, Filter(), tell)) == []
        for text in ("id-1", path.name):
            assert seek([spool], [State.DONE], [text], tell)[0].problem
            with pytest.raises(PermissionError):
                seek([spool], [State.DONE], [text])
        with pytest.raises(PermissionError):
            list(select(spool, State.DONE, Filter()))
    assert told == [folder] * 3


def test_what_cannot_be_read_is_told_and_the_rest_is_selected(spool: PersonsSpool) -> None:
    (spool.path(State.FAILED, "0.json")).touch()
    os.truncate(spool.path(State.FAILED, "0.json"), 65 << 20)
    path = put(spool, State.FAILED)
    told: list[Place] = []
    wanted = Filter(type="contact_modified")
    found = list(select(spool, State.FAILED, wanted, lambda place, _error: told.append(place)))
    assert [place.path for place in found] == [path]
    assert [place.file_name for place in told] == ["0.json"]
    with pytest.raises(OSError, match="larger than"):
        list(select(spool, State.FAILED, wanted))
