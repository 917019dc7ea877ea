"""Installation: what `spooler install` puts onto a machine with systemd, and what `uninstall` takes away.

Owns: where everything stands on such a machine, the order of the steps, and the words for each.
Promises: every step is told in a line, before anything else happens. What is there already is kept, so that
a second time changes nothing. Neither the spool, nor the configuration, nor a unit's drop-ins are touched.
Does not promise: to be undone where it fails half-way; it is run again instead.
"""

import grp
import json
import os
import pwd
import re
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

from spooler import __version__, check, config, scaffold, site, systemctl
from spooler.check import Verdict
from spooler.errors import ConfigurationError, SpoolerError
from spooler.owner import EXECUTE, User
from spooler.site import SPOOL, USER, check_path, is_reachable

_UNIT_FOLDER = Path("/etc/systemd/system")
_SOCKET = "spooler-receiver.socket"
_SERVICES = ("spooler-receiver.service", "spooler-processor.service")
_TIMER = "spooler-prune.timer"
UNITS = (_SOCKET, *_SERVICES, "spooler-prune.service", _TIMER)
_ENABLED = (_SOCKET, *_SERVICES, _TIMER)
_USERS_FILE = Path("/etc/sysusers.d/spooler.conf")
_FOLDERS_FILE = Path("/etc/tmpfiles.d/spooler.conf")
_COMMAND = Path("/usr/local/bin/spooler")
_OLDEST_PYTHON = (3, 11)
_UMASK = 0o022  # the services' user reads what root writes here
_SETTINGS_MODE = 0o640


class Installer:
    """Makes the steps, or only tells them. `say` is called with each line."""

    def __init__(self, prefix: Path, say: Callable[[str], None], *, dry_run: bool) -> None:
        self._prefix = prefix.absolute()
        self._say = say
        self._dry_run = dry_run

    def install(self) -> None:
        """Install, or bring up to date. Raises: SpoolerError."""
        self._check_machine()
        check_path(self._prefix, "--prefix")
        try:
            found = site.find(self._prefix)
        except PermissionError as error:
            raise SpoolerError(f"{error.filename}: can't be read: ask as root") from None
        os.umask(_UMASK)
        self._put_program()
        self._link_command()
        self._put(_USERS_FILE, found.fill(_shipped("spooler.sysusers.conf")))
        self._run("systemd-sysusers", str(_USERS_FILE))
        self._put(_FOLDERS_FILE, found.fill(_shipped("spooler.tmpfiles.conf")))
        self._run("systemd-tmpfiles", "--create", str(_FOLDERS_FILE))
        self._put_configuration()
        # Asked before systemd reads the new unit, while it still tells what is open. A socket that needn't be
        # closed isn't: whoever connected meanwhile would be refused.
        listens = systemctl.is_running() and systemctl.listens(_SOCKET, found.address)
        units = {_UNIT_FOLDER / unit: found.fill(_shipped(unit)) for unit in UNITS}
        if systemctl.is_running():
            self._check_restart(changes=not listens or not all(_holds(*unit) for unit in units.items()))
        for path, content in units.items():
            self._put(path, content)
        self._start(listens=listens)

    def uninstall(self) -> None:
        """Stop and remove what `install` has put there. Raises: SpoolerError."""
        self._check_machine()
        there = [unit for unit in UNITS if (_UNIT_FOLDER / unit).exists()]
        if there:
            # The socket first, or the next request would start the receiver again.
            now = ("--now",) if systemctl.is_running() else ()
            self._run("systemctl", "disable", *now, *[unit for unit in _ENABLED if unit in there])
        prefix = _installed_prefix() or self._prefix
        mine = [_COMMAND] if _COMMAND.is_symlink() and _COMMAND.readlink().is_relative_to(prefix) else []
        for path in (*(_UNIT_FOLDER / unit for unit in there), _USERS_FILE, _FOLDERS_FILE, *mine):
            if path.is_symlink() or path.exists():
                self._do("remove", str(path), path.unlink)
        if there and systemctl.is_running():
            self._run("systemctl", "daemon-reload")
        self._keep(f"{config.SYSTEM_FILE.parent}, the spool, and the user {USER}, who owns it")
        self._keep(f"the program; remove it with: rm -r {prefix}")

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
        if _holds(path, content):
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
            if not is_reachable(Path(sys.base_prefix)):
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

    def _link_command(self) -> None:
        """Let `spooler` be found at the shell, unless something of that name is there."""
        program = self._prefix / "bin" / "spooler"
        is_old = _COMMAND.is_symlink() and _COMMAND.readlink() != program
        try:
            if is_old:
                self._do("remove", str(_COMMAND), _COMMAND.unlink)
            if is_old or not (_COMMAND.is_symlink() or _COMMAND.exists()):
                self._do("link", f"{_COMMAND} to {program}", lambda: _COMMAND.symlink_to(program))
            else:
                self._keep(str(_COMMAND))
        except SpoolerError as error:  # a convenience, no reason to stop half-way
            self._say(f"{error}; call {program}")

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

    def _check_restart(self, *, changes: bool) -> None:
        """Refuse to put what doesn't start in the place of what works. Raises: SpoolerError.

        changes: of the units, which may restart everything, or take the open port from the socket.
        """
        running = {unit: since for unit in _SERVICES if (since := systemctl.active_since(unit)) is not None}
        old = any(since < _changed_at(unit, self._prefix) for unit, since in running.items())
        if running and (changes or old) and (problem := _problem(self._prefix)):
            raise SpoolerError(f"{problem}; what runs is left as it is: mend that, and install again")

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
        self._run("systemctl", "start", _TIMER)
        problem = _problem(self._prefix)
        failed = [unit for unit in _SERVICES if not self._start_service(unit, wait=not problem)]
        if problem:
            self._say(f"not ready yet: {problem}")
            self._say("the services start by themselves, seconds after that is put right")
        elif failed:
            raise SpoolerError(f"{failed[0]} doesn't start: {systemctl.last_words(failed[0])}")

    def _start_service(self, unit: str, *, wait: bool) -> bool:
        """Start a service, or restart it if need be; say whether that worked.

        wait: until it is ready. One that can't be yet tries again by itself; nobody has to wait for that.
        """
        started = systemctl.active_since(unit)
        if started is not None and started >= _changed_at(unit, self._prefix):
            self._keep(f"{unit}, which runs")
            return True
        verb = "start" if started is None else "restart"
        try:
            self._run("systemctl", verb, *(() if wait else ("--no-block",)), unit)
        except SpoolerError:
            self._say(f"failed to {verb} {unit}")
            return False
        return True


