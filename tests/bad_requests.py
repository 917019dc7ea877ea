"""Requests that an attacker writes by hand: raw bytes, and what they may be answered with.

Beside what `test_http_requests` has: what tries to reach another path, to write into the log, to be taken
twice, or to make the receiver work for nothing. Everything is as well signed as it can be.
"""

import base64
import json
from dataclasses import dataclass

from running_service import OTHER_KEY, head, make_body, signed

from spooler.signature import HEADER

BODY = make_body()
CHUNKED = "Transfer-Encoding: chunked"
LENGTH = f"Content-Length: {len(BODY)}"
MAX_BODY = 1 << 20
RIGHT_LENGTH = base64.b64encode(bytes(range(256))).decode()  # of a signature by a key of 2048 bits

# What would pass for more than a value, if it came into a log or a terminal as it is.
INJECTIONS = (
    'a" level=error event=forged x="',
    "a level=error event=forged",
    "a\\",
    'a\\" level=error event=forged',
    "a\x1b[31m\x1b]0;forged\x07",
    "a\x85level=error event=forged",
    "a\xa0\xad\x9b31m",
    "\xe2\x80\xa8level=error event=forged",  # U+2028
    "\xe2\x80\xae\xf0\x9f\x92\xa9",  # right to left, and a heap
    "<3>forged",
    "%s%n%(x)s{0}{x.__class__}",
    "${jndi:ldap://x/}$(id)`id`",
)
BREAKS = ("a\r\nX-Forged: b", "a\rlevel=error", "a\nlevel=error event=forged", "a\0b", "a\x0bb\x0cc")
PATHS = (
    *("/webhook/../webhook/crm/..", "/webhook/./crm", "/webhook//crm", "/./webhook/crm"),
    *("/webhook/crm/../../../../etc/passwd", "/webhook/..%2f..%2fetc%2fpasswd", "/webhook/%2e%2e/crm"),
    *("/webhook/crm%00", "/webhook/crm%0d%0aX-Forged:%20a", "/webhook/crm%20", "/webhook/crm;a=b"),
    *("/webhook/%252e%252e", "/webhook/crm\\..\\..", "\\webhook\\crm", "/webhook/crm%2f", "/%77ebhook/crm/"),
    *("/webhook/\xff\xfe", "/webhook/%ff%c0%ae", "/webhook/.refusals", "/webhook/.", "/webhook/incoming"),
    *(
        "http://localhost/healthz/../webhook",
        "http://a:b@c:99999/x",
        "http://[::1/webhook/crm",
        "*",
        "?",
        "#",
    ),
    *("crm:80", "file:///etc/passwd", "/metrics", "/webhook/" + "a/" * 5000, "/webhook/" + "%2e" * 5000),
)


@dataclass(frozen=True)
class Bad:
    """A request's bytes, and the statuses that it may get; 0: the connection is closed without a word."""

    name: str
    sent: bytes
    statuses: frozenset[int]


REFUSED = frozenset({400, 401, 404, 405, 413, 431})


def unsigned(body: bytes, *lines: str, signature: str = RIGHT_LENGTH, path: str = "/webhook/crm") -> bytes:
    """Return a request whose signature is no signature, by default one of the right length."""
    told = [f"POST {path} HTTP/1.1", "Host: localhost", f"{HEADER}: {signature}", *lines]
    return "\r\n".join([*told, f"Content-Length: {len(body)}", "", ""]).encode("latin-1") + body


def chunked(pieces: bytes, *lines: str) -> bytes:
    return head(BODY, CHUNKED, *lines) + pieces


def lengths() -> list[Bad]:
    """Return lengths that are huge, negative or no numbers."""
    huge = ("1048577", "2147483648", "4294967295", "9223372036854775808", "9" * 30, "9" * 4000)
    wrong = ("-1", "-9223372036854775808", "0x10", "1e3", "1.5", " ", "٣", "1 2", "1\t2", "+1", "0,1", "NaN")
    known = [Bad(f"length {text[:24]}", told(text), frozenset({413})) for text in huge]
    known += [Bad(f"length {text!a}", told(text), frozenset({400})) for text in wrong]
    known += [
        Bad(f"length {t[:24]}, Expect", told(t, "Expect: 100-continue"), frozenset({413})) for t in huge
    ]
    sizes = {"7fffffffffffffff": 413, "f" * 400: 413}
    sizes |= dict.fromkeys(("-1", "1_0", "0x1", " 1", "\xb2"), 400)
    for size, status in sizes.items():
        content = b"a" * (MAX_BODY + 9 if status == 413 else 9)
        sent = chunked(size.encode("latin-1") + b"\r\n" + content + b"\r\n")
        known.append(Bad(f"chunk of {size[:24]!a}", sent, frozenset({status})))
    return known


