"""The metrics' HTTP side: `GET /metrics`, where the configuration says so.

Owns: the application, and the thread that serves it.
Promises: listening is tried before anything runs; a port that is taken is an error of one line. Whoever asks
slowly, or a lot, holds up nobody but other askers.
Does not promise: encryption or passwords. Loopback is the default; a proxy may stand in front.
"""

import threading
from collections.abc import Iterable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from waitress.server import create_server

from spooler.config import Configuration
from spooler.listening import Listener
from spooler.log import get_logger
from spooler.metrics import Metrics

_PATH = "/metrics"


def serve(configuration: Configuration, listener: Listener) -> None:
    """Serve the metrics from a thread until the process ends."""
    metrics = Metrics(configuration)

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != _PATH:
            start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
            return [f"the metrics are at {_PATH}\n".encode()]
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            start_response("405 Method Not Allowed", [("Allow", "GET, HEAD")])
            return [b""]
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [metrics.text()]

    server = create_server(
        application,
        sockets=[listener.socket],
        threads=2,
        connection_limit=20,
        channel_timeout=10,
        cleanup_interval=5,
        max_request_body_size=1,
        ident=None,
        map={},  # a loop of its own
    )
    threading.Thread(target=server.run, name="metrics-server", daemon=True).start()
    get_logger().info("metrics ready", url=f"{listener.address}{_PATH}")
