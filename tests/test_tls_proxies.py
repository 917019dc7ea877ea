"""The shipped configurations of nginx and Caddy, with the real proxies and a real receiver behind them."""

import base64
import concurrent.futures
import contextlib
import re
import select
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from running_service import (
    HOST,
    Headers,
    Reply,
    Service,
    exchange,
    head,
    make_body,
    make_site,
    nginx,
    read_all,
    request,
    rfc_9440,
    running,
    signed,
    status_of,
    wait_until,
)
from test_listening import hand_over, out_of_the_way
from tls_front import (
    NAME,
    PROXIES,
    SENDER,
    Certificates,
    Front,
    Identity,
    check,
    fronting,
    make_certificates,
    missing,
    receiver_address,
    shipped,
)

MIB = 1 << 20
ANSWERED_AT_ONCE_SECONDS = 3.0


@dataclass
class Door:
    """A proxy and the receiver behind it; `crm` asks for the listed certificate, `open` for none."""

    front: Front
    service: Service

    @property
    def certificates(self) -> Certificates:
        return self.front.certificates

    def deliver(
        self,
        body: bytes,
        identity: Identity | None = None,
        headers: Headers | None = None,
        path: str = "/webhook/crm",
    ) -> Reply:
        return self.front.request(body, signed(body) | dict(headers or {}), identity, path=path)

    def stored(self, body: bytes, webhook: str = "crm") -> bool:
        return any(path.read_bytes() == body for path in self.service.site.files("incoming", webhook))

    def last_line(self, event: str) -> str:
        self.service.wait_for(f"event={event}")
        return [line for line in self.service.log().splitlines() if f"event={event}" in line][-1]


def _needs(kind: str) -> None:
    if reason := missing(kind):
        pytest.skip(reason)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.fixture(params=PROXIES)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    _needs(name)
    return name


def _settings(certificates: Certificates, listen: str, trusted: str = "127.0.0.1") -> dict[str, str]:
    listed = f'client_certificates = ["{certificates.listed.fingerprint}"]'
    return {
        "receiver": f'listen = "{listen}"\ntrusted_proxy = "{trusted}"\nworkers = 1',
        "webhooks": f'{listed}\n[webhook.open]\npublic_keys = ["crm.pem"]',
    }


@pytest.fixture(scope="module", params=PROXIES)
def door(
    request: pytest.FixtureRequest, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Door]:
    _needs(request.param)
    listen = receiver_address()
    site = make_site(tmp_path_factory.mktemp("door") / "site", **_settings(certificates, listen))
    with running(site, "receive") as service, fronting(request.param, certificates, listen) as front:
        yield Door(front, service)


# --- the files themselves


@pytest.mark.parametrize("certified", [True, False])
def test_the_proxy_finds_nothing_wrong_with_its_file(
    kind: str, certified: bool, certificates: Certificates, tmp_path: Path
) -> None:
    text = shipped(kind, tmp_path, certificates, "127.0.0.1:8080", 8443, certified=certified)
    judged = check(kind, tmp_path, text)
    assert judged.returncode == 0, judged.stderr
    warned = [line for line in judged.stderr.splitlines() if "[warn]" in line or '"level":"warn"' in line]
    meant = (
        "no OCSP stapling",  # of the test's own certificate
        "HTTP->HTTPS redirects are disabled",
        "Unnecessary header_up X-Forwarded-For",
        "enabling strict SNI-Host enforcement",
    )
    assert not [line for line in warned if not any(words in line for words in meant)]


# --- the client certificate


def test_the_right_certificate_is_let_in(door: Door) -> None:
    body = make_body()
    assert door.deliver(body, door.certificates.listed).status == 200
    assert door.stored(body)


def test_no_certificate_is_refused_by_the_receiver(door: Door) -> None:
    body = make_body()
    assert door.deliver(body).status == 403
    assert "no client certificate was presented" in door.last_line("refused")
    assert not door.stored(body)


