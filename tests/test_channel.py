"""The channel between spooler and a script that stays alive, with anything on its other side."""

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from spooler.channel import Channel, NoStatusError

ENVIRONMENT = {"SPOOLER_ID": "an-id", "SPOOLER_TYPE": "contact_optout"}


class Ends:
    """A channel, and the script's end of it."""

    def __init__(self) -> None:
        self.own = Channel()
        self.script = socket.socket(fileno=os.dup(self.own.number))
        self.script.settimeout(10)
        self.own.started()

    def close(self) -> None:
        self.own.close()
        self.script.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    both = Ends()
    yield both
    both.close()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# What comes in.


@pytest.mark.parametrize("status", [0, 1, 9, 10, 65, 75, 99, 100, 255])
def test_a_status_is_a_line(ends: Ends, status: int) -> None:
    assert ends.own.read() is None
    ends.script.sendall(b"%d\n" % status)
    assert ends.own.read() == status
    assert ends.own.read() is None
    assert ends.own.is_quiet


def test_a_status_may_come_in_pieces(ends: Ends) -> None:
    for piece in (b"2", b"5", b"5"):
        ends.script.sendall(piece)
        assert ends.own.read() is None
        assert not ends.own.is_quiet
    ends.script.sendall(b"\n")
    assert ends.own.read() == 255


NONE = [b"256\n", b"999\n", b"-1\n", b"+1\n", b"\n", b" 0\n", b"0 \n", b"0\r\n", b"0\n0\n", b"0\n7", b"0000"]
NONE += [
    b"x\n",
    b"0x1\n",
    b"1.0\n",
    b"\xd9\xa3\n",
    b"\0\n",
    b"0\0\n",
    b"00000\n",
    b"{}\n",
    b"done, all is well\n",
]


@pytest.mark.parametrize("written", NONE)
def test_what_is_no_status_is_refused_and_shown(ends: Ends, written: bytes) -> None:
    ends.script.sendall(written)
    with pytest.raises(NoStatusError) as refused:
        ends.own.read()
    assert ascii(written)[1:] in str(refused.value)


@pytest.mark.parametrize("endless", [b"0", b"x", b"\n", b"0\n"])
def test_an_endless_line_is_refused_when_a_few_bytes_have_come(ends: Ends, endless: bytes) -> None:
    ends.script.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            ends.script.send(endless * 1000)
    with pytest.raises(NoStatusError) as refused:
        ends.own.read()
    assert len(str(refused.value)) < 400


@settings(max_examples=examples(300))
@given(st.lists(st.one_of(st.binary(max_size=6), st.from_regex(rb"[0-9]{0,4}\n?")), max_size=6))
def test_whatever_comes_however_cut_is_one_status_or_none_yet_or_refused(pieces: list[bytes]) -> None:
    ends = Ends()
    try:
        whole = b""
        for piece in pieces:
            ends.script.sendall(piece)
            whole += piece
            try:
                status = ends.own.read()
            except NoStatusError:
                assert len(whole) > 3 or b"\n" in whole
                assert not (re.fullmatch(rb"[0-9]{1,3}\n", whole) and int(whole) < 256)
                return
            if status is None:
                assert len(whole) < 4
                assert b"\n" not in whole
                assert ends.own.is_open
            else:
                assert whole in {b"%d\n" % status, b"0%d\n" % status, b"00%d\n" % status}
                assert 0 <= status <= 255
                whole = b""
    finally:
        ends.close()


# What goes out.


def test_a_notification_is_one_line_of_json(ends: Ends) -> None:
    assert ends.own.tell("/a/b\nc é.json", ENVIRONMENT)
    line = ends.script.recv(65536)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line) == {"file": "/a/b\nc é.json", "environment": ENVIRONMENT}


def test_what_json_cannot_say_is_not_sent(ends: Ends) -> None:
    assert not ends.own.tell(os.fsdecode(b"/spool/\xff.json"), ENVIRONMENT)
    ends.script.setblocking(False)
    with pytest.raises(BlockingIOError):
        ends.script.recv(1)


