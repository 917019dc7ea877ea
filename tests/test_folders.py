"""Looking into one webhook's folders: what counts, and what it says of itself."""

import os
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import FakeClock, MakeSpool
from spool_files import BODY, NOTIFICATION
from whole_spool import WholeSpool

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


def test_the_days_are_the_folders_in_done_that_are_named_so_oldest_first(make_spool: MakeSpool) -> None:
    spool = make_spool()
    other = (
        ".hidden",
        "lost+found",
        "old",
        "20261123",
        "2026-W47-1",
        "2026-02-30",
        "2026-11-23T00",
        "\udcff",
    )
    for name in ("2026-11-23", "2026-11-02", *other):
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


def test_a_listing_gives_the_notifications_sorted_and_tells_what_is_odd(make_spool: MakeSpool) -> None:
    spool = make_spool()
    folder = spool.folder(State.INCOMING)
    for name in ("b.json", "a.json", "a.log", ".c.json", ".new-1", "d.txt", "-.json", "e\n.json"):
        (folder / name).touch()
    (folder / os.fsdecode(b"\xff.json")).touch()
    (folder / "link.json").symlink_to(folder / "a.json")
    (folder / "broken.json").symlink_to("nowhere")
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    (folder / "pipe.log").mkdir()
    listing = spool.listing(State.INCOMING)
    assert listing.names == ["-.json", "a.json", "b.json", "e\n.json", os.fsdecode(b"\xff.json")]
    assert listing.odd == ["broken.json", "folder.json", "link.json", "pipe.json"]


def test_a_listing_is_complete_to_the_moment_when_it_began(make_spool: MakeSpool, clock: FakeClock) -> None:
    spool = make_spool()
    before = spool.store(BODY, NOTIFICATION)
    clock.advance(1)
    listing = spool.listing(State.INCOMING)
    after = spool.store(BODY, NOTIFICATION)
    assert before < listing.complete_to < after


def test_a_body_is_read_only_from_a_regular_file_of_a_sensible_size(make_spool: MakeSpool) -> None:
    spool = make_spool()
    folder = spool.folder(State.INCOMING)
    (folder / "secret").write_text("root")
    (folder / "link.json").symlink_to(folder / "secret")
    (folder / "folder.json").mkdir()
    (folder / "large.json").touch()
    os.truncate(folder / "large.json", (64 << 20) + 1)
    for name, error in (
        ("link.json", "Too many levels of symbolic links"),
        ("folder.json", "Is a directory"),
        ("large.json", "larger than 64.0 MiB"),
        ("gone.json", "No such file"),
    ):
        with pytest.raises(OSError, match=error):
            spool.read(State.INCOMING, name)
    os.mkfifo(folder / "pipe.json")
    assert spool.read(State.INCOMING, "pipe.json") == b""  # and nobody waits for a writer


def test_a_files_own_time_is_no_obstacle_whatever_it_is(clock: FakeClock) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:  # it knows dates that Python doesn't
        spool = WholeSpool(Path(memory), "crm", clock)
        spool.prepare()
        path = spool.path(State.INCOMING, "a.json")
        path.touch()
        for seconds, written in (
            (0.0, "1970-01-01"),
            (-1e9, "1938-04-24"),
            (1e14, f"{clock.now():%Y-%m-%d}"),
        ):
            os.utime(path, (seconds, seconds))
            assert f"{spool.written(State.INCOMING, 'a.json'):%Y-%m-%d}" == written


def test_the_webhook_is_paused_while_the_file_is_there(make_spool: MakeSpool) -> None:
    spool = make_spool()
    assert not spool.paused
    (spool.base / "paused").touch()
    assert spool.paused
    (spool.base / "paused").unlink()
    assert not spool.paused
