"""Abuse of the receiver over raw sockets, while honest senders go on delivering to it.

    python tests/http_abuse.py                  all of it, a minute or two
    python tests/http_abuse.py --json           the figures as one JSON object
    python tests/http_abuse.py --idle 8000      with more idle connections

Runs a real `spooler run` with no proxy in front. Whatever is sent: it stays up, honest notifications are
answered with 200 within a second (those of 100 kB or more may be put off with 503, to be repeated; those of
1 MiB, the largest allowed, may have to wait for their turn, but for no longer than the sender waits), all its
processes together take less than 150 MB, the disk stays bounded, each line of the log is one line of logfmt,
and nothing but what the sender signed is stored. Ends with status 1 if any of that doesn't hold.
"""

import argparse
import contextlib
import json
import re
import resource
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import bad_requests
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from running_service import (
    Service,
    Site,
    children_of,
    connect,
    head,
    make_body,
    make_site,
    post,
    read_all,
    running,
    status_of,
    wait_until,
)

from spooler.rejected import MAX_BYTES, MAX_FILES

MAX_MEMORY_BYTES = 150_000_000
MAX_SECONDS = 1.0
SENDER_SECONDS = 15.0
_LINE = re.compile(r'([a-z_]+=("(?:[^"\\]|\\.)*"|[^\s"=]*)( (?!$)|$))+')
_STATES = ("incoming", "processing", "retry", "done", "failed")
_LARGE = 100_000


@dataclass(frozen=True)
class Amounts:
    """How much of each kind of abuse; `holds` and `requests` are numbers of connections."""

    idle: int = 4000
    holds: int = 1500
    large: int = 200
    forged: int = 10_000
    resets: int = 500
    hold_seconds: float = 13.0  # the receiver cuts what takes longer than 10 s
    max_seconds: float = MAX_SECONDS  # for an honest sender to be answered


@dataclass
class Figures:
    """What came of it."""

    bad_inputs: int = 0
    honest: int = 0
    large_put_off: int = 0  # honest ones of 100 kB or more that got 503
    honest_worst_seconds: float = 0.0  # but for those of 1 MiB
    largest_worst_seconds: float = 0.0  # those of 1 MiB
    honest_median_seconds: float = 0.0
    peak_memory_bytes: int = 0  # PSS of all processes
    peak_memory_during: str = ""
    memory_before_bytes: int = 0
    rejected_files: int = 0  # the most at any time
    rejected_bytes: int = 0
    log_lines: int = 0
    log_bytes: int = 0
    worst_during: str = ""
    by_kind: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


