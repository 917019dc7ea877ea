"""Installation: what `spooler install` puts onto a machine with systemd, and what `uninstall` takes away.

Owns: where everything stands on such a machine, the order of the steps, and the words for each.
Promises: every step is told in a line, before anything else happens. What is there already is kept, so that
a second time changes nothing. Neither the spool, nor the configuration, nor a unit's drop-ins are touched.
Does not promise: to be undone where it fails half-way; it is run again instead.
"""

import grp
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

from spooler import __version__, config, scaffold, systemctl
from spooler.address import Address
from spooler.errors import ConfigurationError, SpoolerError

PREFIX = Path("/opt/spooler")
SPOOL = Path("/var/spool/spooler")
USER = "spooler"
_UNIT_FOLDER = Path("/etc/systemd/system")
_SOCKET = "spooler-receiver.socket"
_SERVICES = ("spooler-receiver.service", "spooler-processor.service")
_TIMER = "spooler-prune.timer"
UNITS = (_SOCKET, *_SERVICES, "spooler-prune.service", _TIMER)
_ENABLED = (_SOCKET, *_SERVICES, _TIMER)
_USERS_FILE = Path("/etc/sysusers.d/spooler.conf")
_FOLDERS_FILE = Path("/etc/tmpfiles.d/spooler.conf")
# What the units' sandbox hides from the services.
_PROTECTED = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev")))  # noqa: S108
_DEFAULT_LISTEN = "127.0.0.1:8080"
_OLDEST_PYTHON = (3, 11)
_UMASK = 0o022  # the services' user reads what root writes here
_SETTINGS_MODE = 0o640


@dataclass(frozen=True, slots=True)
class _Site:
    """What the units are made for."""

    prefix: Path
    spool: Path
    listen: Address

    @property
    def address(self) -> str:
        """Where to listen, as systemd writes it."""
        return self.listen.unix_path or str(self.listen)

    def fill(self, template: str) -> str:
        """Return a shipped file with this site's paths and address in the places of the usual ones."""
        for usual, ours in ((PREFIX, self.prefix), (SPOOL, self.spool), (_DEFAULT_LISTEN, self.address)):
            template = template.replace(str(usual), str(ours))
        return template


class Installer:
    """Makes the steps, or only tells them. `say` is called with each line."""

    def __init__(self, prefix: Path, say: Callable[[str], None], *, dry_run: bool) -> None:
        self._prefix = prefix.absolute()
        self._say = say
        self._dry_run = dry_run

    def install(self) -> None:
        """Install, or bring up to date. Raises: SpoolerError."""
        self._check_machine()
        _check_path(self._prefix, "--prefix")
        site = _site(self._prefix)
        os.umask(_UMASK)
        self._put_program()
        self._put(_USERS_FILE, site.fill(_shipped("spooler.sysusers.conf")))
        self._run("systemd-sysusers", str(_USERS_FILE))
        self._put(_FOLDERS_FILE, site.fill(_shipped("spooler.tmpfiles.conf")))
        self._run("systemd-tmpfiles", "--create", str(_FOLDERS_FILE))
        self._put_configuration()
        # Asked before systemd reads the new unit, while it still tells what is open. A socket that needn't be
        # closed isn't: whoever connected meanwhile would be refused.
        listens = systemctl.is_running() and systemctl.listens(_SOCKET, site.address)
        for unit in UNITS:
            self._put(_UNIT_FOLDER / unit, site.fill(_shipped(unit)))
        self._start(listens=listens)

    def uninstall(self) -> None:
        """Stop and remove what `install` has put there. Raises: SpoolerError."""
        self._check_machine()
        there = [unit for unit in UNITS if (_UNIT_FOLDER / unit).exists()]
        if there:
            # The socket first, or the next request would start the receiver again.
            now = ("--now",) if systemctl.is_running() else ()
            self._run("systemctl", "disable", *now, *[unit for unit in _ENABLED if unit in there])
        for path in (*(_UNIT_FOLDER / unit for unit in there), _USERS_FILE, _FOLDERS_FILE):
            if path.exists():
                self._do("remove", str(path), path.unlink)
        if there and systemctl.is_running():
            self._run("systemctl", "daemon-reload")
        self._keep(f"{config.SYSTEM_FILE.parent}, the spool, and the user {USER}, who owns it")
        self._keep(f"the program; remove it with: rm -r {self._prefix}")

    def _check_machine(self) -> None:
        if not shutil.which("systemctl"):
            raise SpoolerError(
                "there is no systemd here (no systemctl): use `spooler run` with what there is"
            )
        if os.geteuid() != 0 and not self._dry_run:
            raise SpoolerError("only root may do this: use sudo, or --dry-run to see what would be done")

    # What a step is: its line, and what it does unless nothing is to be done.

    def _do(self, verb: str, what: str, action: Callable[[], object]) -> None:
        """Make a step and tell it. Raises: SpoolerError."""
        if self._dry_run:
            self._say(f"would {verb} {what}")
            return
        try:
            action()
        except OSError as error:
            raise SpoolerError(f"can't {verb} {what}: {error.strerror}") from None
        self._say(f"{_PAST[verb]} {what}")

    def _keep(self, what: str) -> None:
        self._say(f"kept {what}")

    def _run(self, *command: str) -> None:
        self._do("run", " ".join(command), lambda: systemctl.call(command))

    def _put(self, path: Path, content: str, mode: int = 0o644) -> None:
        if path.exists() and path.read_text(encoding="utf-8") == content:
            self._keep(str(path))
            return

        def write() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            path.chmod(mode)

        self._do("write", str(path), write)

    # The steps.

    def _put_program(self) -> None:
        """Make the units' Python environment, unless this is the one that we run in."""
        if self._prefix.resolve() == Path(sys.prefix).resolve():
            if not _is_reachable(Path(sys.base_prefix)):
                raise SpoolerError(
                    f"{self._prefix}: services can't reach its Python, {sys.base_prefix}; "
                    f"remove it, and make it anew: {_system_python()} -m venv {self._prefix}"
                )
            self._keep(f"{self._prefix} (spooler {__version__}, which runs now)")
            return
        python = str(self._prefix / "bin" / "python3")
        if not Path(python).exists():
            self._run(_system_python(), "-m", "venv", str(self._prefix))
        self._run(python, "-m", "pip", "install", "--quiet", "--upgrade", _requirement())

    def _put_configuration(self) -> None:
        path = config.SYSTEM_FILE
        if path.exists():
            self._keep(str(path))
            return

        def write() -> None:
            scaffold.write(path.parent, spool=SPOOL)
            path.chmod(_SETTINGS_MODE)
            os.chown(path, 0, grp.getgrnam(USER).gr_gid)

        self._do("write", f"{path} and an example script", write)

    def _start(self, *, listens: bool) -> None:
        """Enable all, start what doesn't run, and restart what is older than its program or settings.

        listens: the socket is open already, where it should be.
        """
        self._run(
            "systemctl", *(() if systemctl.is_running() else ("--root=/",)), "enable", "--quiet", *_ENABLED
        )
        if not systemctl.is_running():
            self._say("systemd doesn't run here: the services start with the machine")
            return
        self._run("systemctl", "daemon-reload")
        if listens:
            self._keep(f"{_SOCKET}, which listens")
        else:
            self._run("systemctl", "restart", _SOCKET)
        problem = _problem()
        # A service that can't start yet tries again by itself; nobody has to wait for that.
        wait = ("--no-block",) if problem else ()
        for unit in _SERVICES:
            if (started := systemctl.active_since(unit)) is None:
                self._run("systemctl", "start", *wait, unit)
            elif started < _changed_at(unit, self._prefix):
                self._run("systemctl", "restart", *wait, unit)
            else:
                self._keep(f"{unit}, which runs")
        self._run("systemctl", "start", _TIMER)
        if problem:
            self._say(f"not ready yet: {problem}")
            self._say("the services start by themselves, seconds after that is put right")


