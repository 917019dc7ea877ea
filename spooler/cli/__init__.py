"""The `spooler` command: which commands there are, and how an error reaches the user.

Owns: the table of commands, and the translation of exceptions into one line and an exit status.
Promises: a user's mistake never shows a traceback. Each command lives in the module of its name.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from spooler import __version__
from spooler.cli import telling
from spooler.errors import Exit, SpoolerError
from spooler.printable import printable

COMMANDS = {
    "demo": "the whole path in a folder of its own, with nothing set up",
    "init": "write a configuration, the folders and an example script",
    "run": "receiver and processor together, in the foreground",
    "receive": "the receiver alone, as systemd runs it",
    "process": "the processor alone, as systemd runs it",
    "check": "is everything right? one line each",
    "status": "per webhook: how many in each state, oldest waiting, failures, disk",
    "list": "what is in a state",
    "show": "a notification, its history, its output",
    "retry": "from failed/ back to incoming/, from the first attempt",
    "drop": "from failed/ or retry/ to done/, by a person's decision",
    "pause": "hold the processor back",
    "resume": "let the processor go on",
    "readmit": "check refused requests against today's keys",
    "prune": "carry out the retention",
    "metrics": "counts, ages and durations in Prometheus' text format",
    "verify": "which key, hash and padding made a signature",
    "keygen": "a key pair for trying things out",
    "send": "play the sender: sign, post, repeat by its rules",
    "bench": "how fast this machine confirms, beside what its disk allows",
    "install": "the systemd services: user, folders, configuration, units",
    "uninstall": "take the services away; spool and configuration stay",
}


class _Commands(click.Group):
    """Load a command's module only when it is called, so that `--help` and scripts start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"spooler.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 - a mistake of ours, not of a user
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # `spooler … | head`; click would end that with a 1
            telling.discard()
            return Exit.OK

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError:  # `spooler --help | head`
            telling.discard()
            raise click.exceptions.Exit(Exit.OK) from None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:  # click makes it one of its errors, or none, with the version
            telling.say(ctx.get_help(), err=True)
            ctx.exit(Exit.USAGE)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="spooler")
def spooler() -> None:
    """Receive signed webhooks, store each durably, hand them one at a time to drop-in scripts.

    To see it work: spooler demo. To set it up: spooler init, then spooler run.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    if sys.stdin is None:  # closed by whoever started it: there is nothing to read, and nobody to ask
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    try:
        result = spooler.main(args=arguments, prog_name="spooler", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "spooler"
        return _fail(f"{error.format_message()} (see {command} --help)", Exit.USAGE)
    except click.ClickException as error:
        return _fail(error.format_message(), Exit.FAILED)
    except SpoolerError as error:
        return _fail(str(error), error.exit)
    except (KeyboardInterrupt, click.Abort):
        return 130
    except OSError as error:  # of the folders: rights, or the disk
        return _fail(f"{error.filename or 'the disk'}: {error.strerror or error}", Exit.FAILED)
    return result if isinstance(result, int) else Exit.OK


def _fail(line: str, status: Exit) -> int:
    # TRUST: what was typed or read may be part of it.
    telling.say(f"spooler: {printable(' '.join(line.split()))}", err=True)
    return status