class Abuse:
    """A service under abuse: what is sent to it, who watches it, and what is found out."""

    def __init__(self, service: Service, amounts: Amounts) -> None:
        self.service = service
        self.amounts = amounts
        self.figures = Figures()
        self.authentic: list[bytes] = []
        self._statuses: Counter[int] = Counter()
        self._seconds: list[float] = []
        self._stored: list[bytes] = []
        self._kind = "before"
        self._ended = threading.Event()
        self._processes = sorted(service.children())

    def violation(self, text: str) -> None:
        if len(self.figures.violations) < 100:
            self.figures.violations.append(text)

    def run(self, told: Callable[[str], None]) -> Figures:
        """Do it all; `told` is called with the name of each kind when it begins."""
        watchers = [threading.Thread(target=work) for work in (self._deliver, self._watch)]
        for watcher in watchers:
            watcher.start()
        time.sleep(0.5)
        self.figures.memory_before_bytes = memory_bytes(self.service.process.pid)
        try:
            for name, attack in ATTACKS.items():
                told(name)
                self._kind = name
                self.figures.by_kind[name] = attack(self)
        finally:
            self._ended.set()
            for watcher in watchers:
                watcher.join()
        self._look_at_the_end()
        return self.figures

    def send(self, sent: bytes) -> int:
        """Send bytes, and return the status of the answer; 0 for none."""
        answer = b""
        with contextlib.suppress(OSError), connect(self.service.address) as connection:
            with contextlib.suppress(OSError):  # refused before it has all been sent
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
            answer = read_all(connection)
        if answer.count(b"HTTP/1.") - answer.count(b"HTTP/1.1 100 ") > 1:
            self.violation(f"{self._kind}: more than one answer: {answer[:200]!r}")
        status = status_of(answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))
        self._statuses[status] += 1
        return status

    def expect(self, name: str, status: int, allowed: frozenset[int]) -> None:
        if status not in allowed:
            self.violation(f"{self._kind}: {name}: {status} and not of {sorted(allowed)}")

    @contextlib.contextmanager
    def crowd(self, count: int, pieces: Callable[[int], bytes]) -> Iterator[list[socket.socket]]:
        """Hold many connections; `pieces` says what the one of a number sends at once."""
        with contextlib.ExitStack() as held:
            connections = []
            for number in range(count):
                with contextlib.suppress(OSError):
                    connection = held.enter_context(connect(self.service.address))
                    connection.settimeout(0.05)
                    connections.append(connection)
                    connection.sendall(pieces(number))
            yield connections

    def _deliver(self) -> None:
        """Be an honest sender; each answer that isn't 200 is a violation."""
        while not self._ended.wait(0.05):
            number = len(self._seconds)
            size = _LARGE if number % 10 == 9 else 0
            body = make_body(number, size=bad_requests.MAX_BODY if number % 50 == 49 else size)
            begun = time.monotonic()
            try:
                status = post(self.service.address, body).status
            except OSError as error:
                status = 0
                self.violation(f"{self._kind}: honest of {len(body)} bytes: {error}")
            seconds = time.monotonic() - begun
            if status == 503 and len(body) >= _LARGE:
                self.figures.large_put_off += 1
            elif status:
                self.expect(f"honest of {len(body)} bytes", status, frozenset({200}))
            if status == 200:
                self._stored.append(body)
            is_largest = len(body) >= bad_requests.MAX_BODY
            if seconds > (SENDER_SECONDS if is_largest else self.amounts.max_seconds):
                self.violation(f"{self._kind}: honest of {len(body)} bytes: after {seconds:.2f} s")
            self._note(seconds, is_largest=is_largest)

    def _note(self, seconds: float, *, is_largest: bool) -> None:
        figures = self.figures
        self._seconds.append(seconds)
        if is_largest:
            figures.largest_worst_seconds = max(seconds, figures.largest_worst_seconds)
        elif seconds > figures.honest_worst_seconds:
            figures.honest_worst_seconds, figures.worst_during = seconds, self._kind

    def _watch(self) -> None:
        """Measure memory and `rejected/`, again and again."""
        figures, rejected = self.figures, self.service.site.folder("rejected")
        while not self._ended.wait(0.2):
            held = memory_bytes(self.service.process.pid)
            if held > figures.peak_memory_bytes:
                figures.peak_memory_bytes, figures.peak_memory_during = held, self._kind
            sizes = []
            for path in rejected.iterdir():
                with contextlib.suppress(FileNotFoundError):  # it went to make room
                    sizes.append(path.stat().st_size)
            figures.rejected_files = max(figures.rejected_files, len(sizes) - 1)  # but for the count
            figures.rejected_bytes = max(figures.rejected_bytes, sum(sizes))

    def _look_at_the_end(self) -> None:
        figures, site = self.figures, self.service.site
        if self.service.process.poll() is not None or sorted(self.service.children()) != self._processes:
            self.violation("a process has ended")
        figures.honest = len(self._seconds)
        figures.honest_median_seconds = sorted(self._seconds)[len(self._seconds) // 2]
        figures.bad_inputs = sum(figures.by_kind.values())
        figures.answers = {str(status): count for status, count in sorted(self._statuses.items())}
        for what, value, limit in (
            ("bytes of memory", figures.peak_memory_bytes, MAX_MEMORY_BYTES),
            ("files in rejected/", figures.rejected_files, MAX_FILES),
            ("bytes in rejected/", figures.rejected_bytes, MAX_BYTES + 1024),
        ):
            if value > limit:
                self.violation(f"{value:,} {what}, more than {limit:,}")
        wait_until(lambda: not site.files("incoming") and not site.files("processing"), "all is processed")
        held = Counter(path.read_bytes() for state in _STATES for path in site.files(state))
        for missing in (Counter(self._stored) + Counter(self.authentic)) - held:
            self.violation(f"answered with 200, and not there: {missing[:100]!r}")
        for forged in held.keys() - set(self._stored) - set(self.authentic):
            self.violation(f"stored, and not the sender's: {forged[:100]!r}")
        self._read_log()

    def _read_log(self) -> None:
        log = self.service.log()
        lines = log.removesuffix("\n").split("\n")
        self.figures.log_lines, self.figures.log_bytes = len(lines), len(log)
        for line in lines:
            well_formed = line.startswith("timestamp=") and line.isprintable() and _LINE.fullmatch(line)
            if not well_formed or re.search(r" event=(defect|forged)", line) or "Traceback" in line:
                self.violation(f"log: {line[:3000]!a}")


def memory_bytes(process: int) -> int:
    """Return the memory of a process and its children, what they share counted once (PSS)."""
    total = 0
    for one in (process, *children_of(process)):
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
            total += 1024 * int(re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)[1])  # type: ignore[index]
    return total