def test_a_certificate_of_the_same_ca_that_is_not_on_the_list_is_refused_by_the_receiver(door: Door) -> None:
    body = make_body()
    assert door.deliver(body, door.certificates.unlisted).status == 403
    assert door.certificates.unlisted.fingerprint in door.last_line("refused")
    assert not door.stored(body)


@pytest.mark.parametrize("who", ["stranger", "namesake", "expired"])
def test_a_certificate_that_does_not_stand_the_check_never_reaches_the_receiver(door: Door, who: str) -> None:
    before, body = door.service.log(), make_body()
    identity: Identity = getattr(door.certificates, who)
    for path in ("/webhook/crm", "/webhook/open"):
        if door.front.kind == "nginx":
            assert door.deliver(body, identity, path=path).status == 403
        else:  # TLS 1.3: the client is told when it reads
            with pytest.raises((ssl.SSLError, ConnectionError)):
                door.deliver(body, identity, path=path)
    assert door.service.log() == before


@pytest.mark.parametrize("who", [None, "unlisted"])
def test_forged_headers_have_no_effect(door: Door, who: str | None) -> None:
    identity: Identity | None = getattr(door.certificates, who) if who else None
    listed = door.certificates.listed.certificate
    forgeries = [
        {"Client-Cert": rfc_9440(listed)},
        {"client-cert": rfc_9440(listed)},
        {"X-SSL-Client-Cert": nginx(listed)},
        {"Client-Cert": rfc_9440(listed), "X-SSL-Client-Cert": nginx(listed)},
        {"Client_Cert": rfc_9440(listed), "X_SSL_Client_Cert": nginx(listed)},
        {"Client-Cert": rfc_9440(listed), "Connection": "close, Client-Cert, X-SSL-Client-Cert"},
    ]
    for forged in forgeries:
        body = make_body()
        answer = door.front.request(body, signed(body) | forged, identity)
        assert (answer.status, door.stored(body)) == (403, False), forged


def test_a_forged_header_sent_twice_has_no_effect(door: Door) -> None:
    body, listed = make_body(), door.certificates.listed.certificate
    for name, value in (("Client-Cert", rfc_9440(listed)), ("X-SSL-Client-Cert", nginx(listed))):
        lines = [f"{name}: {value}", f"{name}: {value}", "Connection: close"]
        sent = head(body, *lines).replace(b"Host: localhost", f"Host: {NAME}".encode())
        assert status_of(door.front.exchange(sent, body)) == 403


def test_a_forged_header_does_not_harm_who_has_the_right_certificate(door: Door) -> None:
    other = door.certificates.unlisted.certificate
    forged = {"Client_Cert": rfc_9440(other), "X_SSL_Client_Cert": nginx(other)}
    assert door.deliver(make_body(), door.certificates.listed, forged).status == 200


# --- where the request came from


def test_the_log_shows_who_called_and_not_what_he_says(door: Door) -> None:
    for claimed in ("198.51.100.7", "198.51.100.7, 127.0.0.1"):
        answer = door.deliver(make_body(), door.certificates.listed, {"X-Forwarded-For": claimed})
        assert answer.status == 200
        line = door.last_line("stored")
        assert f"peer={SENDER}" in line
        assert "198.51.100.7" not in line


def test_who_goes_past_the_proxy_is_not_believed(door: Door) -> None:
    listed, body = door.certificates.listed.certificate, make_body()
    told = {"X-Forwarded-For": "198.51.100.7", "Client-Cert": rfc_9440(listed)}
    lines = [f"{name}: {value}" for name, value in told.items()]
    address = door.service.address
    with socket.create_connection(address, 10, (SENDER, 0)) as connection:  # type: ignore[arg-type]
        connection.sendall(head(body, *lines) + body)
        assert status_of(read_all(connection)) == 403
    line = door.last_line("refused")
    assert f"peer={SENDER}" in line
    assert "198.51.100.7" not in line


# --- limits


