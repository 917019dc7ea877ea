"""What SECURITY.md and RELIABILITY.md say is held by tests: those exist, and so do the commands."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENTS = [path for name in ("SECURITY.md", "RELIABILITY.md") if (path := TESTS.parent / name).exists()]
_TEST = re.compile(r"(test_\w+\.py)(?:::(\w+))?")
_PROGRAM = re.compile(r"tests/(\w+\.py)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_and_program_that_it_names_exists(document: Path) -> None:
    text = document.read_text()
    named, programs = _TEST.findall(text), _PROGRAM.findall(text)
    assert named or programs
    missing = [f"{file}::{name}" for file, name in named if f"def {name}" not in (TESTS / file).read_text()]
    assert missing == []
    assert [file for file in programs if not (TESTS / file).exists()] == []
