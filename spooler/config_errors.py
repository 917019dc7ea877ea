"""Mistakes in the configuration file, as one line that names file, line, key and remedy.

Owns: where a key stands in the text, and the wording of what is wrong with it.
Promises: every error names the key in full (`webhook.crm.public_keys`); the line where it can be found.
Does not promise: to understand TOML. The line is looked up by a plain scan; inline tables have none.
"""

import difflib
import re
import typing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from spooler.errors import ConfigurationError

_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>[^`]*)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_INVALID = re.compile(r"(?P<what>.*) - at `\$\.?(?P<path>[^`]*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]*)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*[.=]""")
_WEBHOOK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Place:
    """The configuration file, to say where in it a mistake stands."""

    path: Path
    text: str

    def error(self, key: tuple[str, ...], what: str) -> ConfigurationError:
        """Return an error about the value of `key` (empty: about the file)."""
        line = self._line(key)
        where = f"{self.path}, line {line}" if line else f"{self.path}"
        return ConfigurationError(f"{where}: {'.'.join(key)}: {what}" if key else f"{where}: {what}")

    def translate(
        self, message: str, at: tuple[str, ...], section: type[msgspec.Struct]
    ) -> ConfigurationError:
        """Return the error for what msgspec said about the table at `at`."""
        if found := _UNKNOWN.fullmatch(message):
            key = (*at, *_parts(found["path"]), found["field"])
            return self.error(key, f"unknown key{_suggest(found['field'], section, key[len(at) : -1])}")
        if found := _MISSING.fullmatch(message):
            return self.error((*at, *_parts(found["path"])), f"the key {found['field']} is missing")
        if found := _INVALID.fullmatch(message):
            key = (*at, *_parts(found["path"]))
            return self.error(key, _plain(found["what"]) + _choices(found["what"], section, key[len(at) :]))
        return self.error(at, _plain(message))

    def file(self, key: tuple[str, ...], named: str) -> Path:
        """Return the absolute path of a file that must be there. Raises: ConfigurationError."""
        path = self.path.parent / named
        try:
            if path.is_file():
                return path
        except OSError as error:  # a folder on the way may not be entered
            raise self.error(key, f"the key file {path} can't be read: {error.strerror}") from None
        what = "is no regular file" if path.exists() else "doesn't exist"
        raise self.error(key, f"the key file {path} {what}")

    def fingerprint(self, key: tuple[str, ...], written: str) -> str:
        """Return a certificate's SHA-256 as lower-case hex, colons taken out. Raises: ConfigurationError."""
        plain = written.replace(":", "").lower()
        if not _FINGERPRINT.fullmatch(plain):
            raise self.error(key, f"{written!r} is no SHA-256 fingerprint; write its 64 hex digits")
        return plain

    def _line(self, key: tuple[str, ...]) -> int | None:
        """Return the line (from 1) of the key, or of the nearest table around it."""
        table: tuple[str, ...] = ()
        best, depth = None, 0
        for number, line in enumerate(self.text.splitlines(), 1):
            if found := _TABLE.match(line):
                table = tuple(part.strip().strip("\"'") for part in found[1].split("."))
                here = table
            elif found := _KEY.match(line):
                here = (*table, found[1])
            else:
                continue
            common = min(len(here), len(key))  # a table's line names those around it, too
            if key[:common] == here[:common] and common > depth:
                best, depth = number, common
        return best


def check_webhook_name(name: str, place: Place) -> None:
    """Refuse a name that can't stand in a URL and as a folder. Raises: ConfigurationError."""
    if not _WEBHOOK_NAME.fullmatch(name):
        raise place.error(("webhook", name), "a webhook's name is 1 to 64 of A-Z a-z 0-9 _ - (no - in front)")


def _parts(path: str | None) -> tuple[str, ...]:
    """`receiver.workers` or `retry_delays[1]` as keys; positions in a list are left out."""
    return tuple(part for part in re.sub(r"\[[^\]]*\]", "", path or "").split(".") if part)


def _suggest(field: str, section: type[msgspec.Struct], inside: tuple[str, ...]) -> str:
    known = _fields(section, inside)
    near = difflib.get_close_matches(field, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"


def _choices(what: str, section: type[msgspec.Struct], key: tuple[str, ...]) -> str:
    """Name what a key may be, where msgspec only says that it may not be this."""
    if not what.startswith("Invalid enum value"):
        return ""
    kind = _kinds(_inside(section, key[:-1]))[key[-1]]
    options = [option for part in (kind, *typing.get_args(kind)) for option in typing.get_args(part)]
    return f"; it is one of {', '.join(option for option in options if isinstance(option, str))}"


def _fields(section: type[msgspec.Struct], inside: tuple[str, ...]) -> list[str]:
    return list(_kinds(_inside(section, inside)))


def _kinds(section: type[msgspec.Struct]) -> dict[str, typing.Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(section)}


def _inside(section: type[msgspec.Struct], names: tuple[str, ...]) -> type[msgspec.Struct]:
    """Return the section that stands under the names, whether it is optional there or not."""
    for name in names:
        kind = _kinds(section)[name]
        options = (kind, *typing.get_args(kind))
        section = next(
            option for option in options if isinstance(option, type) and issubclass(option, msgspec.Struct)
        )
    return section


def _plain(what: str) -> str:
    """Say msgspec's type errors in the words of TOML."""
    words = {
        "`str`": "a text in quotes",
        "`int`": "a whole number",
        "`array`": "a list",
        "`object`": "a table",
    }
    words |= {"`bool`": "true or false", "`float`": "a number", "`null`": "nothing"}
    what = what.replace(" | null`", "`")  # which TOML has no way to write
    for theirs, ours in words.items():
        what = what.replace(theirs, ours)
    return what[:1].lower() + what[1:]
