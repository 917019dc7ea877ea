"""The disk's limit: what is counted is stored."""

from pathlib import Path

from spooler import disk_limit


def test_every_file_that_is_counted_is_there_whole(tmp_path: Path) -> None:
    found = disk_limit.run(tmp_path, 0.2, 100)
    files = list(tmp_path.iterdir())
    assert len(files) == found.count >= disk_limit.WRITERS
    assert {file.stat().st_size for file in files} == {100}
    assert not [file for file in files if file.name.startswith(".")]


def test_each_writer_stores_one_at_least_however_short_the_time_is(tmp_path: Path) -> None:
    assert disk_limit.run(tmp_path, 0, 1).count == disk_limit.WRITERS
