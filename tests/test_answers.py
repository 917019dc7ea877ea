"""The table of statuses, as the sender and the administrators know it."""

import pytest

from spooler.answers import Answer

TABLE = {200, 400, 401, 403, 404, 405, 413, 431, 503}


def test_the_statuses_are_those_of_the_contract() -> None:
    assert {answer.status for answer in Answer} == TABLE


def test_only_what_is_stored_is_answered_with_200() -> None:
    assert [answer for answer in Answer if answer.status == 200] == [Answer.STORED]


@pytest.mark.parametrize("answer", Answer)
def test_a_text_is_one_short_line_of_plain_characters(answer: Answer) -> None:
    assert answer.text.endswith("\n")
    assert answer.text.strip().replace(" ", "").isalpha()
    assert len(answer.text) < 30


@pytest.mark.parametrize("status", sorted(TABLE))
def test_a_status_of_the_table_gives_its_answer(status: int) -> None:
    assert Answer.of_status(status).status == status


@pytest.mark.parametrize("status", [100, 201, 302, 418, 500, 501, 505])
def test_any_other_status_means_that_nothing_could_be_done_now(status: int) -> None:
    assert Answer.of_status(status) is Answer.UNAVAILABLE
