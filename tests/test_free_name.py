"""Free names: nothing is replaced, and what comes behind a name sorts behind it."""

from pathlib import Path

from spooler import free_name

NAME = "20261123T190001.123456Z_a_contact_modified.json"


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    names = []
    for number in range(3):
        (tmp_path / "source").write_text(str(number))
        names.append(free_name.rename(str(tmp_path / "source"), NAME, target_parent=str(tmp_path)))
    assert names == sorted(names)
    assert len(set(names)) == 3
    assert [(tmp_path / name).read_text() for name in names] == ["0", "1", "2"]


def test_the_name_after_one_of_a_person_has_a_number() -> None:
    assert free_name.after("by hand.json") == "by hand-again-2.json"
    assert free_name.after("by hand-again-2.json") == "by hand-again-3.json"
    assert free_name.after("-again-.json") == "-again--again-2.json"
    assert len(free_name.after("x" * 250 + ".json")) == 255


def test_the_name_after_one_of_ours_is_a_microsecond_later() -> None:
    assert free_name.after(NAME) == NAME.replace("123456", "123457")