def _start(body: bytes, *lines: str) -> bytes:
    return head(body, *lines, "Connection: close").replace(b"Host: localhost", f"Host: {NAME}".encode())


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def test_a_body_of_the_limit_is_taken(door: Door) -> None:
    for chunked in (False, True):
        body = make_body(size=MIB)
        lines = ["Transfer-Encoding: chunked"] if chunked else []
        wire = _chunked(body) if chunked else body
        answer = door.front.exchange(_start(body, *lines), wire, identity=door.certificates.listed)
        assert status_of(answer) == 200, answer[:300]
        assert door.stored(body)


def test_one_byte_more_is_too_large_for_the_proxy_itself(door: Door) -> None:
    before, body = door.service.log(), make_body(size=MIB + 1)
    assert status_of(door.front.exchange(_start(body), identity=door.certificates.listed)) == 413
    assert door.service.log() == before


def test_one_byte_more_in_chunks_is_never_stored(door: Door) -> None:
    """Caddy 2.6 finds out while it hands on, and then says 413 or 502, by chance."""
    body = make_body(size=MIB + 1)
    sent = (_start(body, "Transfer-Encoding: chunked"), _chunked(body))
    status = status_of(door.front.exchange(*sent, identity=door.certificates.listed))
    assert status in ({413} if door.front.kind == "nginx" else {413, 502})
    assert not any(
        path.stat().st_size >= MIB and path.read_bytes() in body
        for path in door.service.site.files("incoming")
    )


def test_a_body_that_stops_in_the_middle_is_never_answered_with_200(
    kind: str, certificates: Certificates
) -> None:
    body = make_body(size=4000)
    with _listening() as listening:
        upstream = f"{HOST}:{listening.getsockname()[1]}"
        with fronting(kind, certificates, upstream) as front, front.connect() as stalled:
            stalled.sendall(_start(body) + body[:2000])
            try:
                answer = read_all(stalled)
            except ssl.SSLError:  # Caddy cuts the connection where it may
                answer = b""
            assert status_of(answer) != 200
            assert not select.select([listening], [], [], 0)[0]


def test_a_receiver_that_is_killed_before_it_answers_is_no_200(kind: str, certificates: Certificates) -> None:
    body = make_body()
    with _listening() as listening:
        upstream = f"{HOST}:{listening.getsockname()[1]}"
        with fronting(kind, certificates, upstream) as front, concurrent.futures.ThreadPoolExecutor(1) as one:
            sent = one.submit(front.request, body, signed(body))
            connection, _ = listening.accept()
            with connection:
                wait_until(lambda: select.select([connection], [], [], 0)[0])
            assert sent.result().status == 502


def test_headers_as_large_as_the_sender_may_need_are_taken_and_too_large_ones_are_refused(door: Door) -> None:
    listed = door.certificates.listed
    assert door.deliver(make_body(), listed, {"X-Padding": "x" * 8000}).status == 200
    for padding in ({"X-Padding": "x" * 17_000}, {f"X-{n}": "x" * 1000 for n in range(40)}):
        before = door.service.log()
        assert door.deliver(make_body(), listed, padding).status == 431
        assert door.service.log() == before


def test_a_mass_mailing_from_one_address_runs_into_no_limit(door: Door) -> None:
    def one(number: int) -> int:
        return door.deliver(make_body(number), path="/webhook/open").status

    with concurrent.futures.ThreadPoolExecutor(40) as senders:
        assert set(senders.map(one, range(600))) == {200}


# --- paths and methods


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/healthz",
        "/healthz/",
        "/webhook/",
        "/webhook/crm/",
        "/webhook/crm/more",
        "/webhook/../healthz",
        "/webhook/..%2fhealthz",
        "/webhook/crm%00",
        "/webhook/crm%0d%0aX:y",
        "/webhook/-crm",
        "/WEBHOOK/crm",
        "/webhook/" + "x" * 65,
    ],
)
def test_nothing_but_webhooks_is_passed_on(door: Door, path: str) -> None:
    before = door.service.log()
    for method in ("GET", "POST"):
        assert door.front.request(path=path, method=method).status in {400, 404}
    assert door.service.log() == before


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PROPFIND"])
def test_nothing_but_post_is_passed_on(door: Door, method: str) -> None:
    answer = door.front.request(method=method)
    assert (answer.status, answer.headers.get("allow")) == (405, "POST")


