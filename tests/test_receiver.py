"""The receiver's answers, each row of the table: called without a server, and over a real socket."""

import base64
import contextlib
import hashlib
import io
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import full_disk
from cryptography.hazmat.primitives.serialization import Encoding
from mounts import mounted, remount
from running_service import (
    OTHER_KEY,
    Headers,
    Reply,
    Site,
    call,
    make_body,
    make_certificate,
    make_site,
    nginx,
    post,
    public_pem,
    request,
    rfc_9440,
    running,
    serving,
    signed,
)
from structlog.testing import capture_logs

from spooler.answers import Answer
from spooler.endpoint import BEGUN
from spooler.notification import Notification
from spooler.receiver import Receiver
from spooler.signature import HEADER

RIGHT = make_certificate("sender.example")
OTHER = make_certificate("sender.example")
FINGERPRINT = hashlib.sha256(RIGHT.public_bytes(Encoding.DER)).hexdigest()
CERTIFIED = f'[webhook.certified]\npublic_keys = ["crm.pem"]\nclient_certificates = ["{FINGERPRINT}"]'


@dataclass
class Door:
    """A receiver, and a way to send it a request."""

    site: Site
    send: Callable[..., Reply]

    def deliver(self, body: bytes, headers: Headers | None = None, **how: Any) -> Reply:
        """Send a signed request; `headers` add to the signature."""
        return self.send(body, signed(body) | dict(headers or {}), **how)

    def stored(self) -> list[Path]:
        """Return every file that isn't in `rejected/`."""
        return [path for path in self.site.all_files() if path.parent.name != "rejected"]


MakeDoor = Callable[..., Door]


@pytest.fixture(params=["called", "over a socket"])
def make_door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeDoor]:
    with contextlib.ExitStack() as stack:

        def make(**settings: str) -> Door:
            site = make_site(tmp_path / "site", **settings)
            configuration = site.configuration()
            receiver = Receiver(configuration)
            if request.param == "called":
                return Door(site, lambda *sent, **how: call(receiver, *sent, **how))
            address = stack.enter_context(serving(receiver, max_body=configuration.receiver.max_body))
            return Door(site, lambda *sent, **how: request_to(address, *sent, **how))

        yield make


request_to = request  # pytest's fixture has the same name


@pytest.fixture
def door(make_door: MakeDoor) -> Door:
    return make_door()


def assert_plain(reply: Reply, answer: Answer) -> None:
    """Check that a reply is that of the table, and says no more."""
    assert (reply.status, reply.body.decode()) == (answer.status, answer.text)
    assert reply.headers["content-type"].startswith("text/plain")
    known = {"content-type", "content-length", "connection", "date"}
    known |= {"allow"} if answer is Answer.METHOD_NOT_ALLOWED else set()
    known |= {"retry-after"} if answer is Answer.UNAVAILABLE else set()
    assert reply.headers.keys() <= known


# 200


@pytest.mark.parametrize(
    "body",
    [
        make_body(),
        make_body(size=200_000),
        '{"Type": "contact_optout", "EventUniqueID": "ÿ/../é", "ContactID": {"idContact": 1}}\r\n'.encode(),
        b"\xef\xbb\xbf{}",
        b"",
        b"\x00\xff\x00 no JSON at all",
        b"[" * 100_000,
    ],
    ids=["small", "large", "unusual", "bom", "empty", "binary", "nested"],
)
def test_what_is_signed_is_stored_byte_for_byte(door: Door, body: bytes) -> None:
    assert_plain(door.deliver(body), Answer.STORED)
    (file,) = door.stored()
    assert file.parent == door.site.folder("incoming")
    assert file.read_bytes() == body
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_the_name_tells_when_it_came_and_what_it_is(door: Door) -> None:
    door.deliver(b'{"Type": "contact modified", "EventUniqueID": "a-1"}')
    door.deliver(b'{"Type": "contact_optout", "EventUniqueID": "a_2"}')
    door.deliver(b"no JSON")
    names = [re.sub(r"^\d{8}T\d{6}\.\d{6}Z_", "", file.name) for file in door.site.files("incoming")]
    digests = [hashlib.sha256(text).hexdigest()[:32] for text in (b"a_2", b"no JSON")]
    assert names == [
        "a-1_contact-modified.json",
        f"h-{digests[0]}_contact_optout.json",
        f"x-{digests[1]}_unknown.json",
    ]


