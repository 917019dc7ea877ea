"""The configuration file: where it is, what may stand in it, and the values that the rest works with.

Owns: `spooler.toml`, its keys, defaults and types, and which file counts.
Promises: an unknown key, a wrong value or a missing key file is a ConfigurationError of one line that
names the file, the line where it can, the key, and what would be right. Relative paths are relative to
the file.
Does not promise: that keys parse or that folders can be written; `spooler.keys` and `spooler.spool` find
that out when they open them.
"""

import ipaddress
import os
import re
import tomllib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from spooler import config_errors
from spooler.address import Address
from spooler.algorithm import Algorithm, HashName, PaddingName
from spooler.errors import ConfigurationError
from spooler.units import Duration, Keep, Size, format_size

FILE_NAME = "spooler.toml"
ENVIRONMENT_VARIABLE = "SPOOLER_CONFIG"
SYSTEM_FILE = Path("/etc/spooler") / FILE_NAME

CREDENTIALS = "$CREDENTIALS_DIRECTORY/"  # where systemd puts what LoadCredential= names
# Dull on purpose: what stands here goes into the header of a mail.
_MAIL_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

MOST_BODY_BYTES = 64 << 20  # somebody's archive, copied into the spool by mistake, must not fill the memory

Ordering = Literal["contact", "none"]
TestNotifications = Literal["skip", "process"]


class _Section(msgspec.Struct, forbid_unknown_fields=True):
    """A table of the file; a key that is not one of its fields is refused."""


_AnySection = TypeVar("_AnySection", bound=_Section)


class Receiver(_Section):
    """`[receiver]`: the HTTP side."""

    listen: Address = msgspec.field(default_factory=partial(Address, host="127.0.0.1", port=8080))
    workers: int = 2
    max_body: Size = Size(1 << 20)
    min_free: Size = Size(64 << 20)
    trusted_proxy: str = "127.0.0.1"


class Processing(_Section):
    """The settings of `[processor]` that a webhook may override."""

    timeout: Duration = Duration(60)
    retry_delays: tuple[Duration, ...] = tuple(Duration(60 * minutes) for minutes in (1, 15, 30, 60))
    ordering: Ordering = "contact"
    deduplicate_for: Duration = Duration(86400)
    test_notifications: TestNotifications = "skip"
    environment: tuple[str, ...] = ()

    @property
    def max_attempts(self) -> int:
        """The first attempt, and one after each delay."""
        return 1 + len(self.retry_delays)


class Processor(Processing):
    """`[processor]`: the side that runs scripts."""

    workers: int = 1


class Retention(_Section):
    """`[retention]`: how long settled notifications are kept."""

    done: Keep = Keep(30 * 86400)
    failed: Keep = Keep("inf")
    rejected: Keep = Keep(7 * 86400)


class Alerts(_Section, kw_only=True):
    """`[alerts]`: whom to mail when something is wrong.

    password_file: absolute, or what stands there if it begins with `$CREDENTIALS_DIRECTORY/`, which only
        the service's own process knows.
    """

    smtp: str = "localhost:25"
    sender: str = msgspec.field(name="from")
    to: tuple[str, ...]
    user: str | None = None
    password_file: str | None = None
    starttls: bool = False
    silence: Duration | None = None


class Metrics(_Section):
    """`[metrics]`: where the processor serves metrics; without this table nowhere."""

    listen: Address = msgspec.field(default_factory=partial(Address, host="127.0.0.1", port=9187))


class _WebhookTable(_Section):
    """`[webhook.<name>]` as it stands in the file."""

    public_keys: tuple[str, ...] = ()
    hash: HashName = "sha256"
    padding: PaddingName = "pkcs1v15"
    signature: Literal["required", "none"] = "required"
    client_certificates: tuple[str, ...] = ()
    processors: str | None = None
    timeout: Duration | None = None
    retry_delays: tuple[Duration, ...] | None = None
    ordering: Ordering | None = None
    deduplicate_for: Duration | None = None
    test_notifications: TestNotifications | None = None
    environment: tuple[str, ...] | None = None


