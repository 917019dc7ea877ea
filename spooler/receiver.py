"""The receiver: a WSGI application that answers 200 when a notification is on the disk, and only then.

Owns: the routes, the order of the checks, and which answer each failure gets (`spooler.answers`).
Promises: the signature is checked over the raw bytes before anything reads them. 200 for nothing that isn't
stored; nothing but 200 for what is. Refusals look all alike from outside; the reason stands in the log.
Does not promise: limits on connections, headers and slow clients; those are `spooler.server`'s.
Logs: one line per notification and per refusal.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import bottle

from spooler import admission, measures, proxy
from spooler.admission import SIGNATURE_HEADER
from spooler.answers import CONTENT_TYPE, Answer
from spooler.clock import Clock, SystemClock
from spooler.config import Configuration, Webhook
from spooler.errors import CertificateRefusedError, SignatureRefusedError, StorageUnavailableError
from spooler.keyring import Keyring
from spooler.log import get_logger
from spooler.name import identify
from spooler.notification import Notification
from spooler.pulse import Counts
from spooler.refusals import Reason, Refusals
from spooler.rejected import Rejected
from spooler.signature import SignatureMismatchError, SignatureMissingError
from spooler.spool import WebhookSpool
from spooler.state import State

# The sender waits 15 s. What hasn't reached its name by then would be sent again though it was stored.
STORE_WITHIN_SECONDS = 12.0
BEGUN = "spooler.begun"  # set by the server: when the request's first byte came, on the monotonic clock
_PATH = "/webhook/"
_RECEIVER_STATES = (State.INCOMING, State.REJECTED)
_REASONS = {  # of answers that are given for one reason alone
    Answer.FORBIDDEN: Reason.CERTIFICATE,
    Answer.TOO_LARGE: Reason.TOO_LARGE,
    Answer.HEADERS_TOO_LARGE: Reason.TOO_LARGE,
    Answer.UNAVAILABLE: Reason.UNAVAILABLE,
}


class _Refusal(Exception):  # noqa: N818 - it is an answer, not an error
    """Ends a request early with an answer; the reason is for the log, its kind for counting.

    file: its name in `rejected/`; empty where it isn't kept.
    """

    def __init__(self, answer: Answer, reason: str, kind: Reason | None = None, file: str = "") -> None:
        super().__init__(reason)
        self.answer = answer
        self.reason = reason
        self.file = file
        self.kind = kind or _REASONS.get(answer, Reason.BAD_REQUEST)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    webhook: Webhook
    keyring: Keyring
    spool: WebhookSpool
    rejected: Rejected
    refusals: Refusals


class Receiver:
    """Callable as WSGI says, from several threads at once."""

    def __init__(self, configuration: Configuration, *, clock: Clock | None = None) -> None:
        """Load the keys and prepare the folders. Raises: KeyFileError, SpoolUnusableError."""
        self._settings = configuration.receiver
        self._clock = clock or SystemClock()
        self._answered: Counter[Answer] = Counter()
        self._counting = Lock()
        spools = [self._spool(configuration, webhook) for webhook in configuration.webhooks.values()]
        self._endpoints = {
            spool.webhook: self._endpoint(configuration.webhooks[spool.webhook], spool) for spool in spools
        }
        self._app = bottle.Bottle()
        self._app.config["catchall"] = False
        self._app.default_error_handler = _plain
        self._app.route(f"{_PATH}<name>", "ANY", self._other)
        self._app.route("/healthz", "ANY", self._health)

    def _spool(self, configuration: Configuration, webhook: Webhook) -> WebhookSpool:
        spool = WebhookSpool(configuration.spool, webhook.name, self._clock, self._settings.min_free)
        spool.prepare(_RECEIVER_STATES)
        return spool

    def _endpoint(self, webhook: Webhook, spool: WebhookSpool) -> _Endpoint:
        rejected = Rejected(spool, self._settings.workers)
        return _Endpoint(
            webhook,
            Keyring(webhook.public_keys),
            spool,
            rejected,
            Refusals(spool.folder(State.REJECTED), self._clock),
        )

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        path = environ.get("PATH_INFO", "")
        try:
            endpoint = self._named(path)
            if endpoint is None or environ["REQUEST_METHOD"] != "POST":
                other: Iterable[bytes] = self._app(environ, start_response)
                return other
            answer = self._notify(endpoint, environ)
        except Exception:  # noqa: BLE001 - the outermost frame: the sender gets an answer
            # Nothing may come out as "500", which would tell of a defect, or as 200. The sender repeats.
            get_logger().exception("defect")
            answer = Answer.UNAVAILABLE
            self.count_refused(path, answer, "a defect", Reason.DEFECT)
        start_response(answer.line, list(answer.headers))
        return [answer.text.encode()]

    def _named(self, path: str) -> _Endpoint | None:
        return self._endpoints.get(path[len(_PATH) :]) if path.startswith(_PATH) else None

    @property
    def folders(self) -> list[Path]:
        """The folders that it writes to; nothing else has to be writable."""
        spools = [endpoint.spool for endpoint in self._endpoints.values()]
        return [spool.folder(state) for spool in spools for state in _RECEIVER_STATES]

    @property
    def counts(self) -> Counts:
        """What this process has answered to notifications so far."""
        with self._counting:
            stored, failed = self._answered[Answer.STORED], self._answered[Answer.UNAVAILABLE]
            return Counts(stored, self._answered.total() - stored - failed, failed)

    def read_keys(self, *, again: bool = False) -> None:
        """Read the key files that changed; with `again`, all of them."""
        for endpoint in self._endpoints.values():
            endpoint.keyring.refresh(force=again)

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
            return
        name = endpoint.webhook.name
        reason = kind or _REASONS.get(answer, Reason.BAD_REQUEST)
        measures.REQUESTS.count(name, str(answer.status))
        measures.REFUSED_REQUESTS.count(name, reason)
        endpoint.refusals.count(reason, why)

    def _other(self, name: str) -> bottle.HTTPResponse:
        """Answer what is no POST to a webhook that there is."""
        if name in self._endpoints:
            measures.REQUESTS.count(name, str(Answer.METHOD_NOT_ALLOWED.status))
            return _respond(Answer.METHOD_NOT_ALLOWED, Allow="POST")
        measures.REQUESTS.count("", str(Answer.NOT_FOUND.status))
        return _respond(Answer.NOT_FOUND)

    def _notify(self, endpoint: _Endpoint, environ: dict[str, Any]) -> Answer:
        name = endpoint.webhook.name
        peer = proxy.peer(environ, self._settings.trusted_proxy)
        begun: float = environ.get(BEGUN) or self._clock.monotonic()
        id_: str | None = None  # until it is read
        try:
            body = self._read(environ)
            key = self._check(endpoint, environ, body, peer)
            notification = Notification.read(body)
            id_ = notification.id
            file_name = endpoint.spool.store(body, notification, deadline=begun + STORE_WITHIN_SECONDS)
        except _Refusal as refusal:
            kept = {"id": identify(refusal.file), "file": refusal.file} if refusal.file else {}
            status, reason = refusal.answer.status, refusal.reason
            get_logger().warning("refused", webhook=name, peer=peer, **kept, status=status, reason=reason)
            self.count_refused(_PATH + name, refusal.answer, refusal.reason, refusal.kind)
            return self._count(refusal.answer)
        except StorageUnavailableError as error:
            get_logger().error("not stored", webhook=name, peer=peer, id=id_, status=503, reason=str(error))
            self.count_refused(_PATH + name, Answer.UNAVAILABLE, str(error))
            return self._count(Answer.UNAVAILABLE)
        get_logger().info(
            "stored", webhook=name, peer=peer, id=id_, file=file_name, bytes=len(body), key=key or None
        )
        endpoint.refusals.succeeded()
        measures.REQUESTS.count(name, str(Answer.STORED.status))
        measures.CONFIRM_SECONDS.observe(self._clock.monotonic() - begun, name)
        return self._count(Answer.STORED)

    def _count(self, answer: Answer) -> Answer:
        with self._counting:
            self._answered[answer] += 1
        return answer

    def _read(self, environ: Mapping[str, Any]) -> bytes:
        """Return the raw body; never more than the limit is read."""
        try:
            length = int(environ.get("CONTENT_LENGTH") or 0)
        except ValueError:
            raise _Refusal(Answer.BAD_REQUEST, "Content-Length is no number") from None
        if length > self._settings.max_body:
            raise _Refusal(Answer.TOO_LARGE, f"{length} bytes; max_body is {self._settings.max_body}")
        body: bytes = environ["wsgi.input"].read(length) if length > 0 else b""
        if len(body) != max(length, 0):
            raise _Refusal(Answer.BAD_REQUEST, f"{len(body)} of {length} bytes came")
        return body

    def _check(self, endpoint: _Endpoint, environ: Mapping[str, Any], body: bytes, peer: str) -> str:
        """Return the fingerprint of the key that signed; empty where no signature is asked for."""
        endpoint.keyring.refresh()
        keys = endpoint.keyring.keys
        header = environ.get(SIGNATURE_HEADER) if endpoint.webhook.signed else None
        try:
            return admission.check(endpoint.webhook, keys, environ, body, self._settings.trusted_proxy)
        except (CertificateRefusedError, SignatureRefusedError) as error:
            refused_certificate = isinstance(error, CertificateRefusedError)
            answer = Answer.FORBIDDEN if refused_certificate else Answer.UNAUTHORIZED
            line = {
                "note": str(error),
                "status": answer.status,
                "peer": peer,
                "connection": str(environ.get("REMOTE_ADDR", "")),
                "headers": _headers(environ),
            }
            file_name = endpoint.rejected.keep(body, header, keys, line)
            raise _Refusal(answer, str(error), _kind(error), file_name) from None

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


def _kind(error: Exception) -> Reason:
    if isinstance(error, CertificateRefusedError):
        return Reason.CERTIFICATE
    if isinstance(error, SignatureMissingError):
        return Reason.NO_SIGNATURE
    wrong = isinstance(error, SignatureMismatchError)
    return Reason.WRONG_SIGNATURE if wrong else Reason.MALFORMED_SIGNATURE


def _plain(error: bottle.HTTPError) -> str:
    """Answer what bottle itself found wrong, in our words."""
    answer = Answer.of_status(error.status_code)
    bottle.response.status = answer.status
    bottle.response.content_type = CONTENT_TYPE
    return answer.text


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the request's headers as the sender may have written them; `readmit` needs the signature."""
    return {
        name.removeprefix("HTTP_").replace("_", "-").title(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in {"CONTENT_TYPE", "CONTENT_LENGTH"}
    }