_PAST = {"write": "wrote", "run": "ran", "remove": "removed"}


def _site(prefix: Path) -> _Site:
    """Return what the units are made for, as the configuration says; what it leaves open is as usual."""
    path = config.SYSTEM_FILE
    spool, listen = SPOOL, Address.parse(_DEFAULT_LISTEN)
    try:
        configuration = config.load(path)
    except ConfigurationError:
        # Most likely the key isn't there yet. What the units need of it can be read all the same.
        if path.exists():
            try:
                document = tomllib.loads(path.read_text(encoding="utf-8"))
                spool = path.parent / document.get("spool", SPOOL)
                listen = Address.parse(document.get("receiver", {}).get("listen", _DEFAULT_LISTEN))
            except (OSError, ValueError, TypeError, AttributeError):
                raise ConfigurationError(f"{path}: can't be used; `spooler check` says why") from None
    else:
        spool, listen = configuration.spool, configuration.receiver.listen
    _check_path(spool, f"{path}: spool")
    return _Site(prefix, spool, listen)


def _check_path(path: Path, what: str) -> None:
    """Refuse a path that the services couldn't reach, or that a unit can't hold. Raises: SpoolerError."""
    if any(character.isspace() or character in "%\"'\\$" for character in str(path)):
        raise SpoolerError(f"{what}: {path} holds a blank, quote, %, $ or \\; name a plainer path")
    if not _is_reachable(path):
        raise SpoolerError(f"{what}: services can't reach {path}; name one outside of home folders and /tmp")


def _is_reachable(path: Path) -> bool:
    return not any(path.resolve().is_relative_to(place) for place in _PROTECTED)


def _problem() -> str:
    """Say why the configuration can't be used yet; empty if it can."""
    try:
        config.load(config.SYSTEM_FILE)
    except ConfigurationError as error:
        return str(error)
    return ""


def _shipped(name: str) -> str:
    return files("spooler").joinpath("systemd", name).read_text(encoding="utf-8")


def _requirement() -> str:
    """Return what pip calls the spooler that runs now: where it was installed from, or its version."""
    told = distribution("spooler").read_text("direct_url.json")
    if not told:
        return f"spooler=={__version__}"
    url = str(json.loads(told)["url"])
    return f"spooler @ {url}"


def _system_python() -> str:
    """Return a Python that services can run. Raises: SpoolerError."""
    for candidate in (Path(sys.base_prefix) / "bin" / "python3", Path("/usr/bin/python3")):
        if candidate.exists() and _is_reachable(candidate):
            version = systemctl.call([str(candidate), "-c", "import sys; print(*sys.version_info[:2])"])
            if tuple(map(int, version.split())) >= _OLDEST_PYTHON:
                return str(candidate)
    raise SpoolerError("services can't reach this Python, and /usr/bin/python3 isn't 3.11 or later")


def _changed_at(unit: str, prefix: Path) -> float:
    """Return when what a service runs by was changed last: its unit, the configuration, the program."""
    program = prefix.glob("lib/python3*/site-packages/spooler-*.dist-info/RECORD")
    looked_at = [_UNIT_FOLDER / unit, config.SYSTEM_FILE, *program]
    return max(path.stat().st_mtime for path in looked_at if path.exists())
