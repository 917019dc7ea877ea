"""The list of mutations fits the source, and a mutation is found out, or said not to be.

All of them are run by `python tests/mutations.py`, which takes minutes.
"""

from pathlib import Path

import pytest
from mutations import AUTHENTIC, MUTATIONS, TESTS, Mutation, mutate, survives


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.module}: {mutation.broken}")
def test_each_fits_the_source_and_names_tests_that_exist(mutation: Mutation, tmp_path: Path) -> None:
    mutate(tmp_path, mutation.changes, mutation.module)
    compile((tmp_path / "spooler" / mutation.module).read_text(), mutation.module, "exec")
    for test in mutation.tests:
        file, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}" in (TESTS / file).read_text()


def test_one_that_a_test_finds_out_is_told_from_one_that_none_does() -> None:
    change = (("    if not webhook.signed:\n", "    if True:\n"),)
    test = "test_admission.py"
    assert survives(Mutation(AUTHENTIC, "no signature is asked for", "admission.py", change, (test,))) == []
    unseen = (('"""Admission:', '"""Whether to admit:'),)
    assert survives(Mutation(AUTHENTIC, "another word", "admission.py", unseen, (test,))) == [test]