def test_repeats_are_stored_too(door: Door) -> None:
    body = make_body()
    assert [door.deliver(body).status for _ in range(3)] == [200] * 3
    assert [file.read_bytes() for file in door.stored()] == [body] * 3


def test_a_query_and_a_content_type_are_nobodys_concern(door: Door) -> None:
    assert door.deliver(b"{}", {"Content-Type": "text/html"}).status == 200


def test_what_many_send_at_once_is_all_there(door: Door) -> None:
    bodies = [make_body(number) for number in range(120)]
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(door.deliver, bodies))
    assert {reply.status for reply in replies} == {200}
    assert sorted(file.read_bytes() for file in door.stored()) == sorted(bodies)


def test_a_webhook_without_signatures_takes_what_comes(make_door: MakeDoor) -> None:
    door = make_door(webhooks='[webhook.open]\nsignature = "none"')
    assert door.send(b"anything", path="/webhook/open").status == 200
    assert [file.read_bytes() for file in door.site.files("incoming", "open")] == [b"anything"]


# 401


def forgeries(body: bytes) -> dict[str, Headers]:
    """Return headers that prove nothing about a body."""
    right = signed(body)[HEADER]
    flipped = bytearray(base64.b64decode(right))
    flipped[100] ^= 1
    return {
        "missing": {},
        "empty": {HEADER: ""},
        "spaces": {HEADER: "   "},
        "not base64": {HEADER: "%" + right[1:]},
        "base64url": {HEADER: "-_" + right[2:]},
        "line break inside": {HEADER: right[:64] + " " + right[64:]},
        "padding missing": {HEADER: right.rstrip("=")},
        "padding doubled": {HEADER: right + "=="},
        "two": {HEADER: f"{right}, {right}"},
        "too long": {HEADER: right * 20},
        "short": {HEADER: base64.b64encode(bytes(flipped[:255])).decode()},
        "wrong key": signed(body, OTHER_KEY),
        "flipped bit": {HEADER: base64.b64encode(flipped).decode()},
        "of the body cut short": signed(body[:-1]),
        "of another body": signed(body + b"\n"),
        "under another name": {"X-Di-Signatures": right},
    }


def test_refusals_for_want_of_a_signature_look_all_alike(door: Door) -> None:
    body = make_body()
    replies = {reason: door.send(body, headers) for reason, headers in forgeries(body).items()}
    for reason, reply in replies.items():
        assert (reason, reply.status) == (reason, 401)
        assert_plain(reply, Answer.UNAUTHORIZED)
    seen = [{name: v for name, v in reply.headers.items() if name != "date"} for reply in replies.values()]
    assert seen == [seen[0]] * len(seen)
    assert door.stored() == []


def test_a_body_that_was_changed_on_the_way_is_refused(door: Door) -> None:
    body = make_body()
    for changed in (body[:-1], body + b" ", body.replace(b"Type", b"TYPE"), b""):
        assert door.send(changed, signed(body)).status == 401
    assert door.stored() == []


def test_the_reason_of_a_refusal_stands_in_the_log_and_nowhere_else(door: Door) -> None:
    with capture_logs() as lines:
        door.send(make_body(), {HEADER: "%"})
    refused = [line for line in lines if line["event"] == "refused"]
    assert [(line["webhook"], line["status"], line["peer"]) for line in refused] == [
        ("crm", 401, "127.0.0.1")
    ]
    assert "base64" in refused[0]["reason"]


