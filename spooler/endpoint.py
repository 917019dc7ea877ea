"""An endpoint: one webhook's end of the receiver, from a request to its answer.

Owns: the order of the checks, and which answer each failure gets (`spooler.answers`).
Promises: the signature is checked over the raw bytes before anything reads them. 200 for nothing that isn't
stored; nothing but 200 for what is. Refusals look all alike from outside; the reason stands in the log.
Whatever goes wrong with one request, and be it a defect, takes no other with it.
Logs: one line per notification and per refusal.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from spooler import admission, measures, proxy
from spooler.admission import SIGNATURE_HEADER
from spooler.answers import Answer
from spooler.config import Receiver, Webhook
from spooler.errors import CertificateRefusedError, SignatureRefusedError, StorageUnavailableError
from spooler.keyring import Keyring
from spooler.log import get_logger
from spooler.name import identify
from spooler.notification import Notification
from spooler.pulse import Counts
from spooler.refusals import Reason, Refusals
from spooler.rejected import Rejected
from spooler.signature import SignatureMismatchError, SignatureMissingError
from spooler.state import State
from spooler.storing import Arrival, ReceiversSpool

# The sender waits 15 s. What hasn't reached its name by then would be sent again though it was stored.
STORE_WITHIN_SECONDS = 12.0
BEGUN = "spooler.begun"  # set by the server: when the request's first byte came, on the monotonic clock
RECEIVER_STATES = (State.INCOMING, State.REJECTED)
_REASONS = {  # of answers that are given for one reason alone
    Answer.FORBIDDEN: Reason.CERTIFICATE,
    Answer.TOO_LARGE: Reason.TOO_LARGE,
    Answer.HEADERS_TOO_LARGE: Reason.TOO_LARGE,
    Answer.UNAVAILABLE: Reason.UNAVAILABLE,
}


def _kind_of(answer: Answer) -> Reason:
    return _REASONS.get(answer, Reason.BAD_REQUEST)


class _Refusal(Exception):  # noqa: N818 - it is an answer, not an error
    """Ends a request early with an answer; the reason is for the log, its kind for counting.

    file: its name in `rejected/`; empty where it isn't kept.
    """

    def __init__(self, answer: Answer, reason: str, kind: Reason | None = None, file: str = "") -> None:
        super().__init__(reason)
        self.answer = answer
        self.reason = reason
        self.file = file
        self.kind = kind or _kind_of(answer)


@dataclass(slots=True)
class Delivery:
    """A notification that is to be stored: from where, since when, by which key; and its answer then."""

    webhook: str
    peer: str
    begun: float
    key: str
    arrival: Arrival
    answer: Answer = Answer.UNAVAILABLE


class Endpoint:
    """Takes what is posted to one webhook, from several threads at once."""

    def __init__(self, webhook: Webhook, spool: ReceiversSpool, settings: Receiver) -> None:
        """Load the keys. Raises: KeyFileError."""
        self.webhook = webhook
        self.spool = spool
        self.keyring = Keyring(webhook.public_keys)
        self._settings = settings
        self._clock = spool.clock
        self._rejected = Rejected(spool, settings.workers)
        self._refusals = Refusals(spool.folder(State.REJECTED), spool.clock)
        self._answered: Counter[Answer] = Counter()
        self._counting = Lock()
        self._log = get_logger()

    @property
    def counts(self) -> Counts:
        """What this process has answered to notifications so far."""
        with self._counting:
            stored, failed = self._answered[Answer.STORED], self._answered[Answer.UNAVAILABLE]
            return Counts(stored, self._answered.total() - stored - failed, failed)

    def look_at_keys(self) -> None:
        """Read the key files that changed; whatever goes wrong with that, the last good keys stay."""
        try:
            self.keyring.refresh()
        except Exception:  # noqa: BLE001 - the senders get answers
            self._log.exception("defect")

    def admit(self, environ: dict[str, Any]) -> Delivery | Answer:
        """Return the notification that a request brings, or what a request that is refused is answered."""
        peer = ""
        try:
            peer = proxy.peer(environ, self._settings.trusted_proxy)
            begun: float = environ.get(BEGUN) or self._clock.monotonic()
            body = self._read(environ)
            key = self._check(environ, body, peer)
            notification, deadline = Notification.read(body), begun + STORE_WITHIN_SECONDS
            arrival = Arrival(content=body, notification=notification, deadline=deadline)
            return Delivery(self.webhook.name, peer, begun, key, arrival)
        except _Refusal as refusal:
            return self._refuse(refusal, peer)
        except Exception:  # noqa: BLE001 - the sender gets an answer
            return self._defect()

    def store(self, deliveries: Sequence[Delivery]) -> None:
        """Store notifications that were admitted, and set their answers."""
        try:
            self.spool.store_all([one.arrival for one in deliveries])
        except Exception as error:  # noqa: BLE001 - the senders get answers
            for one in deliveries:
                one.arrival.error = error
        for one in deliveries:
            try:
                one.answer = self._settle(one)
            except Exception:  # noqa: BLE001 - the sender gets an answer
                one.answer = self._defect()
        if any(one.answer is Answer.STORED for one in deliveries):
            self._refusals.succeeded()

    def _settle(self, delivery: Delivery) -> Answer:
        """Write down what has become of a notification, and count it."""
        arrival = delivery.arrival
        known: dict[str, object] = {
            "webhook": delivery.webhook,
            "peer": delivery.peer,
            "id": arrival.notification.id,
        }
        if isinstance(arrival.error, StorageUnavailableError):
            self._log.error("not stored", **known, status=503, reason=str(arrival.error))
            self.count_refused(Answer.UNAVAILABLE, str(arrival.error))
            return self._count(Answer.UNAVAILABLE)
        if arrival.error is not None:
            raise arrival.error
        key = delivery.key or None
        self._log.info("stored", **known, file=arrival.name, bytes=len(arrival.content), key=key)
        measures.REQUESTS.count(delivery.webhook, str(Answer.STORED.status))
        measures.CONFIRM_SECONDS.observe(self._clock.monotonic() - delivery.begun, delivery.webhook)
        return self._count(Answer.STORED)

    def _refuse(self, refusal: _Refusal, peer: str) -> Answer:
        kept = {"id": identify(refusal.file), "file": refusal.file} if refusal.file else {}
        status, reason = refusal.answer.status, refusal.reason
        self._log.warning(
            "refused", webhook=self.webhook.name, peer=peer, **kept, status=status, reason=reason
        )
        self.count_refused(refusal.answer, refusal.reason, refusal.kind)
        return self._count(refusal.answer)

    def _defect(self) -> Answer:
        # Nothing may come out as "500", which would tell of a defect, or as 200. The sender repeats.
        self._log.exception("defect")
        self.count_refused(Answer.UNAVAILABLE, "a defect", Reason.DEFECT)
        return Answer.UNAVAILABLE

    def count_refused(self, answer: Answer, why: str, kind: Reason | None = None) -> None:
        """Count a POST that got another answer than 200."""
        reason = kind or _kind_of(answer)
        measures.REQUESTS.count(self.webhook.name, str(answer.status))
        measures.REFUSED_REQUESTS.count(self.webhook.name, reason)
        self._refusals.count(reason, why)

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

    def _check(self, environ: Mapping[str, Any], body: bytes, peer: str) -> str:
        """Return the fingerprint of the key that signed; empty where no signature is asked for."""
        keys = self.keyring.keys
        header = environ.get(SIGNATURE_HEADER) if self.webhook.signed else None
        try:
            return admission.check(self.webhook, keys, environ, body, self._settings.trusted_proxy)
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
            file_name = self._rejected.keep(body, header, keys, line)
            raise _Refusal(answer, str(error), _kind(error), file_name) from None


def _kind(error: Exception) -> Reason:
    if isinstance(error, CertificateRefusedError):
        return Reason.CERTIFICATE
    if isinstance(error, SignatureMissingError):
        return Reason.NO_SIGNATURE
    wrong = isinstance(error, SignatureMismatchError)
    return Reason.WRONG_SIGNATURE if wrong else Reason.MALFORMED_SIGNATURE


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the request's headers as the sender may have written them; `readmit` needs the signature."""
    return {
        name.removeprefix("HTTP_").replace("_", "-").title(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in {"CONTENT_TYPE", "CONTENT_LENGTH"}
    }
