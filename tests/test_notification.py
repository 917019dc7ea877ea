"""Bodies: what is read from any bytes whatever."""

import hashlib
import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spooler.name import Name, is_notification
from spooler.notification import UNKNOWN_TYPE, Notification

NOW = datetime(2026, 11, 23, 19, 0, 1, 123456, UTC)
ID = "7c1f4a52-9d2e-4c44-8f0e-1b2d3c4e5f60"

HOSTILE = [
    "../../../etc/passwd",
    "..",
    ".",
    "-rf",
    "--",
    ".hidden",
    "a\0b",
    "a\nb",
    "\r\n",
    "été 🎉",
    "\ud83d",
    "a/b\\c",
    "$(reboot)",
    "`id`",
    "'; DROP TABLE contacts; --",
    "%00",
    "x" * 100_000,
    " ",
    "\u202egnp.exe",
]
texts = st.sampled_from(HOSTILE) | st.text(max_size=80)
values = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.lists(texts, max_size=2)


def body(**members: object) -> bytes:
    return json.dumps(members).encode()


def read(**members: object) -> Notification:
    return Notification.read(body(**members))


def check_harmless(notification: Notification) -> None:
    assert re.fullmatch(r"[A-Za-z0-9-]{1,64}", notification.id)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", notification.type)
    assert re.fullmatch(r"[A-Za-z0-9.+-]{0,64}", notification.contact)
    name = Name(NOW, notification.id, notification.type)
    assert Name.parse(str(name)) == name
    assert is_notification(str(name))
    assert len(str(name)) < 255


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
@example(b"")
@example(b"\0" * 100_000)
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"Type": "a"')
@example(b"\xff\xfe{\0}\0")
def test_any_bytes_give_a_name_that_does_no_harm(content: bytes) -> None:
    notification = Notification.read(content)
    check_harmless(notification)
    assert notification.problem
    assert notification == Notification.unread(content, notification.problem)


@given(values, values, values | st.dictionaries(st.just("idContact"), values), values)
def test_any_members_give_a_name_that_does_no_harm(
    identifier: object, kind: object, contact: object, is_test: object
) -> None:
    notification = read(EventUniqueID=identifier, Type=kind, ContactID=contact, isTest=is_test)
    check_harmless(notification)
    if is_json(identifier, kind, contact, is_test):
        assert notification.problem == ""


def is_json(*members: object) -> bool:
    """Say whether there is none of those numbers that Python writes and JSON doesn't know."""
    return not re.search(r"\b(NaN|Infinity)\b", json.dumps(members))


@pytest.mark.parametrize("identifier", [ID, "-rf", "--", "a", "A-z0-9", "x" * 64, "-", "550012"])
def test_an_ordinary_id_is_taken_as_it_is(identifier: str) -> None:
    assert read(EventUniqueID=identifier).id == identifier


def test_a_number_is_an_id_too() -> None:
    assert read(EventUniqueID=12345678901234567890).id == "12345678901234567890"


@pytest.mark.parametrize(
    "identifier",
    [*(text for text in HOSTILE if text not in {"-rf", "--"}), "x" * 65, "a_b", "a.b", f"{ID}\n"],
)
def test_an_unusual_id_becomes_the_digest_of_it(identifier: str) -> None:
    digest = hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    assert read(EventUniqueID=identifier).id == f"h-{digest}"


@pytest.mark.parametrize("identifier", ["null", '""', "true", "[]", "{}"])
def test_without_an_id_the_body_gives_one(identifier: str) -> None:
    content = f'{{"Type": "contact_modified", "EventUniqueID": {identifier}}}'.encode()
    digest = hashlib.sha256(content).hexdigest()[:32]
    assert Notification.read(content).id == f"x-{digest}"
    assert Notification.read(content + b" ").id != f"x-{digest}"


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("contact_modified", "contact_modified"),
        ("sending_Bounce-2", "sending_Bounce-2"),
        ("contact modified", "contact-modified"),
        ("../../cron.d/x", "------cron-d-x"),
        ("été", "-t-"),
        ("a\0\n", "a--"),
        ("t" * 65, "t" * 64),
        ("é" * 100_000, "-" * 64),
        ("", UNKNOWN_TYPE),
        (None, UNKNOWN_TYPE),
        (True, UNKNOWN_TYPE),
        ({"a": 1}, UNKNOWN_TYPE),
        (7, "7"),
        (1.5, "1-5"),
    ],
)
def test_a_type_is_made_harmless(written: object, kind: str) -> None:
    assert read(Type=written).type == kind


