"""`spooler keygen`: a key pair for trying things out.

Owns: the command's words. The files are `spooler.keypair`'s.
Promises: nothing that exists is overwritten.
Does not promise: a key for production. There the sender holds the private key, and shows the public one.
"""

import json
import shlex
from pathlib import Path

import click

from spooler.keypair import generate, write_pair
from spooler.keys import MAX_BITS, MIN_BITS, load_key

_PURPOSES = {
    "private.pem": "signs; for the sender only",
    "public.pem": "checks; for public_keys in the configuration",
    "public.xml": "the same public key, as .NET writes it",
}


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--bits",
    type=click.IntRange(MIN_BITS, MAX_BITS),
    default=2048,
    show_default=True,
    help="Length of the key.",
)
def command(directory: Path, bits: int) -> None:
    """Write a key pair into DIR, to play the sender with: private.pem, public.pem, public.xml.

    DIR is made if it doesn't exist. No file is ever overwritten.

    \b
    Example:
      spooler keygen keys
      spooler send http://127.0.0.1:8080/webhook/crm --key keys/private.pem
    """
    paths = write_pair(directory, generate(bits))
    for path in paths:
        click.echo(f"wrote {path} ({_PURPOSES[path.name]})")
    private, public, _ = paths
    click.echo(f"{bits} bits, {load_key(public).fingerprint}")
    click.echo(f"\nNext: let a webhook of the configuration have public_keys = [{_quoted(public)}], then")
    click.echo(f"  spooler send http://127.0.0.1:8080/webhook/NAME --key {shlex.quote(str(private))}")


def _quoted(path: Path) -> str:
    return json.dumps(str(path.absolute()), ensure_ascii=False)
