"""The console of the commands that print tables and colours.

Owns: what it does when nobody reads any more; apart from `spooler.cli.telling`, for rich takes its time.
"""

from rich.console import Console


class Screen(Console):
    """A console on which a reader that is gone is an error like any other; rich would end with a 1."""

    def on_broken_pipe(self) -> None:
        """Pass it on to the group of commands, which ends in order. Raises: BrokenPipeError."""
        raise BrokenPipeError
