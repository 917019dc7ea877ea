"""nginx and Caddy for the tests: started with the shipped configurations, and a sender with certificates.

Owns: a test CA and the certificates made from it; what is substituted in the shipped files (paths, ports,
the receiver's address); the real proxies' processes.
Promises: every proxy that was started is ended, by its own number, when its `with` is left.
"""

import contextlib
import http.client
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from running_service import HOST, PATIENCE_SECONDS, Headers, Reply, read_all, wait_until

SHIPPED = Path(__file__).parent.parent / "systemd" / "proxy"
NAME = "webhooks.example.com"  # as in the shipped files
SENDER = "127.9.9.9"  # where the sender calls from: an address that is neither the proxy's nor the receiver's
_WITHOUT = re.compile(r"[ \t]*# \[client certificate: from here\n.*?# to here\]\n", re.DOTALL)
PROXIES = {"nginx": "nginx.conf", "caddy": "Caddyfile"}


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key, both in one PEM file."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    file: Path

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(hashes.SHA256()).hex()


def issue(
    folder: Path, name: str, by: Identity | None = None, *, ca: bool = False, days: int = 1
) -> Identity:
    """Make a certificate, self-signed if nobody issues it; `days` below 0: one that has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    end = datetime.now(UTC) + timedelta(days=days)
    builder = x509.CertificateBuilder(
        by.certificate.subject if by else subject,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        min(end, datetime.now(UTC)) - timedelta(days=2),
        end,
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    names: list[x509.GeneralName] = [x509.DNSName(name), x509.IPAddress(ip_address("127.0.0.1"))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(by.key if by else key, hashes.SHA256())
    file = folder / f"{name.replace(' ', '-')}-{certificate.serial_number % 1_000_000}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    return Identity(certificate, key, file)


@dataclass(frozen=True)
class Certificates:
    """All that take part: the sender's CA, who is on the list, who isn't, and who is somebody else."""

    authority: Identity
    server: Identity
    listed: Identity
    unlisted: Identity  # of the same CA
    stranger: Identity  # of another CA
    namesake: Identity  # of another CA that bears the name of the right one
    expired: Identity


def make_certificates(folder: Path) -> Certificates:
    folder.mkdir()
    authority = issue(folder, "Test CA", ca=True)
    other = issue(folder, "Other CA", ca=True)
    false = issue(folder, "Test CA", ca=True)
    return Certificates(
        authority=authority,
        server=issue(folder, NAME, issue(folder, "Server CA", ca=True)),
        listed=issue(folder, "sender.example", authority),
        unlisted=issue(folder, "other.example", authority),
        stranger=issue(folder, "sender.example", other),
        namesake=issue(folder, "sender.example", false),
        expired=issue(folder, "sender.example", authority, days=-1),
    )


@dataclass
class Front:
    """A running proxy."""

    kind: str
    port: int
    process: "subprocess.Popen[bytes]"
    log_file: Path
    certificates: Certificates

    def connect(self, identity: Identity | None = None, source: str = SENDER) -> ssl.SSLSocket:
        """Return a connection, as the sender makes it; with a certificate if there is one."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # whose it is, is not the question
        if identity is not None:
            context.load_cert_chain(identity.file)
        plain = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS, (source, 0))
        try:
            return context.wrap_socket(plain, server_hostname=NAME)
        except BaseException:
            plain.close()
            raise

    def request(
        self,
        body: bytes = b"",
        headers: Headers | None = None,
        identity: Identity | None = None,
        *,
        path: str = "/webhook/crm",
        method: str = "POST",
    ) -> Reply:
        """Send one request and return the answer. Raises: OSError, http.client.HTTPException."""
        with contextlib.closing(http.client.HTTPConnection(NAME, timeout=PATIENCE_SECONDS)) as connection:
            connection.sock = self.connect(identity)
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def exchange(self, *pieces: bytes, identity: Identity | None = None) -> bytes:
        """Send bytes as they are and return all that comes back until the other side closes."""
        with self.connect(identity) as connection:
            for piece in pieces:
                connection.sendall(piece)
            return read_all(connection)


def shipped(
    kind: str, folder: Path, certificates: Certificates, upstream: str, port: int, *, certified: bool = True
) -> str:
    """Return the shipped file with paths, ports and the receiver's address put in place.

    upstream: as `listen` in spooler.toml. certified: else what is for client certificates
    is left out, as the file says.
    """
    text = (SHIPPED / PROXIES[kind]).read_text(encoding="utf-8")
    for old, new in _substitutions(kind, folder, certificates, upstream, port):
        assert old in text, f"{old!r} is no part of {PROXIES[kind]} any more"
        text = text.replace(old, new)
    return text if certified else _WITHOUT.sub("", text)


