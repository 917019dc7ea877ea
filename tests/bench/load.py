"""The load: signed notifications of 1 KiB, each with an id of its own, made before anything is timed.

Owns: the sender's key, the bodies, and wrk, which sends them.
"""

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from programs import HERE, find

from spooler.algorithm import Algorithm
from spooler.keypair import generate, write_pair
from spooler.load import body
from spooler.signature import HEADER, sign

_ALGORITHM = Algorithm("sha256", "pkcs1v15")


@dataclass(frozen=True, slots=True)
class Figures:
    """What a load generator has counted. `failed`: requests that weren't answered with 200."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    failed: int

    @classmethod
    def read(cls, output: str) -> "Figures":
        """Return what a program's last line says. Raises: click.ClickException for failed requests."""
        figures = cls(**json.loads(output.strip().splitlines()[-1]))
        if figures.failed or not figures.requests:
            raise click.ClickException(f"{figures.failed} requests failed, {figures.requests} were answered")
        return figures


@dataclass(frozen=True, slots=True)
class Sender:
    """Who signs and sends. `public_key` and `bodies` are files; `bodies` has two lines for each, for wrk."""

    key: RSAPrivateKey
    public_key: Path
    bodies: Path

    @classmethod
    def make(cls, folder: Path, count: int = 0) -> "Sender":
        """Make a key, and so many signed bodies."""
        key = generate(2048)
        _private, public, _xml = write_pair(folder / "keys", key)
        sender = cls(key, public, folder / "bodies")
        with sender.bodies.open("wb") as out:
            for made, signature in sender.signed(count):
                out.write(signature.encode() + b"\n" + made + b"\n")
        return sender

    def signed(self, count: int) -> Iterator[tuple[bytes, str]]:
        """Yield so many new bodies with their signatures."""
        for number in range(count):
            made = body(number)
            yield made, sign(made, self.key, _ALGORITHM)

    def run(self, url: str, connections: int, seconds: int) -> Figures:
        """Post the bodies from so many connections at once, for so long."""
        command = [find("wrk"), "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "30s"]
        command += ["-s", str(HERE / "post.lua"), url, str(self.bodies)]
        return Figures.read(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def post(port: int, path: str, content: bytes, signature: str) -> int:
    """Post one, and return the status."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("POST", path, content, {HEADER: signature, "Content-Type": "application/json"})
        return connection.getresponse().status
