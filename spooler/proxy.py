"""What a trusted proxy says about the client: its address and its certificate.

Owns: the headers `X-Forwarded-For`, `Client-Cert` (RFC 9440) and `X-SSL-Client-Cert` (nginx's
`$ssl_client_escaped_cert`), and whom to believe them from.
Promises: from anybody but the trusted proxy they count for nothing.
Does not promise: that a certificate is valid; the proxy has checked the chain, spooler compares fingerprints.
"""

import base64
import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from spooler.certificates import fingerprint
from spooler.errors import CertificateRefusedError

UNIX = "unix"
_WAITRESS_UNIX_PEER = "localhost"  # waitress' address for every peer on a Unix socket; TCP peers are numeric
# To the letter as nginx writes it: two headers, which arrive as one with a comma between, are no certificate.
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)\n-----END CERTIFICATE-----\n?")

Environ = Mapping[str, Any]


def peer(environ: Environ, trusted_proxy: str) -> str:
    """Return the client's address: the connection's, or what the trusted proxy says of it."""
    address = _address(environ)
    if address != _plain(trusted_proxy):
        return address
    # TRUST: the shipped proxies write the header over; one that appends has the last word.
    claimed = str(environ.get("HTTP_X_FORWARDED_FOR", "")).rpartition(",")[2].strip()
    if not claimed:
        return address
    try:
        found = ipaddress.ip_address(claimed)
    except ValueError:
        return address
    # A zone (fe80::1%eth0) may be of any length and characters, and means nothing on another machine.
    return str(found).partition("%")[0]


def certificate_fingerprint(environ: Environ, trusted_proxy: str) -> str:
    """Return the SHA-256 (lower-case hex) of the client's certificate.

    Raises: CertificateRefusedError where there is none, where it can't be read or two headers differ, and
    where anybody but the trusted proxy tells of it. TRUST: the headers are anybody's to send.
    """
    client_cert, escaped = environ.get("HTTP_CLIENT_CERT"), environ.get("HTTP_X_SSL_CLIENT_CERT")
    if not (client_cert or escaped):
        raise CertificateRefusedError("no client certificate was presented")
    if (address := _address(environ)) != _plain(trusted_proxy):
        who = f"{address}, which isn't receiver.trusted_proxy ({trusted_proxy})"
        raise CertificateRefusedError(f"a client certificate was presented by {who}")
    first, *others = {_of_client_cert(client_cert), _of_nginx(escaped)} - {""}
    if others:
        raise CertificateRefusedError("Client-Cert and X-SSL-Client-Cert tell of different certificates")
    if first is None:
        raise CertificateRefusedError("the client certificate that was presented can't be read")
    return first


def _address(environ: Environ) -> str:
    address = str(environ.get("REMOTE_ADDR", ""))
    return UNIX if address in {"", _WAITRESS_UNIX_PEER} else _plain(address)


@lru_cache(maxsize=1024)  # senders are few
def _plain(address: str) -> str:
    """Return an IP address as there is one way to write it; what is none as it is.

    A socket that listens on [::] shows IPv4 peers as ::ffff:127.0.0.1.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(getattr(found, "ipv4_mapped", None) or found)


def _of_client_cert(value: str | None) -> str | None:
    """Return the fingerprint in a `Client-Cert: :base64:`; empty if there is no such header."""
    if not value:
        return ""
    if len(value) < 3 or value[0] != ":" or value[-1] != ":":
        return None
    return _of_base64(value[1:-1])


def _of_nginx(value: str | None) -> str | None:
    """Return the fingerprint in an `X-SSL-Client-Cert`: PEM with %XX; empty if there is no such header."""
    if not value:
        return ""
    pem = _PEM.fullmatch(unquote(value))
    return _of_base64(pem[1].replace("\n", "")) if pem else None


def _of_base64(encoded: str) -> str | None:
    try:
        return fingerprint(base64.b64decode(encoded, validate=True))
    except ValueError:
        return None
