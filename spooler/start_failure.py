"""Why a script couldn't be started, in plain words, and as a shell would say it.

Does not promise: to foresee everything; the service's PATH may be another one than that of who asks.
"""

import contextlib
import errno
import os
import shutil
from pathlib import Path

from spooler.outcome import CANNOT_EXECUTE, NOT_FOUND


def why_not_started(script: Path, error: OSError) -> tuple[int, str]:
    """Return the exit status that a shell would give, and what is wrong in plain words."""
    if not script.exists():
        return NOT_FOUND, f"{script} isn't there any more"
    if error.errno == errno.ENOENT and _first_line(script).endswith("\r"):
        return (
            NOT_FOUND,
            f"{script} can't be executed: its first line ends in CR; save it with Unix line ends (LF)",
        )
    if error.errno == errno.ENOENT:
        return NOT_FOUND, f"{script} can't be executed: its interpreter ({_first_line(script)}) doesn't exist"
    if error.errno == errno.ENOEXEC:
        return (
            CANNOT_EXECUTE,
            f"{script} can't be executed: neither a program for this machine nor a script with a #! line",
        )
    if error.errno == errno.ETXTBSY:
        return CANNOT_EXECUTE, f"{script} can't be executed: it is being written"
    return CANNOT_EXECUTE, f"{script} can't be executed: {error.strerror}"


def foresee(script: Path) -> str:
    """Return why a script can never be started, as far as its beginning tells; empty if it may be."""
    try:
        with script.open("rb") as file:
            beginning = file.read(256)
    except OSError:  # a program may be there for running only
        return ""
    if beginning.startswith(b"#!"):
        first = beginning.partition(b"\n")[0]
        interpreter = os.fsdecode(b" ".join(first[2:].split()[:1]))
        is_gone = interpreter.startswith("/") and not Path(interpreter).exists()
        number = errno.ENOENT if is_gone or first.endswith(b"\r") else 0
    else:
        number = errno.ENOEXEC if b"\0" not in beginning else 0  # a program may be for whatever is installed
    return why_not_started(script, OSError(number, ""))[1] if number else ""


def doubt(script: Path) -> str:
    """Return, in a line, what the first line's `env` doesn't find on the caller's PATH; empty if it does."""
    path, *argument = _first_line(script).removeprefix("#!").split(maxsplit=1)[:2] or [""]
    if not argument or Path(path).name != "env":
        return ""
    # The kernel hands on all that follows as one argument; only `-S` makes words of it.
    program = argument[0].strip()
    if program.startswith("-S"):
        program = next(iter(program[2:].split()), "")
    if program.startswith("-") or "=" in program or not program or shutil.which(program):
        return ""
    return f"{script}: env finds no program `{program}` on this PATH: install it, or mend the #! line"


def _first_line(script: Path) -> str:
    with contextlib.suppress(OSError), script.open("rb") as file:
        return file.readline(256).rstrip(b"\n").decode("utf-8", "backslashreplace")
    return "unreadable"
