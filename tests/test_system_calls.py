"""The order of system calls from a notification's first byte on the disk to its 200, as the kernel sees it.

A file survives a power cut under its name only if it is synced before it gets that name, and the folder
after that; and 200 may be said only then. No test can pull the plug here, but the order can be watched.
"""

import ast
import fcntl
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import wait_until
from running_service import (
    PATIENCE_SECONDS,
    Address,
    Site,
    connect,
    head,
    make_body,
    make_site,
    post,
    read_all,
    running,
    status_of,
)

import spooler
from spooler.acceptors import _THREADS as ACCEPTORS
from spooler.durable import opened_folder

CALLS = "openat,close,write,fsync,fdatasync,rename,renameat,renameat2,link,linkat,sendto,sendmsg"
_LINE = re.compile(r"(?P<thread>\d+) +(?P<rest>.*)")
_WHOLE = re.compile(r"(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)(?: .*)?")
_UNFINISHED = re.compile(r"(?P<begun>\w+\(.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)")
_ARGUMENT = re.compile(r'\s*("(?:[^"\\]|\\.)*"(?:\.\.\.)?|[^",]+)(?:,|$)')


@dataclass(frozen=True)
class Call:
    """A system call that succeeded: between which lines of the trace it ran, and what it was given."""

    name: str
    arguments: tuple[str, ...]
    result: int
    begun: int
    ended: int

    def number(self, at: int) -> int:
        return int(self.arguments[at])

    def text(self, at: int) -> bytes:
        """Return a text's bytes (of long ones the beginning)."""
        literal = self.arguments[at].removesuffix("...")
        value = ast.literal_eval(f"b{literal}")
        assert isinstance(value, bytes)
        return value


def read_trace(lines: list[str]) -> list[Call]:
    """Return the successful calls of one process with all its threads, by when they began."""
    pending: dict[str, tuple[str, int]] = {}
    calls = []
    for at, line in enumerate(lines):
        found = _LINE.fullmatch(line)
        assert found, line
        thread, rest, begun = found["thread"], found["rest"], at
        if unfinished := _UNFINISHED.fullmatch(rest):
            pending[thread] = (unfinished["begun"], at)
            continue
        if resumed := _RESUMED.fullmatch(rest):
            beginning, begun = pending.pop(thread)
            rest = beginning + resumed["rest"]
        if (whole := _WHOLE.fullmatch(rest)) and int(whole["result"]) >= 0:
            arguments = tuple(match[1].strip() for match in _ARGUMENT.finditer(whole["arguments"]))
            calls.append(Call(whole["name"], arguments, int(whole["result"]), begun, at))
    return sorted(calls, key=lambda call: call.begun)


class Descriptors:
    """What each descriptor of a process stands for, at each moment of its trace."""

    def __init__(self, calls: list[Call]) -> None:
        self._changes: list[tuple[int, int, str]] = []
        for call in calls:
            if call.name == "openat":
                path = self.resolve(call.arguments[0], call.text(1), call.begun)
                self._changes.append((call.ended, call.result, path))
            elif call.name == "close":
                self._changes.append((call.begun, call.number(0), ""))

    def path(self, descriptor: int, at: int) -> str:
        """Return the path that was opened as a descriptor; empty if it wasn't seen, or was closed."""
        found = [(when, path) for when, number, path in self._changes if number == descriptor and when < at]
        return max(found)[1] if found else ""

    def resolve(self, folder: str, name: bytes, at: int) -> str:
        parent = "" if folder == "AT_FDCWD" else self.path(int(folder), at)
        return os.path.normpath(Path(parent) / os.fsdecode(name))


def find_faults(calls: list[Call], folder: Path, bodies: Sequence[bytes]) -> list[str]:
    """Return what is wrong with the way in which notifications got into the folder and were confirmed.

    bodies: of one size.
    """
    descriptors = Descriptors(calls)
    published = []
    for call in calls:
        if call.name.startswith(("rename", "link")):
            source, target = _names(call, descriptors)
            if Path(target).parent == folder and not Path(target).name.startswith("."):
                published.append((call, source))
    if len(published) != len(bodies):
        return [f"{len(published)} files got a visible name, and not {len(bodies)}"]
    of_files = [
        fault
        for visible, source in published
        for fault in _faults_of_file(calls, descriptors, source, visible, bodies[0])
    ]
    return [*of_files, *_faults_of_folder(calls, descriptors, folder, [visible for visible, _ in published])]


