"""`spooler verify`: how was the signature of one captured request made?

Owns: reading what a person captured, the verdict in words and as JSON, and the lines for the configuration.
Promises: exit status 0 only if one of the keys signed exactly these bytes; else 1 and one line why.
Does not promise: that a body that was changed on its way into a file can be restored.
"""

import errno
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from spooler import config as configuration
from spooler import signature as signatures
from spooler.cli.options import config_option, json_option
from spooler.errors import ConfigurationError, Exit, SignatureRefusedError, SpoolerError
from spooler.keys import Key, load_key

_PASTED_NAME = re.compile(rf"\A\s*{signatures.HEADER}\s*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What was found out: ways in which the signature was made, or the reason why there is none."""

    matches: Sequence[signatures.Match] = ()
    reason: str = ""

    @property
    def genuine(self) -> bool:
        return bool(self.matches) and not self.reason


@click.command()
@click.option(
    "--body", required=True, metavar="FILE", help="The body, byte for byte; - reads standard input."
)
@click.option(
    "--signature",
    "captured",
    required=True,
    metavar="TEXT_OR_FILE",
    help=f"The value of {signatures.HEADER}, or a file that holds it.",
)
@click.option(
    "--key",
    "key_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A public key, PEM or XML; may be repeated. Without it: all keys of the configuration.",
)
@config_option
@json_option
def command(body: str, captured: str, key_files: tuple[Path, ...], config: Path | None, as_json: bool) -> int:
    """Tell which key, hash and padding made a signature, and what to write into the configuration.

    Ends with 0 if a key signed exactly this body; else with 1 and the likeliest reason.

    \b
    Examples:
      spooler verify --body body.json --signature signature.txt --key keys/crm.pem
      spooler verify --body body.json --signature 'X-DI-Signature: kq3v...Zg=='
      spooler verify --body - --signature signature.txt --json <body.json
    """
    keys = [load_key(path, pipes=True) for path in key_files or _configured(config)]
    verdict = _examine(_read_body(body), captured, keys)
    if as_json:
        click.echo(json.dumps(_as_json(verdict)))
    elif verdict.matches:
        _show(verdict)
    else:
        raise SignatureRefusedError(verdict.reason)
    return Exit.OK if verdict.genuine else Exit.FAILED


def _configured(config: Path | None) -> list[Path]:
    """Return the key files of all webhooks, each once. Raises: ConfigurationError if there are none."""
    loaded = configuration.load(config)
    paths = dict.fromkeys(path for webhook in loaded.webhooks.values() for path in webhook.public_keys)
    if not paths:
        raise ConfigurationError("the configuration names no public_keys; name a key with --key FILE")
    return list(paths)


def _read_body(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise SpoolerError(f"{file}: the body can't be read: {error.strerror}") from None


def _read_signature(captured: str) -> tuple[str, bool]:
    """Return the text of the signature, and whether it stood in a file."""
    try:
        return Path(captured).read_bytes().decode("utf-8-sig", errors="replace"), True
    except (FileNotFoundError, NotADirectoryError):
        return captured, False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG or not captured.strip():  # base64 is longer than names may be
            return captured, False
        raise SpoolerError(f"{captured}: the signature can't be read: {error.strerror}") from None


def _examine(body: bytes, captured: str, keys: Sequence[Key]) -> _Verdict:
    text, from_file = _read_signature(captured)
    # Strict while serving; here it is something that a person copied, with what came along.
    text = "".join(_PASTED_NAME.sub("", text).split())
    try:
        signature = signatures.decode(text)
    except SignatureRefusedError as error:
        return _Verdict(
            reason=str(error) if from_file or not text else f"{error}; no file has this name either"
        )
    matches = signatures.identify(body, signature, keys)
    if not matches:
        return _Verdict(reason=_why_not(body, signature, keys))
    if change := matches[0].body_change:
        return _Verdict(
            matches,
            f"the signature matches only if the body is taken {change}: this file isn't what was sent",
        )
    return _Verdict(matches)


def _why_not(body: bytes, signature: bytes, keys: Sequence[Key]) -> str:
    fitting = [key for key in keys if key.signature_bytes == len(signature)]
    if not fitting:
        theirs = ", ".join(f"{key.name} makes {key.signature_bytes}" for key in keys)
        return f"the signature is {len(signature)} bytes long, but {theirs}: not made by {_these(keys)}"
    if match := signatures.made_over_another_body(signature, fitting):
        what = "the body is empty" if not body else "the body isn't byte for byte what was sent"
        return f"{match.key.name} made this signature ({match.algorithm}), but over another body: {what}"
    names = ", ".join(key.name for key in fitting)
    return (
        f"no hash and padding fits: {names} didn't make this signature, or made it over another body with pss"
    )


def _these(keys: Sequence[Key]) -> str:
    return "this key" if len(keys) == 1 else "any of these keys"


def _settings(matches: Sequence[signatures.Match]) -> list[str]:
    """Return the lines for `[webhook.<name>]`. Paths are absolute, and so right in any configuration."""
    files = dict.fromkeys(str(Path(match.key.name).absolute()) for match in matches)
    quoted = ", ".join(json.dumps(file, ensure_ascii=False) for file in files)
    algorithm = matches[0].algorithm
    return [f"public_keys = [{quoted}]", f'hash = "{algorithm.hash}"', f'padding = "{algorithm.padding}"']


def _show(verdict: _Verdict) -> None:
    algorithm = verdict.matches[0].algorithm
    click.echo(
        f"NOT GENUINE AS IT IS: {verdict.reason}" if verdict.reason else "genuine: this key signed this body"
    )
    click.echo()
    for key in (match.key for match in verdict.matches):
        click.echo(f"key      {key.name} ({key.kind}, {key.bits} bits)\n         {key.fingerprint}")
        for warning in key.warnings:
            click.echo(f"         warning: {warning}")
    click.echo(f"hash     {algorithm.hash}\npadding  {algorithm.padding}\n")
    click.echo("For the webhook's table in the configuration:\n")
    click.echo("\n".join(_settings(verdict.matches)))


def _as_json(verdict: _Verdict) -> dict[str, object]:
    matches = verdict.matches
    algorithm = matches[0].algorithm if matches else None
    return {
        "genuine": verdict.genuine,
        "keys": [
            {"file": key.name, "kind": key.kind, "bits": key.bits, "fingerprint": key.fingerprint}
            for key in (match.key for match in matches)
        ],
        "hash": algorithm.hash if algorithm else None,
        "padding": algorithm.padding if algorithm else None,
        "body_change": matches[0].body_change if matches else "",
        "reason": verdict.reason,
        "configuration": _settings(matches) if matches else [],
    }
