"""The site: where on a machine the services' program, spool and port are, and whether they can be there.

Owns: what the units have to be told of a machine, and which places services can't use.
Promises: nothing is made or changed. What can't work is refused before anything is installed.
"""

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path

from spooler import config, systemctl
from spooler.address import Address
from spooler.errors import ConfigurationError, SpoolerError
from spooler.state import State

PREFIX = Path("/opt/spooler")
SPOOL = Path("/var/spool/spooler")
USER = "spooler"
_MOUNTS = "var.mount var-spool.mount var-spool-spooler.mount"
_DEFAULT_LISTEN = "127.0.0.1:8080"
# What the units' sandbox hides from the services.
_PROTECTED = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev")))  # noqa: S108


@dataclass(frozen=True, slots=True)
class Site:
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
        mounts = " ".join(systemctl.mount_units(self.spool.resolve()))
        for usual, ours in (
            (PREFIX, self.prefix),
            (SPOOL, self.spool),
            (_DEFAULT_LISTEN, self.address),
            (_MOUNTS, mounts),
        ):
            template = template.replace(str(usual), str(ours))
        return template


def find(prefix: Path) -> Site:
    """Return what the units are made for, as the configuration says; what it leaves open is as usual."""
    path = config.SYSTEM_FILE
    spool, listen = SPOOL, Address.parse(_DEFAULT_LISTEN)
    try:
        configuration = config.load(path)
    except ConfigurationError as error:
        # Most likely the key isn't there yet. What the units need of it can be read all the same.
        if path.exists():
            try:
                document = tomllib.loads(path.read_text(encoding="utf-8"))
                spool = path.parent / document.get("spool", SPOOL)
                listen = Address.parse(document.get("receiver", {}).get("listen", _DEFAULT_LISTEN))
            except (OSError, ValueError, TypeError, AttributeError):
                raise error from None
    else:
        spool, listen = configuration.spool, configuration.receiver.listen
        for webhook in configuration.webhooks.values():
            check_reachable(webhook.processors, f"{path}: processors")
            for key in webhook.public_keys:
                check_reachable(key, f"{path}: webhook.{webhook.name}.public_keys")
    check_path(spool, f"{path}: spool")
    _check_spool(spool, f"{path}: spool")
    return Site(prefix, spool, _numeric(listen, f"{path}: receiver.listen"))


def _numeric(listen: Address, what: str) -> Address:
    """Return an address that a socket unit can hold, which knows no names. Raises: SpoolerError."""
    host = "127.0.0.1" if listen.host == "localhost" else listen.host
    if host:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise SpoolerError(f"{what}: {host} is a name; write an IP address (systemd listens)") from None
    return Address(listen.unix_path, host, listen.port)


def _check_spool(spool: Path, what: str) -> None:
    """Refuse a folder that is somebody else's: it would be taken from them. Raises: SpoolerError."""
    if not spool.is_dir():
        return
    try:
        ours = spool.owner() == USER
    except KeyError:  # brought back from another machine: what it holds tells
        ours = False
    try:
        strangers = [] if ours else [path for path in spool.iterdir() if not _is_of_a_spool(path)]
    except PermissionError:
        strangers = [spool]
    if strangers:
        raise SpoolerError(
            f"{what}: {spool} isn't {USER}'s, and holds {strangers[0].name}; name a folder for it"
        )


def _is_of_a_spool(path: Path) -> bool:
    return path.name.startswith(".") or path.name == "lost+found" or (path / State.INCOMING).is_dir()


def check_path(path: Path, what: str) -> None:
    """Refuse a path that the services couldn't reach, or that a unit can't hold. Raises: SpoolerError."""
    if any(character.isspace() or character in "%\"'\\$" for character in str(path)):
        raise SpoolerError(f"{what}: {path} holds a blank, quote, %, $ or \\; name a plainer path")
    check_reachable(path, what)


def check_reachable(path: Path, what: str) -> None:
    """Refuse a path that the services couldn't reach. Raises: SpoolerError."""
    if not is_reachable(path):
        raise SpoolerError(f"{what}: services can't reach {path}; name one outside of home folders and /tmp")


def is_reachable(path: Path) -> bool:
    """Say whether services see a path at all."""
    return not any(path.resolve().is_relative_to(place) for place in _PROTECTED)
