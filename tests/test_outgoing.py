"""The bodies that the sender makes."""

import json
from datetime import UTC, datetime

import pytest

from spooler.notification import Notification
from spooler.outgoing import NewNotifications, make_body

NOW = datetime(2026, 11, 23, 19, 0, 1, 123456, tzinfo=UTC)
COMMON = {"Type", "EventUniqueID", "dtExecution", "idCompany", "idProject", "ContactID"}


def test_a_body_holds_the_members_of_every_notification() -> None:
    body = json.loads(make_body("contact_optout", "7c1f", 550012, now=NOW))
    assert (body["Type"], body["EventUniqueID"]) == ("contact_optout", "7c1f")
    assert body["dtExecution"] == "2026-11-23T19:00:01.123"
    assert body["ContactID"] == {"idContact": 550012, "f_EMail": "contact-550012@example.com"}
    assert isinstance(body["idCompany"], int)
    assert isinstance(body["idProject"], int)


@pytest.mark.parametrize(
    ("notification_type", "own"),
    [
        ("contact_modified", {"Data"}),
        ("contact_optin", {"OptinField", "OptinDate"}),
        ("contact_optout", {"OptinField", "OptinDate"}),
        ("contact_complaint", {"idSendLog", "idMessage", "dtProcessed"}),
        ("contact_quarantine", {"idSendLog", "idMessage", "dtProcessed"}),
        ("sending_Bounce", {"idSendLog", "idMessage", "dtProcessed"}),
        ("sending_ProductionError", {"idSendLog", "idMessage", "dtProcessed"}),
        ("something_new", set()),
    ],
)
def test_each_type_brings_its_own_members(notification_type: str, own: set[str]) -> None:
    assert set(json.loads(make_body(notification_type, "1", 1))) == COMMON | own


def test_only_a_test_says_that_it_is_one() -> None:
    assert "isTest" not in json.loads(make_body("contact_modified", "1", 1))
    assert json.loads(make_body("contact_modified", "1", 1, is_test=True))["isTest"] is True


def test_the_receiving_side_reads_what_the_sender_meant() -> None:
    read = Notification.read(make_body("contact_modified", "7c1f-4a52", 550012, is_test=True))
    assert (read.id, read.type, read.contact) == ("7c1f-4a52", "contact_modified", "550012")
    assert read.is_test
    assert not read.problem


def test_a_body_holds_utf_8_as_it_is() -> None:
    assert "Québec".encode() in make_body("contact_modified", "1", 1)


def test_a_batch_takes_its_types_in_turn_and_gives_each_notification_an_id_of_its_own() -> None:
    batch = NewNotifications(["contact_optout", "sending_Bounce"], 5, is_test=True)
    made = list(batch)
    assert len(batch) == len(made) == len({one.id for one in made}) == 5
    assert [one.type for one in made[:3]] == ["contact_optout", "sending_Bounce", "contact_optout"]
    for one in made:
        read = Notification.read(one.body)
        assert (read.id, read.type, read.is_test) == (one.id, one.type, True)
    assert len({Notification.read(one.body).contact for one in made}) == 5
