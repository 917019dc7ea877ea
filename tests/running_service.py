"""Spooler itself for the tests of its receiving side: a configuration, processes, sockets and clients.

Owns: one place on the disk with keys, scripts and a spool; real processes that serve it; requests to them,
well-formed ones and raw bytes.
Promises: every process that was started is ended, by its own number, when its `with` is left.
"""

import base64
import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from spooler.algorithm import Algorithm
from spooler.config import Configuration, load
from spooler.keypair import generate
from spooler.listening import Listener
from spooler.server import Server
from spooler.signature import HEADER, sign

KEY = generate(2048)
OTHER_KEY = generate(2048)
# A loopback address of this process' own: a port that was left stays free for whoever comes back to it.
HOST = f"127.1.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
PATIENCE_SECONDS = 30.0  # for what should be there at once
SHA256 = Algorithm("sha256", "pkcs1v15")

Address = tuple[str, int] | str  # host and port, or the path of a Unix socket
Headers = Mapping[str, str]


def public_pem(key: RSAPrivateKey = KEY) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signed(body: bytes, key: RSAPrivateKey = KEY) -> dict[str, str]:
    """Return the headers that the sender gives a body."""
    return {HEADER: sign(body, key, SHA256)}


def make_certificate(name: str) -> x509.Certificate:
    """Return a client's certificate."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject, subject, KEY.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
    )
    return builder.sign(OTHER_KEY, hashes.SHA256())


def rfc_9440(certificate: x509.Certificate) -> str:
    """Write what a proxy sends as `Client-Cert`."""
    return f":{base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()}:"


def nginx(certificate: x509.Certificate) -> str:
    """Write what nginx has in `$ssl_client_escaped_cert`."""
    return quote(certificate.public_bytes(Encoding.PEM))


def make_body(number: int = 0, type_: str = "contact_modified", size: int = 0) -> bytes:
    """Return a notification's body with an id of its own, filled up to `size` bytes where that is more."""
    members: dict[str, object] = {"Type": type_, "EventUniqueID": str(uuid.uuid4())}
    members |= {"ContactID": {"idContact": 550000 + number}, "Data": {"f_City": "Québec"}}
    body = json.dumps(members, ensure_ascii=False).encode()
    return body[:-1] + b" " * (size - len(body)) + b"}"