class _File(_Section):
    """The whole file."""

    spool: str
    processors: str
    receiver: Receiver = msgspec.field(default_factory=Receiver)
    processor: Processor = msgspec.field(default_factory=Processor)
    retention: Retention = msgspec.field(default_factory=Retention)
    alerts: Alerts | None = None
    metrics: Metrics | None = None
    webhook: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Webhook:
    """One named endpoint, with everything that holds for it."""

    name: str
    signed: bool
    public_keys: tuple[Path, ...]
    algorithm: Algorithm
    client_certificates: frozenset[str]  # SHA-256 fingerprints, lower-case hex; empty: none is asked for
    processors: Path
    processing: Processing


@dataclass(frozen=True, slots=True)
class Configuration:
    """The whole configuration, checked, with absolute paths."""

    path: Path
    spool: Path
    receiver: Receiver
    processor: Processor
    retention: Retention
    alerts: Alerts | None
    metrics: Metrics | None
    webhooks: dict[str, Webhook]


def find(named: Path | None = None) -> Path:
    """Return the file that counts: `--config`, `$SPOOLER_CONFIG`, `./`, `/etc/spooler/`.

    Raises: ConfigurationError if there is none.
    """
    variable = os.environ.get(ENVIRONMENT_VARIABLE)
    chosen = named or (Path(variable) if variable else None)
    for candidate in [chosen] if chosen else [Path(FILE_NAME), SYSTEM_FILE]:
        try:
            if candidate.is_file():
                return candidate.absolute()
        except OSError as error:  # a folder on the way may not be entered
            raise ConfigurationError(f"{candidate}: can't be read: {error.strerror}") from None
    if chosen:
        what = "is no regular file" if chosen.exists() else "there is no such configuration file"
        raise ConfigurationError(f"{chosen}: {what}")
    raise ConfigurationError(
        f"no ./{FILE_NAME} and no {SYSTEM_FILE}: name one with --config, or write one with: spooler init"
    )


def load(named: Path | None = None) -> Configuration:
    """Read the configuration file that counts (see `find`). Raises: ConfigurationError."""
    path = find(named)
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: can't be read: {error}") from None
    return parse(text, path)


def parse(text: str, path: Path) -> Configuration:
    """Turn the text of the file at `path` into a configuration. Raises: ConfigurationError."""
    place = config_errors.Place(path, text)
    try:
        document = tomllib.loads(text)
        _refuse_nul(document, place, ())
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: is no TOML: {error}") from None
    except ValueError:  # Python reads no number of more digits
        raise ConfigurationError(f"{path}: can't be read: it holds a number of thousands of digits") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: can't be read: it is nested too deeply") from None
    file = _convert(document, _File, place, ())
    _check_values(file, place)
    file.receiver.listen = _absolute(file.receiver.listen, path.parent)
    if file.metrics:
        file.metrics.listen = _absolute(file.metrics.listen, path.parent)
    if file.alerts:
        _check_alerts(file.alerts, place)
    tables = {
        name: _convert(table, _WebhookTable, place, ("webhook", name)) for name, table in file.webhook.items()
    }
    if not tables:
        raise place.error(
            (), "no webhook is configured; add a table like [webhook.crm] with public_keys = [...]"
        )
    return Configuration(
        path=path,
        spool=path.parent / file.spool,
        receiver=file.receiver,
        processor=file.processor,
        retention=file.retention,
        alerts=file.alerts,
        metrics=file.metrics,
        webhooks={name: _webhook(name, table, file, place) for name, table in tables.items()},
    )


def _refuse_nul(value: object, place: config_errors.Place, at: tuple[str, ...]) -> None:
    """Refuse what no path, address or name may hold, before one of the many calls that take them does."""
    if isinstance(value, str) and "\0" in value:
        raise place.error(at, "holds a NUL character")
    if isinstance(value, dict):
        for key, member in value.items():
            _refuse_nul(key, place, (*at, key))
            _refuse_nul(member, place, (*at, key))
    if isinstance(value, list):
        for member in value:
            _refuse_nul(member, place, at)


def _convert(
    document: object, section: type[_AnySection], place: config_errors.Place, at: tuple[str, ...]
) -> _AnySection:
    try:
        return msgspec.convert(document, section, dec_hook=_read_unit)
    except msgspec.ValidationError as error:
        raise place.translate(str(error), at, section) from None


def _read_unit(kind: type, value: object) -> object:
    if issubclass(kind, Duration | Keep | Size):
        return kind.parse(value)
    if kind is Address:
        return Address.parse(value)
    raise NotImplementedError(kind)


