"""`spooler check --certificate`: from a certificate's file to the line for the configuration.

Owns: the words about a certificate, and where the password of a .pfx comes from.
Promises: standard output is the line alone, to be pasted or appended; what people should know goes to
standard error. A password is never shown, and never an argument.
"""

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from spooler.certificates import Certificate, load_certificate
from spooler.errors import CertificateFileError, Exit


@dataclass(frozen=True, slots=True)
class _Password:
    """Where the password of a .pfx comes from: a file, else a person at a terminal, else nowhere."""

    pfx: Path
    file: Path | None

    def __call__(self) -> str | None:
        if self.file is not None:
            return self._of_file(self.file)
        if not sys.stdin.isatty():
            return None
        asked: str = click.prompt(f"Password of {self.pfx}", hide_input=True, err=True)
        return asked

    def _of_file(self, file: Path) -> str:
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise CertificateFileError(f"{file}: is no text; write the password into it, in UTF-8") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CertificateFileError(f"{file}: the password can't be read: {reason}") from None
        return text.removesuffix("\n").removesuffix("\r")


def show(path: Path, password_file: Path | None, as_json: bool) -> int:
    """Print the line for a webhook's table; return the exit status. Raises: CertificateFileError."""
    certificate = load_certificate(path, _Password(path, password_file))
    line = f'client_certificates = ["{certificate.fingerprint}"]'
    warning = certificate.warning(datetime.now(UTC))
    if as_json:
        click.echo(json.dumps(_as_json(path, certificate, warning, line)))
        return Exit.OK
    _tell(certificate, warning)
    click.echo(line)
    return Exit.OK


def _tell(certificate: Certificate, warning: str) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    valid = f"{certificate.valid_from:%Y-%m-%d} to {certificate.valid_until:%Y-%m-%d}"
    console.print(Text(f"subject  {certificate.subject}"))
    console.print(Text(f"issuer   {certificate.issuer}"))
    console.print(Text(f"valid    {valid} (UTC)"))
    for notice in certificate.notices:
        console.print(Text(f"notice   {notice}", "yellow"))
    if warning:
        console.print(Text(f"warning  {warning}", "bold red"))


def _as_json(path: Path, certificate: Certificate, warning: str, line: str) -> dict[str, object]:
    return {
        "file": str(path),
        "fingerprint": certificate.fingerprint,
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "valid_from": certificate.valid_from.isoformat(),
        "valid_until": certificate.valid_until.isoformat(),
        "warning": warning,
        "notices": list(certificate.notices),
        "configuration": [line],
    }
