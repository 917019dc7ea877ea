"""What is told of one notification."""

from pathlib import Path

import pytest
from commands import make_spool, put, run_line
from conftest import write_config

from spooler.entry import Entry
from spooler.folders import Place
from spooler.history import note
from spooler.person import PersonsSpool
from spooler.state import State


@pytest.fixture
def spool(tmp_path: Path) -> PersonsSpool:
    return make_spool(write_config(tmp_path))


def test_attempts_are_those_since_a_person_wanted_them_counted_anew(spool: PersonsSpool) -> None:
    path = put(
        spool, State.INCOMING, lines=[run_line(attempt=5), note(spool.clock.now(), "retry", anew=True)]
    )
    entry = Entry.of(Place(spool, State.INCOMING, path.name))
    assert (entry.attempts, entry.last_word) == (0, "retry")


def test_without_the_contact_no_body_is_read_whose_name_tells_all(spool: PersonsSpool) -> None:
    path = put(spool, State.FAILED, contact=7)
    assert Entry.of(Place(spool, State.FAILED, path.name)).contact == "7"
    path.write_bytes(b"no JSON")
    entry = Entry.of(Place(spool, State.FAILED, path.name), with_contact=False)
    assert (entry.id, entry.type, entry.contact) == ("id-1", "contact_modified", "")
    assert Entry.of(Place(spool, State.FAILED, path.name)).contact == ""


def test_one_that_is_gone_is_an_error(spool: PersonsSpool) -> None:
    with pytest.raises(FileNotFoundError):
        Entry.of(Place(spool, State.FAILED, "20261123T190001.123456Z_a_t.json"))
