"""The peers: what people would use to take in webhooks, and spooler, each started in a folder of its own.

Owns: their configurations. Each logs as it does by default, and answers only when it has written the file.
Promises: the loopback address only, and no process that is left.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
from processes import listens, running, wait_until
from programs import HERE, find

from spooler.playground import free_port

SPOOLER, PHP, PHP_SAFE = "spooler", "php", "php verify+fsync"
WEBHOOK, WEBHOOK_SAFE = "webhook", "webhook verify+fsync"


@dataclass(frozen=True)
class Peer:
    """A running one. `stored` is where its files go, `checks` whether it refuses what isn't signed."""

    port: int
    path: str
    stored: Path
    checks: bool
    processes: Sequence[psutil.Process]
    log: Path

    @property
    def said(self) -> str:
        """Return the last line of its log."""
        return self.log.read_text(errors="replace").rstrip().rpartition("\n")[2]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


def site(folder: Path, port: int, key: Path, processor: str = "") -> Path:
    """Write spooler's configuration, with its own settings but for the address, and return its path."""
    (folder / "processors").mkdir()
    file = folder / "spooler.toml"
    file.write_text(
        f'spool = "spool"\nprocessors = "processors"\n[receiver]\nlisten = "127.0.0.1:{port}"\n'
        f'[processor]\n{processor}\n[webhook.crm]\npublic_keys = ["{key}"]\n'
    )
    return file


def spooler(command: str, config: Path) -> Sequence[str | Path]:
    """Return the command line of one of spooler's services."""
    return [sys.executable, "-m", "spooler", command, "--config", config]


def _spooler(folder: Path, key: Path, stack: ExitStack) -> Peer:
    port = free_port()
    command = spooler("receive", site(folder, port, key))
    process = stack.enter_context(running(command, folder / "log"))
    return Peer(port, "/webhook/crm", folder / "spool" / "crm" / "incoming", True, [process], folder / "log")


# Debian's own settings otherwise, with as many PHP processes as help a disk that has to be waited for.
_FPM = """[global]
error_log = {folder}/fpm.log
daemonize = no
[www]
{user}listen = {socket}
pm = static
pm.max_children = 16
"""
_NGINX = """{user}daemon off;
worker_processes auto;
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
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME {script};
            fastcgi_param BENCH_FOLDER {stored};
            fastcgi_param BENCH_KEY {key};
            fastcgi_pass unix:{socket};
        }}
    }}
}}
"""


def _php(script: str, checks: bool) -> Callable[[Path, Path, ExitStack], Peer]:
    def start(folder: Path, key: Path, stack: ExitStack) -> Peer:
        port, stored, root = free_port(), folder / "stored", os.geteuid() == 0
        stored.mkdir()
        # The path of a socket may not be long, and the folder's may be.
        socket = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fpm-"))) / "socket"
        fpm, nginx = folder / "fpm.conf", folder / "nginx.conf"
        fpm.write_text(
            _FPM.format(folder=folder, socket=socket, user="user = root\ngroup = root\n" if root else "")
        )
        user = "user root root;\n" if root else ""
        values = {
            "folder": folder,
            "socket": socket,
            "port": port,
            "script": HERE / script,
            "stored": stored,
            "key": key,
        }
        nginx.write_text(_NGINX.format(user=user, **values))
        php: list[str | Path] = [
            find("php-fpm"),
            "--nodaemonize",
            "--fpm-config",
            fpm,
            *(["--allow-to-run-as-root"] * root),
        ]
        web: list[str | Path] = [find("nginx"), "-e", "stderr", "-p", folder, "-c", nginx]
        processes = [stack.enter_context(running(command, folder / "log")) for command in (php, web)]
        wait_until(lambda: listens(socket), f"php-fpm listens; see {folder / 'log'}")
        return Peer(port, "/", stored, checks, processes, folder / "log")

    return start


# The command writes the file, and ends before the answer goes out: only then does the sender know the truth.
# (Answering at once, webhook would start commands faster than they end.)
_STORE = '#!/bin/sh\nprintf %s "$BODY" >"$BENCH_FOLDER/$ID-$$.json"\n'
_STORE_SAFELY = """#!/bin/sh
set -e
new=$BENCH_FOLDER/.$ID-$$
printf %s "$BODY" >"$new"
printf %s "$SIGNATURE" | base64 -d >"$new.signature"
openssl dgst -sha256 -verify "$BENCH_KEY" -signature "$new.signature" "$new"
sync "$new"
mv "$new" "$BENCH_FOLDER/$ID-$$.json"
"""
_PASSED = [
    {"source": "raw-request-body", "envname": "BODY"},
    {"source": "payload", "name": "EventUniqueID", "envname": "ID"},
    {"source": "header", "name": "X-DI-Signature", "envname": "SIGNATURE"},
]


def _webhook(text: str, checks: bool) -> Callable[[Path, Path, ExitStack], Peer]:
    def start(folder: Path, key: Path, stack: ExitStack) -> Peer:
        port, stored, script, hooks = free_port(), folder / "stored", folder / "store", folder / "hooks.json"
        stored.mkdir()
        script.write_text(text)
        script.chmod(0o755)
        hook = {"id": "crm", "execute-command": str(script), "pass-environment-to-command": _PASSED}
        hooks.write_text(json.dumps([hook | {"include-command-output-in-response": True}]))
        command: list[str | Path] = [find("webhook"), "-hooks", hooks, "-ip", "127.0.0.1", "-port", str(port)]
        environment = {"BENCH_FOLDER": str(stored), "BENCH_KEY": str(key)}
        process = stack.enter_context(running(command, folder / "log", environment))
        return Peer(port, "/hooks/crm", stored, checks, [process], folder / "log")

    return start


STARTS: dict[str, Callable[[Path, Path, ExitStack], Peer]] = {
    SPOOLER: _spooler,
    PHP_SAFE: _php("safe.php", checks=True),
    PHP: _php("published.php", checks=False),
    WEBHOOK_SAFE: _webhook(_STORE_SAFELY, checks=True),
    WEBHOOK: _webhook(_STORE, checks=False),
}


@contextlib.contextmanager
def started(name: str, folder: Path, key: Path) -> Iterator[Peer]:
    """Start one in an empty folder, and give it when it listens; `key` is the sender's public one."""
    with ExitStack() as stack:
        peer = STARTS[name](folder, key, stack)
        wait_until(lambda: listens(peer.port), f"{name} listens; see {folder / 'log'}")
        yield peer
