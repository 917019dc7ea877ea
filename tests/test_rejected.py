"""Refused requests that are kept: which, with what beside them, and how many at most."""

import base64
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from running_service import (
    OTHER_KEY,
    PATIENCE_SECONDS,
    Headers,
    Reply,
    Site,
    call,
    make_body,
    make_certificate,
    make_site,
    nginx,
    public_pem,
    request,
    serving,
    signed,
    wait_until,
)
from structlog.testing import capture_logs

from spooler.keypair import generate
from spooler.receiver import Receiver
from spooler.rejected import MAX_BYTES, MAX_FILES, MAX_REQUESTS
from spooler.signature import HEADER

SMALL_KEY = generate(1024)


def forge(receiver: Receiver, body: bytes, key: RSAPrivateKey = OTHER_KEY, **more: Any) -> Reply:
    return call(receiver, body, signed(body, key), **more)


def log_of(file: Path) -> dict[str, Any]:
    line, end = file.with_suffix(".log").read_text().split("\n")
    assert end == ""
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_a_wrong_key_keeps_the_body_and_what_is_needed_to_check_it_again(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    body = make_body()
    headers = {
        **signed(body, OTHER_KEY),
        "X-Forwarded-For": "198.51.100.7",
        "Content-Type": "application/json",
    }
    with serving(Receiver(site.configuration())) as address:
        assert request(address, body, headers).status == 401
    (file,) = site.files("rejected")
    assert file.read_bytes() == body
    assert "_x-" in file.name
    assert file.name.endswith("_unknown.json")
    line = log_of(file)
    assert line.keys() == {"at", "note", "status", "peer", "connection", "headers"}
    assert (line["status"], line["peer"]) == (401, "198.51.100.7")
    assert "matches none" in line["note"]
    sent = {name.title(): value for name, value in headers.items()}
    assert sent.items() <= line["headers"].items()
    assert line["headers"]["Content-Length"] == str(len(body))
    assert sorted(site.all_files()) == sorted([file, file.with_suffix(".log")])


def test_a_missing_certificate_is_kept_with_the_signature_that_goes_with_it(tmp_path: Path) -> None:
    listed = f'client_certificates = ["{"00" * 32}"]'
    site = make_site(tmp_path / "site", webhooks=f'[webhook.certified]\npublic_keys = ["crm.pem"]\n{listed}')
    body = make_body()
    headers = signed(body) | {"X-SSL-Client-Cert": nginx(make_certificate("other"))}
    assert call(Receiver(site.configuration()), body, headers, path="/webhook/certified").status == 403
    (file,) = site.files("rejected", "certified")
    assert file.read_bytes() == body
    line = log_of(file)
    assert (line["status"], line["headers"]["X-Di-Signature"]) == (403, headers[HEADER])
    assert "is not on the list" in line["note"]


def test_no_value_of_the_network_breaks_the_line_or_names_the_file(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    body = b'{"EventUniqueID": "../../evil", "Type": "../evil"}'
    headers = signed(body, OTHER_KEY) | {"X-Note": '"}\n{"forged": 1}\u2028\udcff'}
    assert call(Receiver(site.configuration()), body, headers).status == 401
    (file,) = site.files("rejected")
    assert "evil" not in file.name
    assert log_of(file)["headers"]["X-Note"].startswith('"}\n{"forged": 1}')


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {HEADER: "%"},
        {HEADER: ""},
        {HEADER: base64.b64encode(bytes(255)).decode()},
        {HEADER: base64.b64encode(bytes(257)).decode()},
        {HEADER: ", ".join([base64.b64encode(bytes(256)).decode()] * 2)},
        signed(b"", SMALL_KEY),
    ],
    ids=["missing", "no base64", "empty", "too short", "too long", "two", "of a smaller key"],
)
def test_what_none_of_the_keys_can_have_signed_is_not_kept(tmp_path: Path, headers: Headers) -> None:
    site = make_site(tmp_path / "site")
    assert call(Receiver(site.configuration()), b"{}", headers).status == 401
    assert site.all_files() == []


