"""Which folders may become the spool of an installation."""

import os
from pathlib import Path

import pytest

from spooler import site
from spooler.errors import SpoolerError

NOBODY_KNOWN = 54321


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder to an owner without a name")
def test_a_spool_that_was_brought_back_is_taken_whoever_owned_it(tmp_path: Path) -> None:
    (tmp_path / "crm" / "incoming").mkdir(parents=True)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ".metrics").mkdir()
    os.chown(tmp_path, NOBODY_KNOWN, NOBODY_KNOWN)
    site._check_spool(tmp_path, "spool")
    (tmp_path / "mail").mkdir()
    with pytest.raises(SpoolerError, match="holds mail; name a folder for it"):
        site._check_spool(tmp_path, "spool")


def test_a_folder_with_somebody_elses_files_is_refused_and_one_that_is_missing_or_empty_isnt(
    tmp_path: Path,
) -> None:
    site._check_spool(tmp_path, "spool")
    site._check_spool(tmp_path / "missing", "spool")
    (tmp_path / "file").touch()
    with pytest.raises(SpoolerError, match="holds file"):
        site._check_spool(tmp_path, "spool")
