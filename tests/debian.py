"""A Debian machine with a real systemd, in a container, for the tests of what is installed there.

Owns: the tree that it boots from (made once, kept in a temporary folder), the wheel that is installed there,
and the machine's life.
Promises: every process is ended and every mount undone when a `with` is left.
Needs root, systemd-nspawn and debootstrap, the project's source, a Debian mirror and a package index.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from running_service import PATIENCE_SECONDS, wait_until

ROOT = Path(__file__).parent.parent
_CACHE = Path(tempfile.gettempdir()) / "spooler-tests-debian"
_OWN = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]  # another checkout builds another wheel
_PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def why_not() -> str:
    """Say what is missing for such a machine; empty if nothing is."""
    if os.geteuid() != 0:
        return "needs root, for a container"
    for program in ("systemd-nspawn", "debootstrap", "nsenter"):
        if not shutil.which(program):
            return f"needs {program}"
    return "" if (ROOT / "setup.cfg").exists() else "needs the project's source, to build its wheel"


class Machine:
    """A booted machine; `folder` is its file system, to look into and to write to."""

    def __init__(self, folder: Path, log_file: Path) -> None:
        self.folder = folder
        self._log_file = log_file
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def boot(self) -> None:
        """Start it and wait until systemd has started everything."""
        options = ["--quiet", "--boot", "--register=no", "--keep-unit", "--private-network"]
        # What the receiver gives up, it gives up by these, as on a machine of its own.
        calls = ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
        options.append(f"--system-call-filter={' '.join(calls)}")
        with self._log_file.open("ab") as log:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", *options, "-D", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._is_up, f"the container starts: {self._log_file}")

    def _is_up(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, self._log_file.read_text()
        # The first child that nspawn has isn't yet the one that stays.
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        self._leader = int(children[0]) if children else 0
        state = self.call("systemctl", "is-system-running").stdout.strip() if children else ""
        return state in {"running", "degraded"}

    def power_off(self) -> None:
        """End it in order."""
        self.call("systemctl", "poweroff")
        assert self._nspawn is not None
        self._nspawn.wait(PATIENCE_SECONDS)
        self._nspawn = None

    def cut_power(self) -> None:
        """End it at once."""
        if self._nspawn is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)
            self._nspawn.wait(PATIENCE_SECONDS)
            self._nspawn = None

    def call(self, *command: str, timeout: float = 120.0) -> "subprocess.CompletedProcess[str]":
        """Run a command inside, as root."""
        return subprocess.run(
            ["nsenter", "-t", str(self._leader), "-a", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={"PATH": _PATH, "TERM": "dumb", "LANG": "C.UTF-8"},
            check=False,
        )

    def run(self, *command: str) -> str:
        """Run a command inside that has to succeed, and return what it printed."""
        ended = self.call(*command)
        assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
        return ended.stdout

    def proc(self, path: str) -> Path:
        """Return a path below `/proc/<first process>`, for instance `root`: the file system as it sees it."""
        return Path(f"/proc/{self._leader}") / path

    def property(self, unit: str, name: str) -> str:
        """Return what systemd knows of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit: str) -> str:
        """Return what a unit has logged, over all boots that are kept."""
        return self.run("journalctl", "--no-pager", "--output=cat", "--unit", unit)

    @contextmanager
    def network(self) -> Iterator[None]:
        """Let this thread, and those that it starts meanwhile, connect as if they were on the machine."""
        with (
            Path("/proc/thread-self/ns/net").open() as own,
            Path(f"/proc/{self._leader}/ns/net").open() as its,
        ):
            _enter_network(its.fileno())
            try:
                yield
            finally:
                _enter_network(own.fileno())


def _enter_network(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """Boot a machine on which the wheel is installed in `/opt/spooler`, and nothing else was done."""
    base, program = _base_tree(), _program_layer()
    for name in ("root", "changes", "work"):
        (folder / name).mkdir(parents=True)
    layers = f"lowerdir={program}:{base},upperdir={folder / 'changes'},workdir={folder / 'work'}"
    _call("mount", "-t", "overlay", "spooler-test", "-o", layers, str(folder / "root"))
    booted = Machine(folder / "root", folder / "boot.log")
    try:
        (booted.folder / "var" / "log" / "journal").mkdir(exist_ok=True)
        booted.boot()
        yield booted
    finally:
        booted.cut_power()
        _call("umount", str(folder / "root"))


def _base_tree() -> Path:
    """Return a minimal Debian, made if it isn't there yet."""

    def make(folder: Path) -> None:
        _call("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(folder))
        (folder / "etc" / "hostname").write_text("spooler-test\n")

    return _cached("bookworm", make)


def _program_layer() -> Path:
    """Return what installing the wheel adds to that; of the last build only."""
    wheels = _cached(f"wheels.{_OWN}-{_fingerprint()}", _build)

    def make(folder: Path) -> None:
        root, work = folder.parent / f"{folder.name}-root", folder.parent / f"{folder.name}-work"
        for made in (root, work):
            made.mkdir()
        layers = f"lowerdir={_base_tree()},upperdir={folder},workdir={work}"
        _call("mount", "-t", "overlay", "spooler-test", "-o", layers, str(root))
        try:
            shutil.copytree(wheels, root / "wheels")
            _call("chroot", str(root), "python3", "-m", "venv", "/opt/spooler")
            pip = ["/opt/spooler/bin/pip", "install", "--quiet", "--no-index", "--find-links", "/wheels"]
            _call("chroot", str(root), *pip, "spooler")
        finally:
            _call("umount", str(root))
            shutil.rmtree(root)
            shutil.rmtree(work)

    return _cached(f"program.{_OWN}-{_fingerprint()}", make)


def _build(folder: Path) -> None:
    source = folder.parent / f"{folder.name}-source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info"))
    try:
        _call(sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), str(source))
    finally:
        shutil.rmtree(source)


def _fingerprint() -> str:
    """Return something that changes with the source."""
    newest = max(
        path.stat().st_mtime_ns for part in ("spooler", "systemd") for path in (ROOT / part).rglob("*")
    )
    return f"{max(newest, (ROOT / 'setup.cfg').stat().st_mtime_ns):x}"


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder in the cache, made by one of the test processes while the others wait."""
    _CACHE.mkdir(mode=0o700, exist_ok=True)
    assert _CACHE.stat().st_uid == 0, f"{_CACHE} belongs to somebody else"
    place, unfinished = _CACHE / name, _CACHE / f"{name}-unfinished"
    with (_CACHE / f"{name.partition('-')[0]}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            for old in _CACHE.glob(f"{name.partition('-')[0]}-*"):
                shutil.rmtree(old)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(place)
    return place


def _call(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, (command, ended.stdout[-2000:], ended.stderr[-2000:])
