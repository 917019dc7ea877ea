"""Looking into one webhook's folders: what counts, and what it says of itself."""

import os
from datetime import timedelta
from pathlib import Path

from conftest import FakeClock, MakeSpool

from spooler import history
from spooler.folders import WebhookFolders
from spooler.name import Name
from spooler.state import State


def test_folders_that_are_not_there_hold_nothing(tmp_path: Path) -> None:
    folders = WebhookFolders(tmp_path, "crm")
    assert folders.days() == folders.days_of(State.DONE) == []
    assert folders.days_of(State.FAILED) == [""]
    assert (
        list(folders.entries(State.INCOMING)) == list(folders.notifications(State.DONE, "2026-11-23")) == []
    )


def test_the_days_are_the_folders_in_done_oldest_first(make_spool: MakeSpool) -> None:
    spool = make_spool()
    for name in ("2026-11-23", "2026-11-02", ".hidden"):
        (spool.folder(State.DONE) / name).mkdir()
    (spool.folder(State.DONE) / "a-file").touch()
    (spool.folder(State.DONE) / "2026-11-24").symlink_to("2026-11-23")
    assert spool.days() == ["2026-11-02", "2026-11-23"]


def test_a_notification_is_a_regular_file_of_such_a_name(make_spool: MakeSpool) -> None:
    spool = make_spool()
    incoming = spool.folder(State.INCOMING)
    for name in ("by hand.json", ".hidden.json", "a.log"):
        (incoming / name).touch()
    (incoming / "folder.json").mkdir()
    (incoming / "link.json").symlink_to("a.log")
    assert [entry.name for entry in spool.notifications(State.INCOMING)] == ["by hand.json"]
    assert len(list(spool.entries(State.INCOMING))) == 5


def test_what_is_done_is_read_by_its_day(make_spool: MakeSpool, clock: FakeClock) -> None:
    spool = make_spool()
    day = spool.folder(State.DONE) / "2026-11-23"
    day.mkdir()
    (day / "a.json").write_bytes(b"body")
    history.append(day / "a.log", [history.note(clock.now() - timedelta(days=1), "a turn")])
    assert spool.read(State.DONE, "a.json", day.name) == b"body"
    assert [line["note"] for line in spool.log_lines(State.DONE, "a.json", day.name)] == ["a turn"]
    assert spool.received(State.DONE, "a.json", day.name) == clock.now() - timedelta(days=1)
    os.utime(day / "a.json", (1e9, 1e9))
    assert spool.written(State.DONE, "a.json", day.name).timestamp() == 1e9


def test_a_waiting_notification_was_received_when_its_name_says_or_its_file_was_written(
    make_spool: MakeSpool, clock: FakeClock
) -> None:
    spool = make_spool()
    assert spool.received(State.INCOMING, str(Name(clock.now(), "a", "t"))) == clock.now()
    spool.path(State.RETRY, "by hand.json").touch()
    lines = [history.note(clock.now() - timedelta(days=1), "a turn")]
    history.append(spool.path(State.RETRY, "by hand.log"), lines)
    assert spool.received(State.RETRY, "by hand.json") == clock.now() - timedelta(days=1)
    os.utime(spool.path(State.RETRY, "by hand.json"), (1e9, 1e9))
    assert spool.received(State.RETRY, "by hand.json").timestamp() == 1e9
