"""What is authentic after all; with services in test_cli_readmit.py."""

import json
from pathlib import Path

from commands import make_spool, put
from running_service import KEY, make_body, make_site, signed

from spooler import readmission
from spooler.history import append
from spooler.keys import load_key
from spooler.readmission import Verdict
from spooler.state import State


def examine(root: Path, *, signed_body: bytes, lines: list[dict[str, object]]) -> list[Verdict]:
    site = make_site(root / "site")
    spool = make_spool(site.config_file)
    path = put(spool, State.REJECTED, "x-1", type_="unknown")
    path.write_bytes(signed_body)
    append(path.with_suffix(".log"), lines)
    webhook = site.configuration().webhooks["crm"]
    found = list(readmission.examine(spool, webhook, [load_key(site.key_file)], "127.0.0.1"))
    assert path.exists()
    return found


def line(body: bytes) -> dict[str, object]:
    return {"note": "refused", "headers": {name.title(): value for name, value in signed(body, KEY).items()}}


def test_an_authentic_one_gets_the_name_that_it_would_have_had(tmp_path: Path) -> None:
    body = make_body(type_="contact_optout")
    (verdict,) = examine(tmp_path, signed_body=body, lines=[line(body)])
    assert verdict.name
    assert (verdict.name.id, verdict.name.type) == (json.loads(body)["EventUniqueID"], "contact_optout")
    assert verdict.name.received == verdict.place.received()


def test_a_body_that_is_authentic_and_no_json_is_readmitted_too(tmp_path: Path) -> None:
    (verdict,) = examine(tmp_path, signed_body=b"no JSON", lines=[line(b"no JSON")])
    assert verdict.name
    assert verdict.name.type == "unknown"


def test_headers_that_are_none_and_a_changed_body_stay(tmp_path: Path) -> None:
    (verdict,) = examine(tmp_path, signed_body=make_body(), lines=[{"headers": 7}, line(make_body())])
    assert verdict.name is None
    assert "matches none" in verdict.reason