def _names(call: Call, descriptors: Descriptors) -> tuple[str, str]:
    if call.name in {"rename", "link"}:
        source, target = (("AT_FDCWD", call.text(at)) for at in (0, 1))
    else:
        source, target = ((call.arguments[at], call.text(at + 1)) for at in (0, 2))
    return descriptors.resolve(*source, call.begun), descriptors.resolve(*target, call.begun)


def _faults_of_file(
    calls: list[Call], descriptors: Descriptors, source: str, visible: Call, body: bytes
) -> Iterator[str]:
    on_file = [
        call
        for call in calls
        if call.name in {"write", "fsync", "fdatasync"}
        and descriptors.path(call.number(0), call.begun) == source
    ]
    writes = [call for call in on_file if call.name == "write"]
    syncs = [call for call in on_file if call.name != "write"]
    if sum(call.result for call in writes) != len(body):
        yield "the file doesn't hold the body"
    elif max(call.ended for call in writes) > visible.begun:
        yield "the file is written after it got its name"
    elif not any(max(w.ended for w in writes) < call.begun and call.ended < visible.begun for call in syncs):
        yield "the file isn't synced between the last write and its name"


def _faults_of_folder(
    calls: list[Call], descriptors: Descriptors, folder: Path, published: Sequence[Call]
) -> Iterator[str]:
    answers = [
        call
        for call in calls
        if call.name in {"sendto", "sendmsg"} and b"HTTP/1.1 200" in call.arguments[1].encode()
    ]
    syncs = folder_syncs(calls, descriptors, folder)
    # When each file was there to stay: at the end of the first sync of the folder that began after its name.
    stay_from = [
        min((sync.ended for sync in syncs if visible.ended < sync.begun), default=None)
        for visible in published
    ]
    if None in stay_from:
        yield "the folder isn't synced after the file got its name"
    if len(answers) != len(published):
        yield f"{len(answers)} answers of 200, and not {len(published)}"
        return
    for number, answer in enumerate(answers, 1):
        if sum(ended is not None and ended < answer.begun for ended in stay_from) < number:
            yield "200 is said before the folder is synced"
            return


def folder_syncs(calls: list[Call], descriptors: Descriptors, folder: Path) -> list[Call]:
    return [
        call
        for call in calls
        if call.name == "fsync" and descriptors.path(call.number(0), call.begun) == str(folder)
    ]


# The checker itself, with a trace that leaves nothing to chance

FOLDER = Path("/spool/crm/incoming")
GOOD = """\
11 openat(AT_FDCWD, "/spool/crm/incoming", O_RDONLY|O_DIRECTORY|O_CLOEXEC) = 5
11 openat(5, ".new-1", O_WRONLY|O_CREAT|O_EXCL, 0640) = 6
11 write(6, "{\\"Ty", 5) = 5
12 write(2, "a line of the log, ...", 22) = 22
11 write(6, "pe\\"}", 4 <unfinished ...>
12 openat(AT_FDCWD, "/etc/keys/crm.pem", O_RDONLY) = 7
11 <... write resumed>) = 4
11 fsync(6 <unfinished ...>
12 close(7) = 0
11 <... fsync resumed>) = 0
11 close(6) = 0
11 renameat2(5, ".new-1", 5, "1_a.json", RENAME_NOREPLACE) = 0
11 fsync(5) = 0
11 sendto(9, "HTTP/1.1 200 OK\\r\\nConnection: close"..., 148, 0, NULL, 0) = 148
11 close(5) = 0
""".splitlines()
UNSYNCED = "the file isn't synced between the last write and its name"
NO_FOLDER = "the folder isn't synced after the file got its name"
TOO_EARLY = "200 is said before the folder is synced"
SYNC_FILE, SYNC_FOLDER, RENAME, ANSWER = (
    ["11 fsync(6 <unfinished ...>", "11 <... fsync resumed>) = 0"],
    ["11 fsync(5) = 0"],
    [line for line in GOOD if "renameat2" in line],
    [line for line in GOOD if "sendto" in line],
)