def test_a_script_that_reads_nothing_is_not_waited_for(ends: Ends) -> None:
    told = 0
    while ends.own.tell("/x" * 500, ENVIRONMENT):
        told += 1
        assert told < 10_000


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_RDWR, None])
def test_one_that_listens_no_more_cannot_be_told(ends: Ends, how: int | None) -> None:
    ends.script.close() if how is None else ends.script.shutdown(how)
    assert not ends.own.tell("/x", ENVIRONMENT)


def test_the_end_is_the_end_of_the_file(ends: Ends) -> None:
    ends.own.end()
    assert ends.script.recv(1) == b""


# Who has read what.


@pytest.mark.parametrize("left", [1, 10, None])
def test_what_wasnt_read_to_its_end_was_left_unread(ends: Ends, left: int | None) -> None:
    ends.own.tell("/x", ENVIRONMENT)
    if left is not None:
        ends.script.recv(len(ends.script.recv(65536, socket.MSG_PEEK)) - left)
    assert not ends.own.is_quiet
    ends.script.sendall(b"garbage")
    ends.script.close()
    assert ends.own.was_left_unread()
    assert ends.own.was_left_unread()


def test_it_is_unread_too_while_somebody_else_holds_the_end(ends: Ends) -> None:
    held = ends.script.dup()
    ends.own.tell("/x", ENVIRONMENT)
    ends.script.close()
    assert ends.own.was_left_unread()
    held.recv(65536)
    assert not ends.own.was_left_unread()
    held.close()


def test_what_was_read_was_not_left_unread(ends: Ends) -> None:
    assert not ends.own.was_left_unread()  # nothing was sent
    ends.own.tell("/x", ENVIRONMENT)
    ends.script.recv(65536)
    assert ends.own.is_quiet
    ends.script.sendall(b"garbage")
    ends.script.close()
    assert not ends.own.was_left_unread()


def test_a_status_for_what_wasnt_read_is_refused(ends: Ends) -> None:
    ends.own.tell("/x", ENVIRONMENT)
    ends.script.sendall(b"0\n")
    with pytest.raises(NoStatusError, match="before it had read"):
        ends.own.read()


def test_a_further_status_is_no_quiet(ends: Ends) -> None:
    ends.script.sendall(b"0\n")
    assert ends.own.read() == 0
    ends.script.sendall(b"0\n")
    assert not ends.own.is_quiet


@pytest.mark.parametrize("how", [socket.SHUT_WR, socket.SHUT_RDWR, None])
def test_one_that_has_closed_its_end_will_never_tell(ends: Ends, how: int | None) -> None:
    ends.script.sendall(b"7\n")
    ends.script.close() if how is None else ends.script.shutdown(how)
    assert ends.own.read() == 7  # said before
    assert not ends.own.is_quiet
    assert ends.own.read() is None
    assert not ends.own.is_open


def test_a_half_line_and_the_end_are_no_status(ends: Ends) -> None:
    ends.script.sendall(b"0")
    ends.script.close()
    assert ends.own.read() is None
    assert ends.own.read() is None
    assert not ends.own.is_open


# Its descriptors.


def test_one_descriptor_is_open_while_it_lives_and_none_after(tmp_path: Path) -> None:
    before = open_descriptors()
    channel = Channel()
    number = channel.number
    channel.started()
    assert channel.number == channel.fileno() == number
    assert open_descriptors() == before + 1
    assert not os.get_inheritable(number)
    channel.close()
    assert open_descriptors() == before


def test_one_whose_script_could_not_be_started_leaves_none() -> None:
    before = open_descriptors()
    Channel().close()
    assert open_descriptors() == before


def test_no_two_that_live_have_the_same_number() -> None:
    channels = []
    for _ in range(20):
        channel = Channel()
        channel.started()
        channels.append(channel)
    assert len({channel.number for channel in channels}) == 20
    for channel in channels:
        channel.close()