def wait_until(condition: Callable[[], object], what: str = "", *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something holds, and fail if it takes far too long."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"it didn't come to pass: {what or condition}")
        time.sleep(0.01)


@dataclass(frozen=True)
class Site:
    """A folder with `spooler.toml`, the sender's key `crm.pem`, scripts in `processors/` and a spool."""

    root: Path

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def config_file(self) -> Path:
        return self.root / "spooler.toml"

    @property
    def key_file(self) -> Path:
        return self.root / "crm.pem"

    def configuration(self) -> Configuration:
        return load(self.config_file)

    def folder(self, state: str, webhook: str = "crm") -> Path:
        return self.spool / webhook / state

    def files(self, state: str, webhook: str = "crm") -> list[Path]:
        """Return the notifications in a state, oldest first (of done: of all days)."""
        pattern = "*/*.json" if state == "done" else "*.json"
        found = [path for path in self.folder(state, webhook).glob(pattern) if not path.name.startswith(".")]
        return sorted(found, key=lambda path: path.name)

    def all_files(self) -> list[Path]:
        """Return every file of the spool, hidden ones and logs included, but not what services note."""
        files = (path for path in self.spool.rglob("*") if not path.is_dir())
        return sorted(
            path
            for path in files
            if path.name not in {".refusals", ".stamp"} and path.parent.name != ".metrics"
        )

    def script(self, text: str, name: str = "10-script") -> Path:
        path = self.root / "processors" / name
        path.write_text(text)
        path.chmod(0o755)
        return path


def make_site(root: Path, *, receiver: str = "", processor: str = "", webhooks: str = "") -> Site:
    """Make a site. The texts are lines of TOML: of `[receiver]`, of `[processor]`, and further webhooks."""
    site = Site(root)
    (root / "processors").mkdir(parents=True)
    site.key_file.write_bytes(public_pem())
    listen = "" if "listen" in receiver else f'listen = "{HOST}:0"\n'
    site.config_file.write_text(
        f'spool = "spool"\nprocessors = "processors"\n[receiver]\n{listen}{receiver}\n'
        f'[processor]\n{processor}\n[webhook.crm]\npublic_keys = ["crm.pem"]\n{webhooks}\n'
    )
    return site


class Reply(NamedTuple):
    """What a client was answered; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Connection(http.client.HTTPConnection):
    """A connection to either kind of socket."""

    def __init__(self, address: Address) -> None:
        super().__init__("localhost", timeout=PATIENCE_SECONDS)
        self._address = address

    def connect(self) -> None:
        self.sock = connect(self._address)


def connect(address: Address) -> socket.socket:
    """Return a connected socket."""
    if isinstance(address, tuple):
        return socket.create_connection(address, PATIENCE_SECONDS)
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(PATIENCE_SECONDS)
    connected.connect(address)
    return connected


def is_listening(address: Address) -> bool:
    """Say whether somebody takes connections there; one made in the moment of the closing is reset."""
    with contextlib.suppress(ConnectionRefusedError, ConnectionResetError), connect(address):
        return True
    return False


def request(
    address: Address,
    body: bytes = b"",
    headers: Headers | None = None,
    *,
    path: str = "/webhook/crm",
    method: str = "POST",
) -> Reply:
    """Send one request and return the answer. Raises: OSError, http.client.HTTPException."""
    with contextlib.closing(_Connection(address)) as connection:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def post(address: Address, body: bytes, key: RSAPrivateKey = KEY, webhook: str = "crm") -> Reply:
    """Deliver a signed notification as the sender does."""
    return request(address, body, signed(body, key), path=f"/webhook/{webhook}")


def head(body: bytes, *lines: str, length: int | None = None, path: str = "/webhook/crm") -> bytes:
    """Return the bytes of a signed request's header; `lines` may tell otherwise where the body ends."""
    told = any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines)
    own = [] if told else [f"Content-Length: {len(body) if length is None else length}"]
    written = [f"POST {path} HTTP/1.1", "Host: localhost", f"{HEADER}: {signed(body)[HEADER]}", *own, *lines]
    return "\r\n".join([*written, "", ""]).encode("latin-1")


def exchange(address: Address, *pieces: bytes, finish: bool = False) -> bytes:
    """Send bytes as they are and return all that comes back until the other side closes.

    finish: say that no more will be sent, while still reading.
    """
    with connect(address) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if finish:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes, or cuts the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def status_of(answer: bytes) -> int:
    """Return the status of an answer's bytes; 0 for none."""
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
    return int(found[1]) if found else 0


def call(
    application: Callable[..., Any],
    body: bytes = b"",
    headers: Headers | None = None,
    *,
    path: str = "/webhook/crm",
    method: str = "POST",
    environ: Mapping[str, object] | None = None,
) -> Reply:
    """Call a WSGI application as a server does; `environ` adds to what it is given, or replaces it."""
    given: dict[str, object] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    given |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()}
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, answered: list[tuple[str, str]], _error: object = None) -> None:
        started.append((status, answered))

    chunks = application(given | dict(environ or {}), start_response)
    content = b"".join(chunks)
    (status, answered), *others = started
    assert not others
    return Reply(int(status[:3]), {name.lower(): value for name, value in answered}, content)


@contextlib.contextmanager
def serving(
    application: Callable[..., Any],
    bound: socket.socket | None = None,
    *,
    max_body: int = 1 << 20,
    **settings: float,
) -> Iterator[Address]:
    """Serve an application from a thread of this process; gives the address."""
    with bound or socket.create_server((HOST, 0)) as listening:
        address: Address = listening.getsockname()[:2]
        server = Server(application, [Listener(listening, handed_over=False)], max_body, **settings)
        thread = threading.Thread(target=server.run, args=(lambda: None,))
        thread.start()
        try:
            yield address
        finally:
            server.stop()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()