@pytest.mark.parametrize(
    ("written", "contact"),
    [
        ("550012", "550012"),
        ('"550012"', "550012"),
        ('"a-B-9"', "a-B-9"),
        ("-1", "-1"),
        ("0", "0"),
        ("1.50", "1.50"),
        ("1E+3", "1E+3"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1" * 64, "1" * 64),
        ("1" * 65, ""),
        ("1" * 5000, ""),
        ('"a b"', ""),
        ('"1.5"', ""),
        ('"../x"', ""),
        ('""', ""),
        ("null", ""),
        ("true", ""),
        ("[1]", ""),
        ('{"a": 1}', ""),
    ],
)
def test_a_contact_is_a_number_as_written_or_a_text_of_harmless_characters(
    written: str, contact: str
) -> None:
    notification = Notification.read(f'{{"ContactID": {{"idContact": {written}}}}}'.encode())
    assert (notification.contact, notification.problem) == (contact, "")


@pytest.mark.parametrize("contact", ["", "null", '[{"idContact": 5}]', "5", '"x"', '{"id": 5}'])
def test_a_body_that_names_no_contact_has_no_order(contact: str) -> None:
    content = f'{{"ContactID": {contact}}}' if contact else "{}"
    notification = Notification.read(content.encode())
    assert (notification.contact, notification.order_key, notification.problem) == ("", None, "")


def test_an_id_is_the_same_contact_whether_it_is_a_number_or_a_text() -> None:
    keys = {read(ContactID={"idContact": written}).order_key for written in (550012, "550012")}
    assert len(keys) == 1
    assert keys != {None}


def test_an_unusual_id_of_a_contact_still_keeps_the_order() -> None:
    one, other = (read(ContactID={"idContact": written}).order_key for written in ("a b/ü", "a b/ö"))
    assert one is not None
    assert one != other


@pytest.mark.parametrize(
    ("written", "is_test"),
    [
        (True, True),
        ("true", True),
        ("True", True),
        ("TRUE", True),
        (False, False),
        ("false", False),
        ("", False),
        (1, False),
        ("1", False),
        (None, False),
        ([True], False),
    ],
)
def test_what_counts_as_a_test(written: object, is_test: bool) -> None:
    assert read(isTest=written).is_test is is_test


def test_without_the_member_it_is_no_test() -> None:
    assert read().is_test is False


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the body is no JSON: Expecting value"),
        (b"nonsense", "the body is no JSON: Expecting value"),
        (b'{"a": 1} x', "the body is no JSON: Extra data"),
        (b'{"a": NaN}', "the body is no JSON: NaN is no JSON"),
        (b'{"a": "\xff"}', "the body is no JSON: 'utf-8' codec can't decode"),
        (b"[" * 100_000, "the body is no JSON: it is nested too deeply"),
        (b"[]", "the body is JSON, but no object"),
        (b'"x"', "the body is JSON, but no object"),
        (b"null", "the body is JSON, but no object"),
    ],
)
def test_a_problem_says_why_no_script_can_be_given_the_body(content: bytes, problem: str) -> None:
    assert Notification.read(content).problem.startswith(problem)


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"Type": "t"}',
        b'{"Type": "t", "Data": {"f_Name": "\\ud83d"}}',
        b'{"Type": "x", "Type": "t"}',
        b' \r\n{"Type": "t"}\n',
        b'{"Type": "t", "n": 1e999999}',
        b'{"Type": "t", "n": ' + b"9" * 10_000 + b"}",
        '{"Type": "t", "Data": "\u2028\0"}'.replace("\0", "\\u0000").encode(),
    ],
)
def test_what_is_odd_and_yet_json_reaches_the_scripts(content: bytes) -> None:
    notification = Notification.read(content)
    assert (notification.type, notification.problem) == ("t", "")