def _substitutions(
    kind: str, folder: Path, certificates: Certificates, upstream: str, port: int
) -> Sequence[tuple[str, str]]:
    server, authority = certificates.server.file, certificates.authority.file
    path = upstream.removeprefix("unix:") if upstream.startswith("unix:") else ""
    if kind == "nginx":
        return [
            ("server 127.0.0.1:8080;", f"server {upstream};"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
            ("listen [::]:443 ssl;", f"listen unix:{folder}/second.sock ssl;"),  # not every machine has IPv6
            (f"/etc/letsencrypt/live/{NAME}/fullchain.pem", str(server)),
            (f"/etc/letsencrypt/live/{NAME}/privkey.pem", str(server)),
            ("/etc/nginx/sender-ca.pem;", f"{authority};"),
        ]
    return [
        ("reverse_proxy 127.0.0.1:8080 {", f"reverse_proxy {f'unix/{path}' if path else upstream} {{"),
        (f"{NAME}:443 {{", f"{NAME}:{port} {{"),
        ("\ttls {", f"\ttls {server} {server} {{"),  # as the line above it in the file says
        ("trusted_ca_cert_file /etc/caddy/sender-ca.pem", f"trusted_ca_cert_file {authority}"),
        ("/var/lib/caddy/admin.sock", f"{folder}/admin.sock"),
    ]


# What Debian's nginx.conf puts around a site, with nothing outside of the test's folder.
_NGINX = """{user}daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 768; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/nginx.conf;
}}
"""


def write(kind: str, folder: Path, text: str) -> list[str]:
    """Write a proxy's configuration and return the command line that names it, less what is to be done."""
    file = folder / PROXIES[kind]
    file.write_text(text, encoding="utf-8")
    if kind == "caddy":
        return [_program(kind), "--config", str(file)]
    user = "user root root;\n" if os.geteuid() == 0 else ""  # the test's folder is closed to others
    (folder / "main.conf").write_text(_NGINX.format(folder=folder, user=user), encoding="utf-8")
    return [_program(kind), "-e", "stderr", "-p", str(folder), "-c", str(folder / "main.conf")]


def check(kind: str, folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    """Let the proxy itself judge a configuration."""
    program, *rest = write(kind, folder, text)
    command = [program, *rest, "-t"] if kind == "nginx" else [program, "validate", *rest]
    return subprocess.run(
        command,
        env=_environment(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def missing(kind: str) -> str:
    """Say what isn't there to run a proxy; empty if everything is."""
    return "" if _program(kind) else f"{kind} isn't installed (Debian: apt install {kind})"


def _program(kind: str) -> str:
    # Other users than root don't always have the folder of daemons on their path.
    return shutil.which(kind, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin") or ""


def _environment(folder: Path) -> dict[str, str]:
    own = {"HOME": str(folder), "XDG_DATA_HOME": f"{folder}/data", "XDG_CONFIG_HOME": f"{folder}/config"}
    return os.environ | own


@contextlib.contextmanager
def fronting(
    kind: str, certificates: Certificates, upstream: str, *, certified: bool = True
) -> Iterator[Front]:
    """Run a proxy with the shipped configuration in front of `upstream`; gives it when it is ready."""
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="front-") as name:  # short: paths of sockets may not be long
        folder = Path(name)
        text = shipped(kind, folder, certificates, upstream, port, certified=certified)
        program, *rest = write(kind, folder, text)
        command = [program, *rest] if kind == "nginx" else [program, "run", *rest]
        log_file = folder / "stderr.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(folder)
            )
        front = Front(kind, port, process, log_file, certificates)
        try:
            wait_until(lambda: _listens(port) or process.poll() is not None, f"{kind} listens")
            assert process.poll() is None, log_file.read_text()
            yield front
        finally:
            process.send_signal(signal.SIGTERM)  # the master's end is that of its workers
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def _free_port() -> int:
    """Return a port that is free at all addresses, and that the kernel gives to no client meanwhile."""
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def receiver_address() -> str:
    """Return an address for a receiver that comes back to it."""
    with socket.create_server((HOST, 0)) as server:
        return f"{HOST}:{server.getsockname()[1]}"
