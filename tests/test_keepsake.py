"""Small files that are replaced in one step."""

from pathlib import Path

import pytest

from spooler import keepsake


def test_what_was_written_is_read_and_its_folder_is_made(tmp_path: Path) -> None:
    path = tmp_path / ".folder" / "a"
    for content in ({"a": 1}, {"b": 2}):
        keepsake.write(path, content, sync=True)
        assert keepsake.read(path, dict[str, int]) == content
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": "text"}', b"[" * 100_000, b"\xff", b"null"])
def test_what_is_torn_or_of_another_shape_reads_as_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert keepsake.read(tmp_path / "a", dict[str, int]) is None
    assert keepsake.read(tmp_path / "missing", dict[str, int]) is None


def test_what_a_crash_left_half_written_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.new").write_bytes(b"half")
    keepsake.write(tmp_path / "a", {"a": 1})
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