def test_an_unknown_webhook_is_the_receivers_to_refuse(door: Door) -> None:
    assert door.deliver(make_body(), path="/webhook/nobody").status == 404


# --- what arrives at the receiver


@contextlib.contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(10)
        yield listening


def _take(listening: socket.socket) -> bytes:
    """Accept one request, read all of it, answer it and return its bytes."""
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(10)
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        start, _, body = received.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", start)[1])  # type: ignore[index]
        while len(body) < length:
            body += connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return start + b"\r\n\r\n" + body


def _headers(received: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        found.setdefault(name.lower(), []).append(value)
    return found


@pytest.mark.parametrize("who", [None, "listed"])
def test_what_is_handed_on_is_the_proxys_word_alone(
    kind: str, who: str | None, certificates: Certificates
) -> None:
    forged = nginx(certificates.unlisted.certificate)
    lines = {
        "Client-Cert": rfc_9440(certificates.unlisted.certificate),
        "X-SSL-Client-Cert": forged,
        "Client_Cert": rfc_9440(certificates.unlisted.certificate),
        "X-Forwarded-For": "198.51.100.7",
        "X_Forwarded_For": "198.51.100.7",
        "Connection": "close, X-Forwarded-For, Client-Cert, X-SSL-Client-Cert",
    }
    identity: Identity | None = getattr(certificates, who) if who else None
    body = make_body()
    with _listening() as listening:
        upstream = f"{HOST}:{listening.getsockname()[1]}"
        with fronting(kind, certificates, upstream) as front, concurrent.futures.ThreadPoolExecutor(1) as one:
            sent = one.submit(front.request, body, signed(body) | lines, identity, path="/webhook/crm?a=b")
            received = _take(listening)
            assert sent.result().status == 200
    assert received.startswith(b"POST /webhook/crm HTTP/1.1\r\n")
    assert received.endswith(body)
    headers = _headers(received)
    assert headers["x-forwarded-for"] == [SENDER]
    assert not [name for name in headers if "_" in name]
    assert headers["x-di-signature"] == list(signed(body).values())
    der = certificates.listed.certificate.public_bytes(Encoding.DER)
    own, other = (
        ("x-ssl-client-cert", "client-cert") if kind == "nginx" else ("client-cert", "x-ssl-client-cert")
    )
    assert other not in headers
    if identity is None:
        assert headers.get(own, [""]) == [""]
    elif kind == "nginx":
        assert ssl.PEM_cert_to_DER_cert(unquote(headers[own][0])) == der
    else:
        assert headers[own] == [f":{base64.b64encode(der).decode()}:"]


def test_a_slow_client_does_not_occupy_the_receiver(kind: str, certificates: Certificates) -> None:
    body = make_body(size=4000)
    with _listening() as listening:
        upstream = f"{HOST}:{listening.getsockname()[1]}"
        with fronting(kind, certificates, upstream) as front, front.connect() as slow:
            start = head(body, "Connection: close").replace(b"localhost", NAME.encode())
            slow.sendall(start + body[:2000])
            for at in range(2000, 2010):
                slow.sendall(body[at : at + 1])
                assert not select.select([listening], [], [], 0.05)[0]
            slow.sendall(body[2010:])
            assert _take(listening).endswith(body)
            assert status_of(read_all(slow)) == 200


def test_many_slow_clients_leave_the_way_free(door: Door) -> None:
    body = make_body(size=4000)
    start = head(body).replace(b"localhost", NAME.encode())
    with contextlib.ExitStack() as slow:
        for _ in range(40):
            slow.enter_context(door.front.connect()).sendall(start + body[:2000])
        begun = time.monotonic()
        assert door.deliver(make_body(), door.certificates.listed).status == 200
        assert time.monotonic() - begun < ANSWERED_AT_ONCE_SECONDS


# --- a receiver that isn't there, goes, or hangs


def test_while_the_receiver_is_down_the_answer_comes_at_once_and_afterwards_all_goes_on(
    kind: str, certificates: Certificates, tmp_path: Path
) -> None:
    listen = receiver_address()
    site = make_site(tmp_path / "site", **_settings(certificates, listen))
    with fronting(kind, certificates, listen) as front:
        for _ in range(2):
            body, begun = make_body(), time.monotonic()
            assert front.request(body, signed(body), certificates.listed).status in {502, 503}
            assert time.monotonic() - begun < ANSWERED_AT_ONCE_SECONDS
            with running(site, "receive") as service:
                assert front.request(body, signed(body), certificates.listed).status == 200
                assert service.stop() == 0


def test_a_request_during_a_restart_waits_in_the_socket_that_systemd_keeps(
    kind: str, certificates: Certificates, tmp_path: Path
) -> None:
    site = make_site(tmp_path / "site", **_settings(certificates, f"{HOST}:0"))
    with out_of_the_way(socket.create_server((HOST, 0))) as kept:
        handed = kept.fileno()
        wrapper = hand_over(handed)
        with fronting(kind, certificates, f"{HOST}:{kept.getsockname()[1]}") as front:
            with running(site, "receive", wrapper=wrapper, pass_fds=[handed]) as service:
                assert service.stop() == 0
            body = make_body()
            with concurrent.futures.ThreadPoolExecutor(1) as one:
                sent = one.submit(front.request, body, signed(body), certificates.listed)
                wait_until(lambda: select.select([kept], [], [], 0)[0], "the request waits in the socket")
                assert not sent.done()
                with running(site, "receive", wrapper=wrapper, pass_fds=[handed]):
                    assert sent.result().status == 200


def test_a_receiver_that_hangs_is_given_up_before_the_sender_gives_up(
    kind: str, certificates: Certificates
) -> None:
    body = make_body()
    with _listening() as listening:  # the kernel accepts, and nobody answers
        upstream = f"{HOST}:{listening.getsockname()[1]}"
        with fronting(kind, certificates, upstream) as front:
            begun = time.monotonic()
            assert front.request(body, signed(body)).status in {502, 503, 504}
            assert 12 < time.monotonic() - begun < 15


# --- other ways to set it up


def test_a_unix_socket_does_as_well(kind: str, certificates: Certificates, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        listen = f"unix:{tmp_path}/r.sock"
        site = make_site(tmp_path / "site", **_settings(certificates, listen, trusted="unix"))
        service = stack.enter_context(running(site, "receive"))
        door = Door(stack.enter_context(fronting(kind, certificates, listen)), service)
        assert door.deliver(make_body(), certificates.listed).status == 200
        assert f"peer={SENDER}" in door.last_line("stored")
        forged = {"Client_Cert": rfc_9440(certificates.listed.certificate)}
        assert door.deliver(make_body(), certificates.unlisted, forged).status == 403


def test_without_client_certificates_the_marked_lines_are_left_out_and_a_header_still_counts_for_nothing(
    kind: str, certificates: Certificates, tmp_path: Path
) -> None:
    listen = receiver_address()
    site = make_site(tmp_path / "site", **_settings(certificates, listen))
    with (
        running(site, "receive") as service,
        fronting(kind, certificates, listen, certified=False) as front,
    ):
        door = Door(front, service)
        assert door.deliver(make_body(), path="/webhook/open").status == 200
        listed = certificates.listed
        forged = {"Client_Cert": rfc_9440(listed.certificate), "X_SSL_Client_Cert": nginx(listed.certificate)}
        assert door.deliver(make_body(), headers=forged).status == 403
        assert door.deliver(make_body(), listed).status == 403  # nobody asked for it


def test_straight_to_the_receiver_the_proxys_own_address_is_believed(door: Door) -> None:
    """What the trust rests on: the very headers that are forged above count, from the trusted address."""
    body = make_body()
    told = signed(body) | {"Client-Cert": rfc_9440(door.certificates.listed.certificate)}
    assert request(door.service.address, body, told).status == 200
    twice = [f"X-SSL-Client-Cert: {nginx(door.certificates.listed.certificate)}"] * 2
    assert status_of(exchange(door.service.address, head(body, *twice), body)) == 403
