"""What a trusted proxy says about the client: its address and its certificate.

Owns: the headers `X-Forwarded-For`, `Client-Cert` (RFC 9440) and `X-SSL-Client-Cert` (nginx's
`$ssl_client_escaped_cert`), and whom to believe them from.
Promises: from anybody but the trusted proxy they count for nothing.
Does not promise: that a certificate is valid; the proxy has checked the chain, spooler compares fingerprints.
"""

import base64
import hashlib
import ipaddress
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

UNIX = "unix"
_WAITRESS_UNIX_PEER = "localhost"  # waitress' address for every peer on a Unix socket; TCP peers are numeric

Environ = Mapping[str, Any]


def peer(environ: Environ, trusted_proxy: str) -> str:
    """Return the client's address: the connection's, or what the trusted proxy says of it."""
    address = _address(environ)
    if address == trusted_proxy:
        claimed = str(environ.get("HTTP_X_FORWARDED_FOR", "")).rpartition(",")[2].strip()
        try:
            return str(ipaddress.ip_address(claimed))
        except ValueError:
            return address
    return address


def certificate_fingerprint(environ: Environ, trusted_proxy: str) -> str | None:
    """Return the SHA-256 (lower-case hex) of the client's certificate.

    None where there is none, where it can't be read or two headers differ, and from anybody but the
    trusted proxy. TRUST: the headers are anybody's to send.
    """
    if _address(environ) != trusted_proxy:
        return None
    found = {
        _of_client_cert(environ.get("HTTP_CLIENT_CERT")),
        _of_nginx(environ.get("HTTP_X_SSL_CLIENT_CERT")),
    }
    found.discard("")
    return found.pop() if len(found) == 1 else None


def _address(environ: Environ) -> str:
    # A socket that listens on [::] shows IPv4 peers in this form.
    address = str(environ.get("REMOTE_ADDR", "")).removeprefix("::ffff:")
    return UNIX if address in {"", _WAITRESS_UNIX_PEER} else address


def _of_client_cert(value: str | None) -> str | None:
    """Return the fingerprint in a `Client-Cert: :base64:`; empty if there is no such header."""
    if not value:
        return ""
    if len(value) < 3 or value[0] != ":" or value[-1] != ":":
        return None
    try:
        return hashlib.sha256(base64.b64decode(value[1:-1], validate=True)).hexdigest()
    except ValueError:
        return None


def _of_nginx(value: str | None) -> str | None:
    if not value:
        return ""
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(unquote(value))).hexdigest()
    except ValueError:
        return None
