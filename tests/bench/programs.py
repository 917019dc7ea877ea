"""The programs that a benchmark starts: found, asked for, or built.

Owns: which Debian package holds what.
"""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import click

HERE = Path(__file__).parent
PACKAGES = {
    "wrk": "wrk",
    "webhook": "webhook",
    "nginx": "nginx",
    "php-fpm": "php-fpm",
    "openssl": "openssl",
    "gcc": "gcc libc6-dev",
}


def find(program: str) -> str:
    """Return a program's path; empty where it isn't installed."""
    if program == "php-fpm":  # Debian puts its version behind the name
        return max(map(str, Path("/usr/sbin").glob("php-fpm[0-9]*")), default="")
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin") or ""


def demand(programs: Iterable[str]) -> None:
    """Raises: click.ClickException, which says in one line what to install."""
    missing = [PACKAGES[program] for program in programs if not find(program)]
    if missing:
        raise click.ClickException(f"missing programs; on Debian: apt install {' '.join(missing)}")


def build(source: str, folder: Path) -> Path:
    """Compile one of the C files beside this one into `folder`, and return the program."""
    program = folder / Path(source).stem
    command = [find("gcc"), "-O2", "-Wall", "-Werror", "-pthread", "-o", str(program), str(HERE / source)]
    subprocess.run(command, check=True)
    return program
