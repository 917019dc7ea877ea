"""The receiver: a WSGI application that answers 200 when a notification is on the disk, and only then.

Owns: the routes. What a webhook makes of a notification is `spooler.endpoint`'s.
Promises: every request gets an answer of the table (`spooler.answers`).
Does not promise: limits on connections, headers and slow clients; those are `spooler.server`'s.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import bottle

from spooler import measures
from spooler.answers import CONTENT_TYPE, Answer, Reply
from spooler.clock import Clock, SystemClock
from spooler.config import Configuration
from spooler.endpoint import RECEIVER_STATES, Delivery, Endpoint
from spooler.errors import StorageUnavailableError
from spooler.log import get_logger
from spooler.pulse import Counts
from spooler.refusals import Reason
from spooler.storing import ReceiversSpool

_PATH = "/webhook/"


class Receiver:
    """Callable as WSGI says, from several threads at once."""

    def __init__(self, configuration: Configuration, *, clock: Clock | None = None) -> None:
        """Load the keys and prepare the folders. Raises: KeyFileError, SpoolUnusableError."""
        settings, clock = configuration.receiver, clock or SystemClock()
        spools = [
            ReceiversSpool(configuration.spool, name, clock, settings.min_free)
            for name in configuration.webhooks
        ]
        for spool in spools:
            spool.prepare(RECEIVER_STATES)
        self._endpoints = {
            spool.webhook: Endpoint(configuration.webhooks[spool.webhook], spool, settings)
            for spool in spools
        }
        self._app = bottle.Bottle()
        self._app.config["catchall"] = False
        self._app.default_error_handler = _plain
        self._app.route(f"{_PATH}<name>", "ANY", self._other)
        self._app.route("/healthz", "ANY", self._health)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        (reply,) = self.answer_all([environ])
        start_response(reply.line, list(reply.headers))
        return [reply.body]

    def answer_all(self, environs: Sequence[dict[str, Any]]) -> list[Reply]:
        """Answer requests that came together: what is stored of them is synced together."""
        for path in {environ.get("PATH_INFO", "") for environ in environs}:
            if named := self._named(path):
                named.look_at_keys()
        begun = [self._begin(environ) for environ in environs]
        deliveries = [one for one in begun if isinstance(one, Delivery)]
        for endpoint in self._endpoints.values():
            if mine := [one for one in deliveries if one.webhook == endpoint.webhook.name]:
                endpoint.store(mine)
        return [one.answer.reply if isinstance(one, Delivery) else one for one in begun]

    def _begin(self, environ: dict[str, Any]) -> Delivery | Reply:
        """Answer a request, unless it is a notification that is to be stored."""
        endpoint = self._named(environ.get("PATH_INFO", ""))
        if endpoint is not None and environ["REQUEST_METHOD"] == "POST":
            admitted = endpoint.admit(environ)
            return admitted if isinstance(admitted, Delivery) else admitted.reply
        try:
            return Reply.of(self._app, environ)
        except Exception:  # noqa: BLE001 - the outermost frame: the sender gets an answer
            get_logger().exception("defect")
            self.count_refused(environ.get("PATH_INFO", ""), Answer.UNAVAILABLE, "a defect", Reason.DEFECT)
            return Answer.UNAVAILABLE.reply

    def _named(self, path: str) -> Endpoint | None:
        return self._endpoints.get(path[len(_PATH) :]) if path.startswith(_PATH) else None

    @property
    def folders(self) -> list[Path]:
        """The folders that it writes to; nothing else has to be writable."""
        spools = [endpoint.spool for endpoint in self._endpoints.values()]
        return [spool.folder(state) for spool in spools for state in RECEIVER_STATES]

    @property
    def counts(self) -> Counts:
        """What this process has answered to notifications so far."""
        each = [endpoint.counts for endpoint in self._endpoints.values()]
        return Counts(*map(sum, zip(*each, strict=True)))

    def read_keys(self, *, again: bool = False, quietly: bool = False) -> None:
        """Read the key files that changed; with `again`, all of them. `quietly`: log nothing of it."""
        for endpoint in self._endpoints.values():
            endpoint.keyring.refresh(force=again, quietly=quietly)

    def sweep(self) -> None:
        """Put right what the time before this start has left behind. Raises: OSError."""
        for endpoint in self._endpoints.values():
            endpoint.spool.sweep_litter()
            endpoint.spool.keep_order()

    def count_refused(self, path: str, answer: Answer, why: str, kind: Reason | None = None) -> None:
        """Count a POST to `path` that got another answer than 200; what names no webhook counts for none."""
        endpoint = self._named(path)
        if endpoint is None:
            measures.REQUESTS.count("", str(answer.status))
        else:
            endpoint.count_refused(answer, why, kind)

    def _other(self, name: str) -> bottle.HTTPResponse:
        """Answer what is no POST to a webhook that there is."""
        if name in self._endpoints:
            measures.REQUESTS.count(name, str(Answer.METHOD_NOT_ALLOWED.status))
            return _respond(Answer.METHOD_NOT_ALLOWED, Allow="POST")
        measures.REQUESTS.count("", str(Answer.NOT_FOUND.status))
        return _respond(Answer.NOT_FOUND)

    def _health(self) -> bottle.HTTPResponse:
        if bottle.request.method not in {"GET", "HEAD"}:
            return _respond(Answer.METHOD_NOT_ALLOWED, Allow="GET, HEAD")
        try:
            for endpoint in self._endpoints.values():
                endpoint.spool.check_writable()
        except StorageUnavailableError as error:
            return _respond(Answer.UNAVAILABLE, text=f"{' '.join(str(error).split())}\n")
        return _respond(Answer.STORED, text="ok\n")


def _respond(answer: Answer, text: str = "", **headers: str) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(text or answer.text, answer.status, {**dict(answer.headers), **headers})


def _plain(error: bottle.HTTPError) -> str:
    """Answer what bottle itself found wrong, in our words."""
    answer = Answer.of_status(error.status_code)
    bottle.response.status = answer.status
    bottle.response.content_type = CONTENT_TYPE
    return answer.text
