"""The load: signed notifications of one size, so many at once, as fast as answers come.

Owns: the connections, one for each request as the receiver wants it, and the time until the answer is there.
Promises: an answer other than 200 is an error, not a figure.
Does not promise: to cost nothing; it takes its share of the same machine.
"""

import asyncio
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from spooler.algorithm import Algorithm
from spooler.errors import SpoolerError
from spooler.latency import Latencies
from spooler.outgoing import make_body
from spooler.signature import HEADER, sign

BODY_BYTES = 1024
_CONTACTS = 1000
_PATIENCE_SECONDS = 30.0


def body(number: int) -> bytes:
    """Return a body of exactly `BODY_BYTES` with a new id; contacts come again after a thousand."""
    made = make_body("contact_modified", str(uuid.uuid4()), 550_001 + number % _CONTACTS)
    return made[:-1] + b" " * (BODY_BYTES - len(made)) + b"}"


def requests(path: str, key: RSAPrivateKey, count: int) -> Iterator[bytes]:
    """Yield so many whole requests, each with a body, and so a signature, of its own."""
    for number in range(count):
        content = body(number)
        signature = sign(content, key, Algorithm("sha256", "pkcs1v15"))
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n{HEADER}: {signature}\r\n\r\n"
        )
        yield head.encode() + content


def run(
    port: int,
    made: Sequence[bytes],
    at_once: int,
    seconds: float,
    *,
    host: str = "127.0.0.1",
    before_each: Callable[[], None] | None = None,
) -> Latencies:
    """Post the requests for so long, again from the first after the last; return how long the answers took.

    before_each: called before each request; what it raises ends all. Raises: SpoolerError if one isn't
    answered with 200.
    """

    ended = threading.Event()

    def next_one(request: bytes) -> bytes:
        if ended.is_set():
            raise SpoolerError("nobody waits for the answers any more")
        if before_each:
            before_each()
        return request

    def work() -> Latencies:
        return asyncio.run(_run((host, port), map(next_one, itertools.cycle(made)), at_once, seconds))

    # RACE: a signal's handler runs in the main thread, in the middle of whatever that does. What it raises
    # there, an event loop may swallow; a wait doesn't.
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(work).result()
        finally:
            ended.set()


async def _run(address: tuple[str, int], made: Iterator[bytes], at_once: int, seconds: float) -> Latencies:
    taken_seconds: list[float] = []
    started = time.monotonic()
    places = (_post(address, made, started + seconds, taken_seconds) for _ in range(at_once))
    try:
        # Not `wait_for`: Python 3.11's lets go of what Ctrl-C cancelled, which then complains of that.
        async with asyncio.timeout(seconds + _PATIENCE_SECONDS):
            await asyncio.gather(*places)
    except TimeoutError:
        raise SpoolerError(f"the receiver didn't answer within {_PATIENCE_SECONDS:g} s") from None
    except OSError as error:
        raise SpoolerError(f"the receiver can't be reached: {error.strerror or error}") from None
    return Latencies.of(taken_seconds, time.monotonic() - started)


async def _post(
    address: tuple[str, int], made: Iterator[bytes], ends_at: float, taken_seconds: list[float]
) -> None:
    """Post one after another: connect, send, read the answer to its end."""
    begun = time.monotonic()
    while True:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(next(made))
        answer = await reader.read()
        ended = time.monotonic()
        taken_seconds.append(ended - begun)
        writer.close()
        if answer.split(b" ", 2)[1:2] != [b"200"]:
            line = answer.partition(b"\r\n")[0].decode("ascii", "backslashreplace")
            raise SpoolerError(f"the receiver answered {line!r} to a signed notification")
        if ended >= ends_at:
            return
        begun = ended