def test_what_is_refused_and_kept_and_what_cannot_be_stored_is_found_by_its_id(
    make_door: MakeDoor,
) -> None:
    door = make_door()
    body = make_body()
    with capture_logs() as lines:
        assert door.send(body, signed(body, OTHER_KEY)).status == 401
        assert door.send(body).status == 401
        shutil.rmtree(door.site.folder("incoming"))
        assert door.deliver(body).status == 503
    (kept,) = door.site.files("rejected")
    refused, unsigned, not_stored = (line for line in lines if line["event"] in {"refused", "not stored"})
    assert (refused["file"], refused["id"]) == (kept.name, kept.name.split("_")[1])
    assert "id" not in unsigned
    assert not_stored["id"] == Notification.read(body).id


def test_a_signature_of_another_hash_than_the_configured_one_is_refused(make_door: MakeDoor) -> None:
    door = make_door(webhooks='[webhook.old]\npublic_keys = ["crm.pem"]\nhash = "sha1"')
    assert door.deliver(make_body(), path="/webhook/old").status == 401


def test_any_of_a_webhooks_keys_may_have_signed_and_no_other_webhooks(make_door: MakeDoor) -> None:
    door = make_door(webhooks='[webhook.two]\npublic_keys = ["crm.pem", "next.pem"]')
    body = make_body()
    assert door.send(body, signed(body), path="/webhook/two").status == 200
    assert door.send(body, signed(body, OTHER_KEY), path="/webhook/two").status == 200
    assert door.send(body, signed(body, OTHER_KEY)).status == 401


@pytest.fixture(autouse=True)
def next_key(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir(exist_ok=True)
    (tmp_path / "site" / "next.pem").write_bytes(public_pem(OTHER_KEY))


# 403


@pytest.mark.parametrize(
    "certificate", [{"Client-Cert": rfc_9440(RIGHT)}, {"X-SSL-Client-Cert": nginx(RIGHT)}]
)
def test_a_client_certificate_on_the_list_is_let_in(make_door: MakeDoor, certificate: Headers) -> None:
    door = make_door(webhooks=CERTIFIED)
    assert_plain(door.deliver(make_body(), certificate, path="/webhook/certified"), Answer.STORED)


@pytest.mark.parametrize(
    "certificate",
    [
        {},
        {"Client-Cert": rfc_9440(OTHER)},
        {"X-SSL-Client-Cert": nginx(OTHER)},
        {"Client-Cert": rfc_9440(RIGHT), "X-SSL-Client-Cert": nginx(OTHER)},
        {"Client-Cert": base64.b64encode(RIGHT.public_bytes(Encoding.DER)).decode()},
        {"X-Client-Cert": rfc_9440(RIGHT)},
    ],
    ids=["none", "another", "another by nginx", "both", "without colons", "another header"],
)
def test_without_a_certificate_on_the_list_a_good_signature_is_not_enough(
    make_door: MakeDoor, certificate: Headers
) -> None:
    door = make_door(webhooks=CERTIFIED)
    assert_plain(door.deliver(make_body(), certificate, path="/webhook/certified"), Answer.FORBIDDEN)
    assert door.stored() == []


@pytest.mark.parametrize("trusted", ["192.0.2.1", "unix"])
@pytest.mark.parametrize(
    "certificate", [{"Client-Cert": rfc_9440(RIGHT)}, {"X-SSL-Client-Cert": nginx(RIGHT)}]
)
def test_a_certificate_that_somebody_else_than_the_proxy_tells_of_is_forged(
    make_door: MakeDoor, trusted: str, certificate: Headers
) -> None:
    door = make_door(receiver=f'trusted_proxy = "{trusted}"', webhooks=CERTIFIED)
    with capture_logs() as lines:
        assert_plain(door.deliver(make_body(), certificate, path="/webhook/certified"), Answer.FORBIDDEN)
    (refused,) = [line for line in lines if line["event"] == "refused"]
    assert f"which isn't receiver.trusted_proxy ({trusted})" in refused["reason"]


def test_a_certificate_doesnt_stand_for_a_signature(make_door: MakeDoor) -> None:
    door = make_door(webhooks=CERTIFIED)
    sent = {"Client-Cert": rfc_9440(RIGHT)}
    assert door.send(make_body(), sent, path="/webhook/certified").status == 401


# 404, 405


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/webhook", "/webhook/", "/webhook/other", "/webhook/crm/", "/webhook/crm/x", "/webhook/.."),
        *("/webhook/CRM", "/webhook/%ff", "/crm", "/healthz/", "/rejected"),
    ],
)
def test_an_unknown_path_is_404(door: Door, path: str) -> None:
    assert_plain(door.deliver(make_body(), path=path), Answer.NOT_FOUND)
    assert door.stored() == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