def test_the_length_of_any_of_the_keys_will_do(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", webhooks='[webhook.two]\npublic_keys = ["crm.pem", "small.pem"]')
    (site.root / "small.pem").write_bytes(public_pem(SMALL_KEY))
    receiver = Receiver(site.configuration())
    for key in (OTHER_KEY, generate(1024)):
        assert forge(receiver, make_body(), key, path="/webhook/two").status == 401
    assert len(site.files("rejected", "two")) == 2


def test_the_answer_is_the_same_where_nothing_can_be_kept(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    receiver = Receiver(site.configuration())
    kept = forge(receiver, make_body())
    site.folder("rejected").rename(site.folder("away"))
    with capture_logs() as lines:
        assert forge(receiver, make_body()) == kept
    assert "not kept" in {line["event"] for line in lines}


def test_nothing_is_kept_where_the_disk_has_less_room_than_min_free(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", receiver='min_free = "999TiB"')
    assert forge(Receiver(site.configuration()), make_body()).status == 401
    assert site.all_files() == []


def test_there_are_never_more_than_a_thousand_whoever_sends_how_many(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 2")
    forgers = [fork_forger(site, 560) for _ in range(2)]
    most, statuses = 0, []
    while forgers:
        most = max(most, len(site.files("rejected")))
        ended, status = os.waitpid(forgers[0], os.WNOHANG)
        if ended:
            statuses.append(status)
            forgers.pop(0)
        time.sleep(0.01)
    assert statuses == [0, 0]
    left = site.files("rejected")
    assert most <= MAX_REQUESTS
    assert MAX_REQUESTS * 8 // 10 < len(left) <= MAX_REQUESTS
    assert len(list(site.folder("rejected").iterdir())) <= MAX_FILES
    assert {file.with_suffix(".log").is_file() for file in left} == {True}
    assert len(site.all_files()) == 2 * len(left)
    newest = max(left, key=lambda file: file.name)
    assert newest.read_bytes().startswith(b'{"number": 559')


def fork_forger(site: Site, count: int) -> int:
    """Start a process that is one of the receiver's workers; it ends with 0 when all were refused."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.alarm(int(PATIENCE_SECONDS))
        receiver = Receiver(site.configuration())
        forgery = signed(b"", OTHER_KEY)
        bodies = (b'{"number": %d, "of": %d}' % (number, os.getpid()) for number in range(count))
        with capture_logs():
            status = int({call(receiver, body, forgery).status for body in bodies} != {401})
    finally:
        os._exit(status)


def test_they_never_take_more_than_64_mib_with_their_logs(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", receiver='workers = 2\nmax_body = "64MiB"')
    receivers = [Receiver(site.configuration()) for _ in range(2)]
    body = bytearray(5 << 20)
    for number in range(20):
        body[:4] = number.to_bytes(4, "big")
        assert forge(receivers[number % 2], bytes(body)).status == 401
        assert bytes_held(site) <= MAX_BYTES
    assert bytes_held(site) > MAX_BYTES // 2
    numbers = [int.from_bytes(file.read_bytes()[:4], "big") for file in site.files("rejected")]
    assert numbers == list(range(20))[-len(numbers) :]
    assert forge(receivers[0], bytes(50 << 20)).status == 401
    assert bytes_held(site) <= MAX_BYTES
    assert max(file.stat().st_size for file in site.files("rejected")) == 50 << 20
    assert forge(receivers[1], bytes(64 << 20)).status == 401
    assert bytes_held(site) <= MAX_BYTES
    shutil.rmtree(site.spool)  # not to be kept with what pytest keeps


def test_large_headers_count_too(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", receiver="workers = 64")
    receiver = Receiver(site.configuration())
    headers = signed(b"", OTHER_KEY) | {"X-Note": "\xff" * (400 << 10)}
    for _ in range(100):
        assert call(receiver, b"{}", headers).status == 401
    assert MAX_BYTES // 2 < bytes_held(site) <= MAX_BYTES
    shutil.rmtree(site.spool)


def bytes_held(site: Site) -> int:
    return sum(path.stat().st_size for path in site.folder("rejected").iterdir())


def fill(site: Site, count: int) -> list[Path]:
    """Put requests into `rejected/` that are older than what comes, and return their files."""
    files = [site.folder("rejected") / f"{number:04}.json" for number in range(count)]
    for file in files:
        file.write_bytes(b"{}")
    return files


@contextmanager
def immutable(files: Sequence[Path]) -> Iterator[None]:
    if os.geteuid() != 0 or subprocess.run(["chattr", "+i", *files], check=False).returncode:
        pytest.skip("needs root, and a file system that knows of files that nobody may remove")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)


def test_a_folder_that_looks_like_the_oldest_request_keeps_no_room_from_being_made(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    receiver = Receiver(site.configuration())
    fill(site, MAX_REQUESTS - 1)
    (site.folder("rejected") / "0.json").mkdir()
    bodies = [make_body(number) for number in range(80)]
    with capture_logs() as lines:
        assert {forge(receiver, body).status for body in bodies} == {401}
    assert "not kept" not in {line["event"] for line in lines}
    left = [path for path in site.files("rejected") if path.is_file()]
    assert len(left) <= MAX_REQUESTS
    assert set(bodies) <= {file.read_bytes() for file in left}


def test_one_that_cannot_be_removed_makes_the_next_one_go(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    receiver = Receiver(site.configuration())
    oldest, second, *_ = fill(site, MAX_REQUESTS - 1)
    bodies = [make_body(number) for number in range(80)]
    with immutable([oldest]):
        assert {forge(receiver, body).status for body in bodies} == {401}
    left = site.files("rejected")
    assert len(left) <= MAX_REQUESTS
    assert oldest in left
    assert second not in left
    assert set(bodies) <= {file.read_bytes() for file in left}


def test_where_no_room_can_be_made_nothing_is_kept(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    receiver = Receiver(site.configuration())
    there = fill(site, MAX_REQUESTS)
    with immutable(there), capture_logs() as lines:
        assert {forge(receiver, make_body(number)).status for number in range(80)} == {401}
        assert site.files("rejected") == there
    assert {line["event"] for line in lines} == {"not kept", "refused"}
    assert "Operation not permitted" in next(line["reason"] for line in lines if line["event"] == "not kept")
    assert forge(receiver, make_body()).status == 401
    assert len(site.files("rejected")) < MAX_REQUESTS


def test_several_threads_may_be_refused_at_once(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    receiver = Receiver(site.configuration())
    bodies = [make_body(number) for number in range(80)]
    threads = [threading.Thread(target=forge, args=(receiver, body)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(site.files("rejected")) == len(bodies))
    assert sorted(file.read_bytes() for file in site.files("rejected")) == sorted(bodies)