def bad_bytes(abuse: Abuse) -> int:
    """Send each request of the table."""
    with ThreadPoolExecutor(4) as pool:
        for bad, status in zip(
            bad_requests.ALL, pool.map(lambda bad: abuse.send(bad.sent), bad_requests.ALL), strict=True
        ):
            abuse.expect(bad.name, status, bad.statuses)
    return len(bad_requests.ALL)


def odd_but_authentic(abuse: Abuse) -> int:
    """Send what looks hostile and yet is the sender's: it is stored."""
    known = bad_requests.authentic()
    for name, (sent, body) in known.items():
        abuse.authentic.append(body)
        abuse.expect(name, abuse.send(sent), frozenset({200}))
    return len(known)


def idle_connections(abuse: Abuse) -> int:
    """Hold thousands that say nothing, or only how they begin."""
    begun = head(b"{}")
    with abuse.crowd(abuse.amounts.idle, lambda number: begun[: number % 3 * 20]) as connections:
        time.sleep(abuse.amounts.hold_seconds / 4)
        return len(connections)


def slow_headers(abuse: Abuse) -> int:
    """Let headers of nearly 16 KiB drip in."""
    header = bad_requests.unsigned(b"", "X-Note: " + "a" * 15_000)[:-10]
    with abuse.crowd(abuse.amounts.holds, lambda _number: header) as connections:
        _drip(connections, abuse.amounts.hold_seconds)
        return len(connections)


