"""Admission: whether a request is from the sender, by its client certificate and its signature.

Owns: the order of those checks, and the one rule for requests that come in and for refused ones that are
looked at again.
Promises: the signature is checked over the raw bytes, before anything reads them.
Does not promise: to answer; the reasons are for the log.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from spooler import proxy, signature
from spooler.config import Webhook
from spooler.errors import CertificateRefusedError
from spooler.keys import Key

SIGNATURE_HEADER = "HTTP_" + signature.HEADER.upper().replace("-", "_")


def check(
    webhook: Webhook, keys: Sequence[Key], environ: Mapping[str, Any], body: bytes, trusted_proxy: str
) -> str:
    """Return the fingerprint of the key that signed; empty where no signature is asked for.

    environ: the request's headers and `REMOTE_ADDR`, as WSGI has them.

    Raises: CertificateRefusedError, SignatureRefusedError.
    """
    if webhook.client_certificates:
        shown = proxy.certificate_fingerprint(environ, trusted_proxy)
        if shown not in webhook.client_certificates:
            raise CertificateRefusedError(f"client certificate {shown} is not on the list")
    if not webhook.signed:
        return ""
    given = signature.decode(environ.get(SIGNATURE_HEADER))
    return signature.verify(body, given, keys, webhook.algorithm).fingerprint