def without(lines: list[str]) -> list[str]:
    return [line for line in GOOD if line not in lines]


def moved(lines: list[str], before: list[str]) -> list[str]:
    rest = without(lines)
    at = rest.index(before[0])
    return [*rest[:at], *lines, *rest[at:]]


def changed(old: str, new: str) -> list[str]:
    assert any(old in line for line in GOOD)
    return [line.replace(old, new) for line in GOOD]


FAULTY = {
    "no sync of the file": (without(SYNC_FILE), [UNSYNCED]),
    "a sync of the file that fails": (
        changed("<... fsync resumed>) = 0", "<... fsync resumed>) = -1 EIO (I/O error)"),
        [UNSYNCED],
    ),
    "a sync of another file": (changed("fsync(6", "fsync(7"), [UNSYNCED]),
    "a sync of what is closed already": (moved(["11 close(6) = 0"], SYNC_FILE), [UNSYNCED]),
    "a sync of the file after its name": (moved(RENAME, SYNC_FILE), [UNSYNCED]),
    "a sync of the file that ends after its name": (moved(RENAME, SYNC_FILE[1:]), [UNSYNCED]),
    "a sync of the file before the last write": (
        moved(SYNC_FILE, [line for line in GOOD if line.endswith("4 <unfinished ...>")]),
        [UNSYNCED],
    ),
    "no sync of the folder": (without(SYNC_FOLDER), [NO_FOLDER, TOO_EARLY]),
    "a sync of the folder before the name": (moved(SYNC_FOLDER, RENAME), [NO_FOLDER, TOO_EARLY]),
    "a sync of another folder": (
        changed('"/spool/crm/incoming"', '"/spool/crm"'),
        ["0 files got a visible name, and not 1"],
    ),
    "a sync of the folder that fails": (
        changed("fsync(5) = 0", "fsync(5) = -1 EIO (I/O error)"),
        [NO_FOLDER, TOO_EARLY],
    ),
    "an answer before the sync of the folder": (moved(ANSWER, SYNC_FOLDER), [TOO_EARLY]),
    "an answer before the name": (moved(ANSWER, RENAME), [TOO_EARLY]),
    "no answer": (without(ANSWER), ["0 answers of 200, and not 1"]),
    "two answers": (GOOD + ANSWER, ["2 answers of 200, and not 1"]),
    "another answer": (changed("HTTP/1.1 200", "HTTP/1.1 503"), ["0 answers of 200, and not 1"]),
    "a body that is cut short": (
        changed("resumed>) = 4", "resumed>) = 3"),
        ["the file doesn't hold the body"],
    ),
    "no name": (without(RENAME), ["0 files got a visible name, and not 1"]),
    "a name that is taken": (
        changed("RENAME_NOREPLACE) = 0", "RENAME_NOREPLACE) = -1 EEXIST (File exists)"),
        ["0 files got a visible name, and not 1"],
    ),
}


def test_a_trace_as_it_should_be_is_found_without_fault() -> None:
    assert find_faults(read_trace(GOOD), FOLDER, [b'{"Type"}\n']) == []


@pytest.mark.parametrize(("lines", "faults"), FAULTY.values(), ids=FAULTY)
def test_a_trace_with_a_fault_is_found_out(lines: list[str], faults: list[str]) -> None:
    assert find_faults(read_trace(lines), FOLDER, [b'{"Type"}\n']) == faults


# The receiver, and receivers that are broken on purpose

Replacements = list[tuple[str, str]]
MUTATIONS: dict[str, tuple[Replacements, list[str]]] = {
    "as it is": ([], []),
    "without the sync of the file": ([("        if sync:\n", "        if False:\n")], [UNSYNCED]),
    "without the sync of the folder": (
        [
            (
                "        os.fsync(folder)\n    except OSError as error:\n",
                "        pass\n    except OSError as error:\n",
            )
        ],
        [NO_FOLDER, TOO_EARLY],
    ),
    "renaming before the sync of the file": (
        [
            (
                "    _write(folder, files, sync=True)\n",
                "    _write(folder, files, sync=False)\n",
            ),
            (
                "        os.fsync(folder)\n    except OSError as error:\n",
                "        late = os.open(synced[0].name, os.O_RDONLY, dir_fd=folder)\n        os.fsync(late)\n"
                "        os.close(late)\n        os.fsync(folder)\n    except OSError as error:\n",
            ),
        ],
        [UNSYNCED],
    ),
}