_PAST = {"write": "wrote", "run": "ran", "remove": "removed", "link": "linked"}


def _holds(path: Path, content: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == content


def _installed_prefix() -> Path | None:
    """Return where the program is that the units run; None if there are none."""
    unit = _UNIT_FOLDER / _SERVICES[0]
    found = re.search(
        r"^ExecStart=(\S+)/bin/spooler ", unit.read_text() if unit.exists() else "", re.MULTILINE
    )
    return Path(found[1]) if found else None


def _problem(prefix: Path) -> str:
    """Say why the services can't work yet; empty if nothing is known against it."""
    try:
        configuration = config.load(config.SYSTEM_FILE)
        program = prefix / "bin" / "spooler"
        barrier = User.of(pwd.getpwnam(USER).pw_uid).barrier(program, EXECUTE)
        # What answers at the port is the one before.
        wrong = [
            finding
            for finding in check.examine(configuration)
            if finding.verdict is Verdict.WRONG and finding.subject != check.RECEIVER
        ]
    except (ConfigurationError, OSError, KeyError) as error:
        return str(error)
    if barrier:
        return f"{USER} can't run {program}, because of {barrier} (chmod a+rX)"
    return f"{wrong[0].subject}: {wrong[0].text}" if wrong else ""


def _shipped(name: str) -> str:
    return files("spooler").joinpath("systemd", name).read_text(encoding="utf-8")


def _requirement() -> str:
    """Return what pip calls the spooler that runs now: where it was installed from, or its version."""
    told = distribution("spooler").read_text("direct_url.json")
    if not told:
        return f"spooler=={__version__}"
    place = json.loads(told)
    if version := place.get("vcs_info"):
        url = f"{version['vcs']}+{place['url']}@{version['commit_id']}"
    else:
        url = place["url"]
    folder = f"#subdirectory={place['subdirectory']}" if place.get("subdirectory") else ""
    return f"spooler @ {url}{folder}"


def _system_python() -> str:
    """Return a Python that services can run. Raises: SpoolerError."""
    for candidate in (Path(sys.base_prefix) / "bin" / "python3", Path("/usr/bin/python3")):
        if candidate.exists() and is_reachable(candidate):
            version = systemctl.call([str(candidate), "-c", "import sys; print(*sys.version_info[:2])"])
            if tuple(map(int, version.split())) >= _OLDEST_PYTHON:
                return str(candidate)
    raise SpoolerError("services can't reach this Python, and /usr/bin/python3 isn't 3.11 or later")


def _changed_at(unit: str, prefix: Path) -> float:
    """Return when what a service runs by was changed last: its unit, the configuration, the program."""
    program = prefix.glob("lib/python3*/site-packages/spooler-*.dist-info/RECORD")
    looked_at = [_UNIT_FOLDER / unit, config.SYSTEM_FILE, *program]
    return max(path.stat().st_mtime for path in looked_at if path.exists())