def told(length: str, *lines: str) -> bytes:
    return head(BODY, "Content-Length: " + length.encode().decode("latin-1"), *lines) + BODY


def injections() -> list[Bad]:
    """Return requests that try to write into the log, by each thing that may get there."""
    bad = []
    for number, text in enumerate((*INJECTIONS, *BREAKS)):
        plain = {
            "signature": unsigned(BODY, signature=text),
            "two signatures": unsigned(BODY, f"{HEADER}: {text}"),
            "peer": unsigned(BODY, f"X-Forwarded-For: {text}"),
            "certificate": unsigned(BODY, f"X-SSL-Client-Cert: {text}", f"Client-Cert: {text}"),
            "name of a header": unsigned(BODY, f"{text}: a"),
            "value of a header": unsigned(BODY, f"User-Agent: {text}"),
            "webhook": unsigned(BODY, path=f"/webhook/{text}"),
            "address": unsigned(BODY, path=f"http://{text}/webhook/crm"),
            "query": unsigned(BODY, path=f"/webhook/crm?{text}"),
            "method": unsigned(BODY).replace(b"POST", text.encode("latin-1"), 1),
            "version": unsigned(BODY).replace(b"HTTP/1.1", b"HTTP/" + text.encode("latin-1"), 1),
            "encoding": unsigned(BODY, f"Transfer-Encoding: {text}"),
            "body": unsigned(text.encode("latin-1")),
        }
        bad += [Bad(f"{where}, injection {number}", sent, REFUSED) for where, sent in plain.items()]
    return bad


def paths() -> list[Bad]:
    return [Bad(f"path {path[:40]!a}", head(BODY, path=path) + BODY, REFUSED) for path in PATHS]


def framings() -> list[Bad]:
    """Return bodies whose end two readers could see in different places, and other oddities."""
    forged = unsigned(BODY)
    bad = {
        "length and chunks": head(BODY, LENGTH, CHUNKED) + BODY,
        "a request hidden in a body of chunks": chunked(b"0\r\n\r\n" + forged, LENGTH),
        "a chunk that runs on": chunked(b"2\r\nabc\r\n0\r\n\r\n"),
        "a chunk without an end": chunked(b"2\r\nab0\r\n\r\n"),
        "a chunk ended by a line feed": chunked(b"2\nab\n0\n\n"),
        "a chunk's size twice": chunked(b"2;2;=\r\nab\r\n0\r\n\r\n"),
        "a signature of a megabyte": unsigned(BODY, signature="A" * MAX_BODY),
        "two thousand signatures": unsigned(BODY, *[f"{HEADER}: {RIGHT_LENGTH[:8]}"] * 2000),
        "a signature of 15,000 characters": unsigned(BODY, signature="A" * 15000),
        "five thousand headers": unsigned(BODY, *[f"X-{number}: a" for number in range(5000)]),
        "an unsigned body of 1 MiB": unsigned(b"[" * MAX_BODY, signature="A"),
        "a first line of a megabyte": b"POST /" + b"a" * MAX_BODY,
        "NUL bytes": bytes(20000),
        "Expect and a forgery": unsigned(BODY, "Expect: 100-continue"),
        "Expect of something else": unsigned(BODY, "Expect: 200-ok"),
        "another protocol": unsigned(BODY, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"),
    }
    known = [Bad(name, sent, REFUSED) for name, sent in bad.items()]
    known.append(Bad("empty lines", b"\r\n" * 20000, frozenset({0})))
    # All that follows the first is nobody's.
    known.append(Bad("a hundred in a row", unsigned(b"{}") * 100, frozenset({401})))
    known.append(Bad("one behind a refused one", unsigned(b"{}") + head(BODY) + BODY, frozenset({401})))
    return known


ALL = [*lengths(), *injections(), *paths(), *framings()]


def authentic() -> dict[str, tuple[bytes, bytes]]:
    """Return what is odd and yet from the sender, so that it has to be stored: the request, its body."""
    deep = b'{"a":' * (MAX_BODY // 5 - 1)
    found = {
        "two slashes": (head(BODY, path="//webhook/crm") + BODY, BODY),
        "nested too deeply, of 1 MiB": (head(deep) + deep, deep),
        "a full URL": (head(BODY, path="http://elsewhere.example/webhook/crm") + BODY, BODY),
    }
    for number, text in enumerate((*INJECTIONS, *BREAKS, "../" * 40, "-rf", "A" * 100_000)):
        members = {"Type": text, "EventUniqueID": text, "ContactID": {"idContact": text}}
        body = json.dumps(members).encode()
        found[f"members, injection {number}"] = (head(body) + body, body)
    return found


def of_another_key(body: bytes) -> bytes:
    """Return a request that somebody else signed."""
    return unsigned(body, signature=signed(body, OTHER_KEY)[HEADER])
