"""What strangers send and people mistype: texts, bodies and file names of the worst kind, for the fuzz tests.

Owns: the strategies. A short run takes a modest number of each; `python tests/fuzz.py` takes many more.
"""

import json

from hypothesis import strategies as st

NASTY = [
    "../../../../etc/passwd",
    "..",
    ".",
    "/",
    "-rf",
    "--help",
    ".hidden",
    "a\0b",
    "a\nb\r\nlevel=error event=forged",
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m",
    "\u202egnp.exe",
    "\u2066\u2069\u200b\ufeff",
    "\u2028\u2029\x85",
    "😀" * 40,
    "é" * 300,
    "\ud800",
    "\udcff",
    "$(touch owned)",
    "`id`; rm -rf /",
    "%00%2e%2e%2f",
    "con.json",
    "a" * 64,
    "a" * 65,
    "\u0661\u0662",
    "İ",
]

# Made when they are drawn, so that no failure prints a strategy of a hundred thousand characters.
long_texts = st.sampled_from(["x", "😀", "\x1b", "../"]).map(lambda text: text * (100_000 // len(text)))
texts = (
    long_texts
    | st.sampled_from(NASTY)
    | st.text(st.characters(), max_size=80)
    | st.text("./-_~\0\n\x1b a1", max_size=12)
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
documents = st.fixed_dictionaries(
    {},
    optional={
        "EventUniqueID": values,
        "Type": values,
        "ContactID": values | st.fixed_dictionaries({}, optional={"idContact": values}),
        "isTest": values,
        "Data": values,
    },
)


def _as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def _as_utf8(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


bodies = (
    documents.map(_as_json)
    | documents.map(_as_utf8)
    | values.map(_as_json)
    | st.binary(max_size=300)
    | st.sampled_from(
        [b"", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 5000, b'{"Type": 1' + b"0" * 5000 + b"}"]
    )
)


def _is_file_name(name: bytes) -> bool:
    return b"/" not in name and b"\0" not in name and len(name) <= 255


# Whatever Linux takes, as the operating system has it.
file_names = (
    (texts.map(lambda text: text.encode("utf-8", "surrogatepass")[:250]) | st.binary(max_size=60))
    .map(lambda stem: stem + b".json")
    .filter(_is_file_name)
)


_many = st.sampled_from([b"9", b"["]).map(lambda piece: piece * 5000)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy of that content with some pieces overwritten, cut out, doubled or put in."""
    at = st.integers(0, len(content))
    change = st.tuples(at, at, st.binary(max_size=4) | st.sampled_from([b"\0", b"\xff"]) | _many)

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        result = content
        for start, length, piece in changes:
            result = result[:start] + piece + result[start + length % 8 :]
        return result

    return st.lists(change, min_size=1, max_size=4).map(apply)
