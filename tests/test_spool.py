"""The folders themselves, what crashes leave in them, and a log that follows its file."""

import os
import tempfile
from pathlib import Path

import pytest
from conftest import FakeClock, MakeSpool, durable_calls, tree
from spool_files import LINES, files, put

from spooler import history
from spooler.errors import Exit, SpoolUnusableError
from spooler.spool import WebhookSpool, bring_log
from spooler.state import State

HOUR = 3600


def test_the_folders_are_on_the_disk_before_anything_is_stored_in_them(tmp_path: Path) -> None:
    with durable_calls() as calls:
        WebhookSpool(tmp_path / "new" / "spool", "crm").prepare([State.INCOMING])
    parents = (tmp_path, tmp_path / "new", tmp_path / "new" / "spool", tmp_path / "new" / "spool" / "crm")
    assert {("sync", str(parent)) for parent in parents} == set(calls)


def test_a_path_that_is_too_long_is_told_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusableError, match=r"File name too long; give `spool` a shorter path$"):
        WebhookSpool(tmp_path.joinpath(*["a" * 250] * 17), "crm").prepare()


def test_folders_that_another_made_and_may_not_have_synced_are_synced(tmp_path: Path) -> None:
    spool = WebhookSpool(tmp_path / "spool", "crm")
    spool.folder(State.INCOMING).mkdir(parents=True)
    with durable_calls() as calls:
        spool.prepare([State.INCOMING])
    assert {("sync", str(spool.root)), ("sync", str(spool.base))} <= set(calls)


def test_what_a_crashed_receiver_left_is_swept_after_an_hour_and_not_before(
    make_spool: MakeSpool, clock: FakeClock
) -> None:
    spool = make_spool()
    kept = put(spool, State.INCOMING)
    now = clock.now().timestamp()
    for state in (State.INCOMING, State.REJECTED):
        for name, age in ((".new-old", HOUR + 1), (".new-young", HOUR - 1), (".other", 9 * HOUR)):
            path = spool.path(state, name)
            path.touch()
            os.utime(path, (now - age, now - age))
    os.utime(spool.path(State.INCOMING, kept), (0, 0))
    assert spool.sweep_litter() == 2
    assert set(files(spool)) == {
        f"incoming/{kept}",
        *(f"{state}/{name}" for state in ("incoming", "rejected") for name in (".new-young", ".other")),
    }
    assert spool.sweep_litter() == 0
    clock.advance(2)
    assert spool.sweep_litter() == 2


def test_a_log_that_is_in_the_way_keeps_its_lines_in_front(tmp_path: Path) -> None:
    history.append(tmp_path / "old", LINES[:1])
    history.append(tmp_path / "new", LINES[1:])
    with durable_calls() as calls:
        bring_log(tmp_path / "new", tmp_path / "old")
    assert calls[-1] == ("sync", str(tmp_path / "old"))  # for then its own is removed
    assert history.read(tmp_path / "old") == LINES
    assert not (tmp_path / "new").exists()


def test_all_folders_are_made_for_the_service_and_its_group(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        spool = WebhookSpool(tmp_path / "deep" / "spool", "crm")
        spool.prepare()
        spool.prepare()
    finally:
        os.umask(before)
    assert tree(spool.base) == {state.value: None for state in State}
    assert {spool.folder(state).stat().st_mode & 0o7777 for state in State} == {0o750}


def test_a_folder_that_cannot_be_made_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    with pytest.raises(SpoolUnusableError) as raised:
        WebhookSpool(tmp_path / "spool", "crm").prepare()
    assert raised.value.exit is Exit.CONFIGURATION
    assert str(raised.value) == (
        f"{tmp_path}/spool/crm/incoming: can't be written by user id {os.geteuid()}: Not a directory; "
        "give that user the folder (chown, chmod u+rwx) or change `spool`"
    )


def test_folders_on_two_file_systems_are_refused(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        assert Path(elsewhere).stat().st_dev != tmp_path.stat().st_dev
        (tmp_path / "crm").mkdir()
        (tmp_path / "crm" / "retry").symlink_to(elsewhere)
        with pytest.raises(SpoolUnusableError, match="crm: its folders must be on one file system"):
            WebhookSpool(tmp_path, "crm").prepare()