def _check_values(file: _File, place: config_errors.Place) -> None:
    for section, workers in (("receiver", file.receiver.workers), ("processor", file.processor.workers)):
        if not 1 <= workers <= 64:
            raise place.error((section, "workers"), f"{workers} is not between 1 and 64")
    if file.receiver.trusted_proxy != "unix":
        try:
            ipaddress.ip_address(file.receiver.trusted_proxy)
        except ValueError:
            what = f'{file.receiver.trusted_proxy!r} is no IP address; write one, or "unix"'
            raise place.error(("receiver", "trusted_proxy"), what) from None
    if not 1 <= file.receiver.max_body <= MOST_BODY_BYTES:
        # What is larger would be confirmed, and then nobody would read it.
        what = f"must be at least one byte, and at most {format_size(MOST_BODY_BYTES)}"
        raise place.error(("receiver", "max_body"), what)
    for key, folder in (("spool", file.spool), ("processors", file.processors)):
        if not folder:
            raise place.error((key,), "names no folder")
    if file.processor.timeout <= 0:
        raise place.error(("processor", "timeout"), "must be longer than nothing")
    _check_variables(file.processor.environment, place, ("processor", "environment"))


def _check_variables(names: tuple[str, ...], place: config_errors.Place, at: tuple[str, ...]) -> None:
    for name in names:
        if not _VARIABLE.fullmatch(name):
            what = "names no variable (A-Z a-z 0-9 _); its value is set for the service"
            raise place.error(at, f"{name!a} {what}")


def _absolute(address: Address, folder: Path) -> Address:
    return Address(unix_path=str(folder / address.unix_path)) if address.unix_path else address


def _check_alerts(alerts: Alerts, place: config_errors.Place) -> None:
    try:
        server = Address.parse(alerts.smtp)
    except ValueError:
        server = Address()
    if not server.port:
        what = (
            f'{alerts.smtp!r} is no mail server; write for example "localhost:25" or "mail.example.com:587"'
        )
        raise place.error(("alerts", "smtp"), what)
    if not alerts.to:
        raise place.error(("alerts", "to"), 'names nobody; write for example ["admin@example.com"]')
    for key, address in (("from", alerts.sender), *(("to", one) for one in alerts.to)):
        if not _MAIL_ADDRESS.fullmatch(address):
            raise place.error(("alerts", key), f"{address!a} is no mail address (ASCII, without a name)")
    if bool(alerts.user) != bool(alerts.password_file):
        missing = "password_file" if alerts.user else "user"
        raise place.error(("alerts",), f"the key {missing} is missing: user and password_file go together")
    if alerts.user and not alerts.user.isascii():
        raise place.error(("alerts", "user"), f"{alerts.user!a} holds a character that isn't ASCII")
    if alerts.password_file and not alerts.password_file.startswith(CREDENTIALS):
        alerts.password_file = str(place.path.parent / alerts.password_file)
    if alerts.silence is not None and alerts.silence <= 0:
        raise place.error(("alerts", "silence"), "must be longer than nothing")


def _webhook(name: str, table: _WebhookTable, file: _File, place: config_errors.Place) -> Webhook:
    at = ("webhook", name)
    config_errors.check_webhook_name(name, place)
    signed = table.signature == "required"
    if signed and not table.public_keys:
        raise place.error(at, 'public_keys is missing (to accept unsigned requests, say signature = "none")')
    if table.processors == "":  # which is not "no scripts"; without the key the general folder counts
        raise place.error((*at, "processors"), "names no folder")
    processing = _merge(file.processor, table)
    if processing.timeout <= 0:
        raise place.error((*at, "timeout"), "must be longer than nothing")
    _check_variables(processing.environment, place, (*at, "environment"))
    return Webhook(
        name=name,
        signed=signed,
        public_keys=tuple(place.file((*at, "public_keys"), key) for key in table.public_keys),
        algorithm=Algorithm(table.hash, table.padding),
        client_certificates=frozenset(
            place.fingerprint((*at, "client_certificates"), c) for c in table.client_certificates
        ),
        processors=place.path.parent / (table.processors or file.processors),
        processing=processing,
    )


def _merge(general: Processing, table: _WebhookTable) -> Processing:
    """What is set for the webhook counts, and the general value where nothing is."""
    merged = {}
    for field in Processing.__struct_fields__:
        own = getattr(table, field)
        merged[field] = getattr(general, field) if own is None else own
    return Processing(**merged)