def slow_bodies(abuse: Abuse) -> int:
    """Send bodies of 1 MiB but for their last bytes, which drip in."""
    body = b"a" * (bad_requests.MAX_BODY - 100)
    sent = bad_requests.unsigned(body)[: -len(body)].replace(b"1048476", b"1048576") + body
    with abuse.crowd(abuse.amounts.holds // 3, lambda _number: sent) as connections:
        _drip(connections, abuse.amounts.hold_seconds)
        return len(connections)


def middling_bodies(abuse: Abuse) -> int:
    """The same with many bodies of 64 KiB, in chunks."""
    body = b"10000\r\n" + b"a" * 65_536
    sent = head(b"", bad_requests.CHUNKED) + body
    with abuse.crowd(abuse.amounts.holds, lambda _number: sent) as connections:
        _drip(connections, abuse.amounts.hold_seconds / 4)
        return len(connections)


def _drip(connections: list[socket.socket], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.send(b"a")
        time.sleep(0.5)


def tiny_chunks(abuse: Abuse) -> int:
    """Send bodies of 1 MiB cut into chunks of one byte."""
    count = max(1, abuse.amounts.large // 25)
    sent = head(b"", bad_requests.CHUNKED) + b"1\r\na\r\n" * bad_requests.MAX_BODY + b"0\r\n\r\n"
    with ThreadPoolExecutor(4) as pool:
        for status in pool.map(abuse.send, [sent] * count):
            abuse.expect("tiny chunks", status, frozenset({400}))
    return count


def large_forgeries(abuse: Abuse) -> int:
    """Send whole bodies of 1 MiB with a signature that is worth keeping, many at once."""
    bodies = (bytes([number % 256]) * bad_requests.MAX_BODY for number in range(abuse.amounts.large))
    with ThreadPoolExecutor(32) as pool:
        for status in pool.map(lambda body: abuse.send(bad_requests.unsigned(body)), bodies):
            abuse.expect("a large forgery", status, frozenset({401, 503}))
    return abuse.amounts.large


def forgeries(abuse: Abuse) -> int:
    """Send forged notifications: one half is worth keeping, one of it by a real key, the other isn't."""
    makers = (
        bad_requests.unsigned,
        lambda body: bad_requests.unsigned(body, signature="QUJD"),
        bad_requests.of_another_key,
        lambda body: bad_requests.unsigned(body, signature="%"),
    )

    def forge(number: int) -> int:
        return abuse.send(makers[number % 4](make_body(number)))

    with ThreadPoolExecutor(4) as pool:
        for status in pool.map(forge, range(abuse.amounts.forged)):
            abuse.expect("a forgery", status, frozenset({401}))
    return abuse.amounts.forged


def resets(abuse: Abuse) -> int:
    """Break off in the middle, so that the kernel says so in the rudest way."""
    sent = head(bad_requests.BODY) + bad_requests.BODY
    for number in range(abuse.amounts.resets):
        with connect(abuse.service.address) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(sent[: number * 7 % len(sent)])
    return abuse.amounts.resets


ATTACKS: dict[str, Callable[[Abuse], int]] = {
    "bytes that are no valid request": bad_bytes,
    "odd and yet authentic": odd_but_authentic,
    "idle connections": idle_connections,
    "slow headers": slow_headers,
    "slow bodies of 1 MiB": slow_bodies,
    "slow bodies of 64 KiB": middling_bodies,
    "chunks of one byte": tiny_chunks,
    "forged bodies of 1 MiB": large_forgeries,
    "forged notifications": forgeries,
    "connections that are reset": resets,
}


def abuse_a_service(
    site: Site, amounts: Amounts, told: Callable[[str], None] = lambda _name: None
) -> Figures:
    """Start `spooler run` and abuse it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with running(site) as service:
        return Abuse(service, amounts).run(told)


def _print(figures: Figures, console: Console) -> None:
    table = Table("figure", "value", title="Abuse of the receiver")
    for name, value in asdict(figures).items():
        shown = f"{value:,}" if isinstance(value, int) else value
        if not isinstance(value, list):
            table.add_row(name, f"{value:.3f}" if isinstance(value, float) else str(shown))
    console.print(table)
    for violation in figures.violations:
        console.print(f"VIOLATION {violation}", markup=False)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, value in asdict(Amounts()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = vars(parser.parse_args())
    as_json = given.pop("json")
    console = Console(stderr=as_json)
    with tempfile.TemporaryDirectory() as folder, Progress(console=console) as progress:
        bar = progress.add_task("", total=len(ATTACKS))
        left = iter(range(len(ATTACKS)))
        site = make_site(Path(folder) / "site")
        figures = abuse_a_service(
            site, Amounts(**given), lambda name: progress.update(bar, description=name, completed=next(left))
        )
        progress.update(bar, completed=len(ATTACKS))
    if as_json:
        print(json.dumps(asdict(figures), indent=2))
    else:
        _print(figures, console)
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main())
