"""What people type, or a program pipes into a command, instead of an ID."""

import os
import tempfile
from pathlib import Path

import pytest
from commands import in_process as run
from commands import make_spool, put
from conftest import examples, tree, write_config
from hostile import long_texts, texts
from hypothesis import example, given, settings
from hypothesis import strategies as st
from running_service import public_pem

from spooler.state import State

ID = "7c1f4a52"
KEY_FILE = public_pem()


def as_typed(text: str) -> str:
    """Return a text as a command line can hold it: no NUL, and bytes that needn't be UTF-8."""
    return os.fsdecode(text.replace("\0", "").encode("utf-8", "surrogatepass"))


typed = texts.map(as_typed) | st.binary(max_size=20).map(
    lambda raw: as_typed(os.fsdecode(raw.replace(b"\0", b"")))
)
ids = typed | typed.map(lambda text: f"{text}.json") | typed.map(lambda text: f"{text}/{ID}.json")


@pytest.mark.parametrize("command", ["show", "retry", "drop"])
@settings(max_examples=examples(30))
@given(ids, st.booleans())
@example("x" * 300 + ".json", False)
@example("x" * 5000 + "/a.json", False)
@example("\udcff", True)
@example("-", False)
def test_what_is_no_id_moves_nothing_and_is_told_in_one_line(command: str, text: str, as_json: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="spooler-hostile-") as folder:
        config = write_config(Path(folder))
        spool = make_spool(config)
        path = put(spool, State.FAILED, ID)
        (path.parent / "circle").symlink_to("circle")
        before = tree(spool.base)
        options = ["--json"] if as_json and command == "show" else []
        ended = run([command, *options, "--config", str(config), "--", text])
        if ID.startswith(text) and text:
            return  # it is one
        assert tree(spool.base) == before
        assert ended.status in ({0, 1, 2} if text == "-" else {1, 2})
        assert ended.out == ""
        assert ended.err.startswith("spooler: ") or text == "-"
        assert ended.err.count("\n") <= 1
        assert ended.err.removesuffix("\n").isprintable()


@settings(max_examples=examples(30))
@given(st.lists(st.binary(max_size=20) | ids.map(os.fsencode), max_size=5))
@example([b"\xff"])
@example([b"a\0b"])
@example([b"a\0/x.json"])
@example([b"a" * 300])
@example([b"circle/" + ID.encode() + b".json"])
def test_ids_that_are_piped_may_be_any_bytes_and_the_right_one_among_them_counts(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="spooler-hostile-") as folder:
        config = write_config(Path(folder))
        spool = make_spool(config)
        path = put(spool, State.FAILED, ID)
        lines = [line.replace(b"circle/" + ID.encode(), b"circle/" + path.stem.encode()) for line in lines]
        (path.parent / "circle").symlink_to("circle")
        body = path.read_bytes()
        piped = b"\n".join([*lines, ID.encode()])
        ended = run(["retry", "--yes", "--config", str(config), "-"], given=piped)
        assert spool.path(State.INCOMING, path.name).read_bytes() == body
        assert not path.exists()
        assert ended.status in {0, 1}
        assert all(char.isprintable() or char == "\n" for char in ended.out + ended.err)


@settings(max_examples=examples(60))
@given(
    st.sampled_from(["--type", "--since", "--contact", "--webhook"]),
    typed | long_texts.map(as_typed) | st.integers().map(lambda number: f"{number}d"),
)
def test_a_filter_of_any_text_finds_or_is_refused_in_one_line(option: str, text: str) -> None:
    with tempfile.TemporaryDirectory(prefix="spooler-hostile-") as folder:
        config = write_config(Path(folder))
        put(make_spool(config), State.FAILED, ID)
        ended = run(["list", "failed", f"{option}={text}", "--config", str(config)])
        assert ended.status in {0, 2}
        assert ended.err.count("\n") == (1 if ended.status else 0)
        assert all(char.isprintable() or char == "\n" for char in ended.out + ended.err)


@settings(max_examples=examples(60))
@given(st.lists(typed, min_size=1, max_size=3))
@example(["\x1b[31m"])
@example(["--\x1b[31m"])
def test_no_command_at_all_is_told_in_one_line(words: list[str]) -> None:
    if words[0] in {"-h", "--help", "--version"}:
        return
    ended = run(["no-such-command", *words])
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert ended.err.removesuffix("\n").isprintable()
    ended = run([words[0]])
    assert all(char.isprintable() or char == "\n" for char in ended.out + ended.err)


@settings(max_examples=examples(40))
@given(typed, st.binary(max_size=400))
def test_verify_answers_whatever_it_is_given(captured: str, body: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="spooler-hostile-") as folder:
        key = Path(folder, "public.pem")
        key.write_bytes(KEY_FILE)
        Path(folder, "body").write_bytes(body)
        ended = run(["verify", "--body", f"{folder}/body", f"--signature={captured}", "--key", str(key)])
        assert ended.status in {1, 2}
        assert all(char.isprintable() or char == "\n" for char in ended.out + ended.err)