def test_another_method_than_post_is_405_and_says_which_is_allowed(door: Door, method: str) -> None:
    reply = door.deliver(make_body(), method=method)
    assert reply.headers["allow"] == "POST"
    if method == "HEAD":
        assert (reply.status, reply.body) == (405, b"")
    else:
        assert_plain(reply, Answer.METHOD_NOT_ALLOWED)
    assert door.stored() == []


# 400, 413: what a server hands over; requests that are broken on the wire are test_http_requests'


def test_a_body_that_ends_too_early_is_400(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    body = make_body()
    reply = call(
        Receiver(site.configuration()), body, signed(body), environ={"CONTENT_LENGTH": str(len(body) + 1)}
    )
    assert_plain(reply, Answer.BAD_REQUEST)
    assert site.all_files() == []


def test_a_length_that_is_no_number_is_400(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    for length in ("ten", "1" * 5000, "0x10"):
        reply = call(Receiver(site.configuration()), b"{}", signed(b"{}"), environ={"CONTENT_LENGTH": length})
        assert_plain(reply, Answer.BAD_REQUEST)


def test_a_body_of_max_body_is_accepted_and_one_more_byte_is_413(make_door: MakeDoor) -> None:
    door = make_door(receiver='max_body = "10KiB"')
    assert_plain(door.deliver(make_body(size=10 * 1024)), Answer.STORED)
    assert_plain(door.deliver(make_body(size=10 * 1024 + 1)), Answer.TOO_LARGE)
    assert [file.stat().st_size for file in door.stored()] == [10 * 1024]


# 503


def assert_unavailable(door: Door, body: bytes) -> None:
    reply = door.deliver(body)
    assert_plain(reply, Answer.UNAVAILABLE)
    assert int(reply.headers["retry-after"]) > 0


def test_below_min_free_is_503_and_a_forgery_401_all_the_same(make_door: MakeDoor) -> None:
    door = make_door(receiver='min_free = "999TiB"')
    assert_unavailable(door, make_body())
    body = make_body()
    assert door.send(body, signed(body, OTHER_KEY)).status == 401
    assert door.site.all_files() == []


def test_a_folder_that_is_gone_is_503_until_it_is_back(door: Door) -> None:
    away = door.site.folder("incoming").rename(door.site.folder("away"))
    assert_unavailable(door, make_body())
    away.rename(door.site.folder("incoming"))
    assert door.deliver(make_body()).status == 200


def test_what_came_too_slowly_to_be_confirmed_in_time_is_not_stored(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    receiver = Receiver(site.configuration())
    body = make_body()
    late = call(receiver, body, signed(body), environ={BEGUN: time.monotonic() - 12.5})
    assert_plain(late, Answer.UNAVAILABLE)
    assert late.headers["retry-after"]
    assert site.all_files() == []
    assert call(receiver, body, signed(body), environ={BEGUN: time.monotonic() - 9}).status == 200


def test_a_defect_is_503_too_for_the_sender_repeats(tmp_path: Path) -> None:
    receiver = Receiver(make_site(tmp_path / "site").configuration())
    with capture_logs() as lines:
        reply = call(receiver, b"{}", signed(b"{}"), environ={"wsgi.input": None})
    assert_plain(reply, Answer.UNAVAILABLE)
    assert reply.headers["retry-after"]
    assert "defect" in {line["event"] for line in lines}


def test_a_full_disk_is_503_leaves_nothing_and_still_takes_what_fits(
    make_door: MakeDoor, tmp_path: Path
) -> None:
    with mounted(tmp_path / "site" / "spool", "size=400k"):
        door = make_door(receiver='min_free = "0KiB"')
        large = [make_body(size=90_000) for _ in range(6)]
        statuses = [door.deliver(body).status for body in large]
        assert statuses == [200] * 4 + [503] * 2
        assert_unavailable(door, large[0])
        assert len(door.stored()) == 4
        assert door.deliver(make_body()).status == 200
        door.site.files("incoming")[0].unlink()
        assert door.deliver(large[5]).status == 200


def test_without_inodes_it_is_503(make_door: MakeDoor, tmp_path: Path) -> None:
    with mounted(tmp_path / "site" / "spool", "size=1m,nr_inodes=12"):
        door = make_door(receiver='min_free = "0KiB"')
        statuses = [door.deliver(make_body()).status for _ in range(12)]
        assert statuses == sorted(statuses)
        assert {200, 503} == set(statuses)
        assert len(door.stored()) == statuses.count(200)


def test_a_read_only_disk_is_503_and_a_restart_isnt_needed(make_door: MakeDoor, tmp_path: Path) -> None:
    with mounted(tmp_path / "site" / "spool", "size=1m"):
        door = make_door(receiver='min_free = "0KiB"')
        remount(tmp_path / "site" / "spool", "ro")
        assert_unavailable(door, make_body())
        assert door.send(b"", method="GET", path="/healthz").status == 503
        body = make_body()
        assert door.send(body, signed(body, OTHER_KEY)).status == 401
        assert door.site.all_files() == []
        remount(tmp_path / "site" / "spool", "rw")
        assert door.deliver(make_body()).status == 200


def test_a_write_that_the_system_refuses_is_503_and_leaves_nothing(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    # No file may grow beyond 16 blocks of 512 bytes: the log neither, which mustn't matter.
    with running(site, "receive", wrapper=["sh", "-c", 'ulimit -f 16; exec "$@"', "sh"]) as service:
        refused = post(service.address, make_body(size=9000))
        assert (refused.status, refused.headers["retry-after"]) == (503, "60")
        assert site.all_files() == []
        for _ in range(60):
            assert post(service.address, make_body()).status == 200
        assert len(service.log()) <= 8192
    assert len(site.files("incoming")) == 60


# Several together


def environ_of(body: bytes, path: str = "/webhook/crm", **more: object) -> dict[str, Any]:
    known = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in signed(body).items()}
    place = {"PATH_INFO": path, "REQUEST_METHOD": "POST", "REMOTE_ADDR": "192.0.2.1"}
    return {**known, **place, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), **more}


def test_of_those_that_come_together_each_gets_its_own_answer_and_their_order_stays(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", webhooks='[webhook.shop]\npublic_keys = ["crm.pem"]')
    bodies = [make_body() for _ in range(5)]
    environs = [
        environ_of(bodies[0]),
        environ_of(b"forged", HTTP_X_DI_SIGNATURE=signed(b"another")[HEADER]),
        environ_of(bodies[1]),
        environ_of(bodies[2], path="/webhook/shop"),
        environ_of(b"nowhere", path="/webhook/nowhere"),
        environ_of(bodies[3]) | {BEGUN: time.monotonic() - 12.5},
        environ_of(b"broken") | {"wsgi.input": None},
        environ_of(bodies[4]),
    ]
    with capture_logs() as lines:
        receiver = Receiver(site.configuration())
        replies = receiver.answer_all(environs)
    statuses = [200, 401, 200, 200, 404, 503, 503, 200]
    assert [int(reply.line.split()[0]) for reply in replies] == statuses
    waiting = sorted(site.files("incoming"))
    assert [path.read_bytes() for path in waiting] == [bodies[0], bodies[1], bodies[4]]
    assert [path.read_bytes() for path in site.files("incoming", webhook="shop")] == [bodies[2]]
    assert [line["event"] for line in lines].count("stored") == 4
    assert (receiver.counts.stored, receiver.counts.not_stored) == (4, 1)


def test_when_the_disk_refuses_one_of_those_that_come_together_the_others_are_stored(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    bodies = [make_body(), make_body(size=100_000), make_body()]
    receiver = Receiver(site.configuration())
    with full_disk(room_bytes=50_000):
        replies = receiver.answer_all([environ_of(body) for body in bodies])
    assert [reply.line[:3] for reply in replies] == ["200", "503", "200"]
    assert [path.read_bytes() for path in sorted(site.all_files())] == [bodies[0], bodies[2]]


# healthz


def test_healthz_is_200_while_it_could_store(door: Door) -> None:
    for method, text in (("GET", b"ok\n"), ("HEAD", b"")):
        reply = door.send(b"", method=method, path="/healthz")
        assert (reply.status, reply.body) == (200, text)
    assert door.site.all_files() == []


def test_healthz_is_503_and_says_in_one_line_why_it_could_not(make_door: MakeDoor) -> None:
    door = make_door(receiver='min_free = "999TiB"')
    reply = door.send(b"", method="GET", path="/healthz")
    assert (reply.status, reply.headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert int(reply.headers["retry-after"]) > 0
    assert re.fullmatch(rb"only [\d.]+ ?\S+ free, min_free is \S+ ?\S*\n", reply.body)


def test_healthz_looks_at_every_webhook(make_door: MakeDoor) -> None:
    door = make_door(webhooks='[webhook.open]\nsignature = "none"')
    door.site.folder("incoming", "open").rmdir()
    reply = door.send(b"", method="GET", path="/healthz")
    assert reply.status == 503
    assert str(door.site.folder("incoming", "open")).encode() in reply.body
    assert reply.body.count(b"\n") == 1


def test_healthz_is_read_only(door: Door) -> None:
    reply = door.send(b"", method="POST", path="/healthz")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


# Keys


def test_a_key_that_is_replaced_counts_from_the_next_request_on(door: Door) -> None:
    body = make_body()
    assert door.send(body, signed(body, OTHER_KEY)).status == 401
    door.site.key_file.write_bytes(public_pem(OTHER_KEY))
    assert door.send(body, signed(body, OTHER_KEY)).status == 200
    assert door.send(body, signed(body)).status == 401


def test_a_key_that_is_replaced_by_something_else_goes_on_being_used(door: Door) -> None:
    for content in (b"", b"<html>", public_pem()[:100]):
        door.site.key_file.write_bytes(content)
        with capture_logs() as lines:
            assert door.deliver(make_body()).status == 200
            assert door.deliver(make_body()).status == 200
        kept = [line for line in lines if line["log_level"] == "error"]
        assert [(line["event"], line["file"]) for line in kept] == [("key kept", str(door.site.key_file))]
    door.site.key_file.unlink()
    assert door.deliver(make_body()).status == 200


def test_many_requests_share_a_receiver_while_its_keys_change(door: Door) -> None:
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            spare = door.site.root / "spare.pem"
            spare.write_bytes(public_pem())
            spare.replace(door.site.key_file)

    changing = threading.Thread(target=replace)
    changing.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            replies = list(pool.map(door.deliver, [make_body() for _ in range(60)]))
    finally:
        stop.set()
        changing.join()
    assert {reply.status for reply in replies} == {200}