TOGETHER = {name: (replacements, set(faults)) for name, (replacements, faults) in MUTATIONS.items()}


def mutate(root: Path, replacements: Replacements) -> Path:
    """Make a copy of the package with parts of `durable.py` replaced; return the folder that it is in."""
    package = Path(spooler.__file__).parent
    copy = shutil.copytree(package, root / package.name)
    source = copy / "durable.py"
    text = source.read_text()
    for old, new in replacements:
        assert text.count(old) == 1, f"durable.py has changed: mend this test ({old!r})"
        text = text.replace(old, new)
    source.write_text(text)
    return root


def trace(
    root: Path, replacements: Replacements, post_all: Callable[[Site, Address], None]
) -> tuple[list[Call], Path]:
    """Return the calls of a receiver that stores and confirms notifications, and into which folder."""
    site = make_site(root / "site", receiver="workers = 1")
    output = root / "trace"
    wrapper = ["strace", "-f", "-qq", "-s", "64", "-o", str(output), "-e", f"trace={CALLS}"]
    environment = {"PYTHONPATH": str(mutate(root / "package", replacements))}
    with running(site, "receive", wrapper=wrapper, environment=environment) as service:
        (master,) = service.children()
        post_all(site, service.address)
        os.kill(master, signal.SIGTERM)
        assert service.process.wait(PATIENCE_SECONDS) == 0
    # The only other process is the worker, whose threads share their descriptors.
    lines = [line for line in output.read_text().splitlines() if not line.startswith(f"{master} ")]
    return read_trace(lines), site.folder("incoming")


def skip_without_strace() -> None:
    try:
        tried = subprocess.run(
            ["strace", "-f", "-qq", "-e", "trace=none", "true"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("strace isn't installed")
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")


@pytest.mark.parametrize(("replacements", "faults"), MUTATIONS.values(), ids=MUTATIONS)
def test_200_is_said_when_file_and_folder_are_synced_and_a_broken_receiver_is_found_out(
    tmp_path: Path, replacements: Replacements, faults: list[str]
) -> None:
    skip_without_strace()
    body = make_body(size=9000)

    def post_it(_site: Site, address: Address) -> None:
        assert post(address, body).status == 200

    calls, folder = trace(tmp_path, replacements, post_it)
    assert find_faults(calls, folder, [body]) == faults


@pytest.mark.parametrize("size", [1000, 5000], ids=["plain", "longer than is read at once"])
@pytest.mark.parametrize(("replacements", "faults"), TOGETHER.values(), ids=TOGETHER)
def test_those_that_wait_together_are_synced_together_and_none_is_confirmed_too_early(
    tmp_path: Path, replacements: Replacements, faults: set[str], size: int
) -> None:
    skip_without_strace()
    bodies = [make_body(size=size) for _ in range(12)]

    requests = [head(body) + body for body in bodies]

    def post_them(site: Site, address: Address) -> None:
        with ExitStack() as stack:
            sent = []
            with opened_folder(site.folder("incoming")) as incoming:
                fcntl.flock(incoming, fcntl.LOCK_EX)  # nobody gets a name meanwhile
                for request in requests:
                    sent.append(stack.enter_context(connect(address)))
                    sent[-1].sendall(request)
                    if len(sent) <= ACCEPTORS:  # the others wait in the kernel, with all that they say
                        wait_until(lambda: len([*site.folder("incoming").iterdir()]) == len(sent))
            assert [status_of(read_all(one)) for one in sent] == [200] * len(bodies)

    calls, folder = trace(tmp_path, replacements, post_them)
    assert set(find_faults(calls, folder, bodies)) == faults
    if size < 4096 and not faults:  # longer ones may go the long way, each by itself
        assert len(folder_syncs(calls, Descriptors(calls), folder)) <= 2 * len(bodies) // 3