class Load:
    """Senders that deliver one notification after another until they are told to stop."""

    def __init__(
        self, address: Address, senders: int = 8, pause_seconds: float = 0.0, *, contacts: int = 1 << 30
    ) -> None:
        """contacts: of how many the notifications tell, in turn."""
        self.statuses: Counter[int] = Counter()  # 0: the connection was cut
        self.sent: list[bytes] = []
        self.stored: list[bytes] = []  # answered with 200
        self.refused = 0  # connections; the notification is given up
        self._address = address
        self._pause_seconds = pause_seconds
        self._contacts = contacts
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(senders)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def _send(self) -> None:
        while not self._stopped.wait(self._pause_seconds):
            body = make_body(len(self.sent) % self._contacts)
            self.sent.append(body)
            try:
                status = post(self._address, body).status
            except ConnectionRefusedError:
                self.refused += 1
                time.sleep(0.02)
            except (OSError, http.client.HTTPException):
                self.statuses[0] += 1
            else:
                self.statuses[status] += 1
                if status == 200:
                    self.stored.append(body)


def children_of(process: int) -> list[int]:
    """Return the process ids of a process' children."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_alive(process: int) -> bool:
    """Say whether a process runs; one that has ended and that nobody has waited for doesn't."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Service:
    """A running `spooler` command."""

    site: Site
    process: "subprocess.Popen[bytes]"
    log_file: Path
    log_from: int = 0
    addresses: list[Address] = field(default_factory=list)

    @property
    def address(self) -> Address:
        return self.addresses[0]

    def log(self) -> str:
        """Return what this command has written to standard error so far."""
        return self.log_file.read_bytes()[self.log_from :].decode()

    def wait_for(self, text: str, count: int = 1) -> None:
        wait_until(lambda: self.log().count(text) >= count or self.process.poll() is not None, text)
        assert self.log().count(text) >= count, self.log()

    def children(self) -> list[int]:
        return children_of(self.process.pid)

    def stop(self) -> int:
        """End it as systemd does, and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)


def command_line(site: Site, command: str) -> list[str]:
    return [sys.executable, "-m", "spooler", command, "--config", str(site.config_file)]


@contextlib.contextmanager
def running(
    site: Site,
    command: str = "run",
    *,
    wrapper: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    folder: Path | None = None,
) -> Iterator[Service]:
    """Run `spooler run`, `receive` or `process`; gives it when it is ready, and ends what is left of it."""
    log_file = site.root / "stderr.log"
    with log_file.open("ab") as log:
        start = log.tell()
        process = subprocess.Popen(
            [*wrapper, *command_line(site, command)],
            stdin=subprocess.DEVNULL,
            stderr=log,
            cwd=folder or site.root,  # not where a package of this name may lie about
            env=os.environ | dict(environment or {}),
            pass_fds=pass_fds,
            start_new_session=True,  # so that all of it can be ended, and nothing else
        )
    service = Service(site, process, log_file, start)
    try:
        if command != "process":
            service.wait_for("receiver ready")
            urls = re.findall(r" url=(\S+)", service.log())
            service.addresses = list(dict.fromkeys(map(address_of, urls)))
        if command != "receive":
            service.wait_for("processor ready")
        yield service
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)


def address_of(url: str) -> Address:
    """Return the address in the URL of a webhook that a receiver tells."""
    url = url.rpartition("/webhook/")[0]
    if url.startswith("unix:"):
        return url.removeprefix("unix:")
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host.strip("[]"), int(port)


def run_to_the_end(
    site: Site, command: str = "run", *, wrapper: Sequence[str] = (), pass_fds: Sequence[int] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run a command that is expected to end by itself."""
    return subprocess.run(
        [*wrapper, *command_line(site, command)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        cwd=site.root,
        pass_fds=pass_fds,
        check=False,
    )
