"""A script that was started, what is known of it while it lives, and how it answered or ended.

Owns: nothing that lasts; `spooler.scripts` starts it, waits for it and ends it.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spooler.channel import Channel, NoStatusError
from spooler.outcome import Exit
from spooler.output import Output


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of a script ended. was_refused: spooler killed it, for what it told was no status."""

    exit: Exit
    seconds: float
    output: str
    was_refused: bool = False


@dataclass(slots=True, eq=False)
class Living:
    """A script that was started. One that has a channel may answer and go on.

    environment: what it was started with. began: with what it has in hand, in monotonic seconds.
    idle_since: when it had answered, in the kernel's ticks; None while it has something in hand.
    never_saw: it ended without having read of the last notification that it was given.
    """

    script: Path
    environment: Mapping[str, str]
    process: "subprocess.Popen[bytes]"
    output: Output
    channel: Channel | None
    began: float
    idle_since: int | None = None
    never_saw: bool = False
    was_refused: bool = False  # what it told was no status

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, and all it started."""
        return self.process.returncode is not None

    @property
    def has_exited(self) -> bool:
        """Whether it has exited just now, and waits to be attended to."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    @property
    def has_work(self) -> bool:
        """Whether it has a notification in hand."""
        return self.idle_since is None

    @property
    def listens_to(self) -> set[int]:
        """The descriptor by which a status may come."""
        return {self.channel.fileno()} if self.channel is not None and self.channel.is_open else set()

    def hear(self) -> int | None:
        """Return the status that has come; None if there is none, or what is none has come."""
        assert self.channel is not None  # noqa: S101 - nothing is heard of one without
        try:
            return self.channel.read()
        except NoStatusError as error:
            self.output.note(str(error))
            self.was_refused = True
            return None


class NeverSawError(Exception):
    """A script never read of a notification. `run` tells how it ended, `has_exited` if it did so unasked.

    is_stuck: it was left the whole time limit to read of it.
    """

    def __init__(self, run: Run, *, has_exited: bool, is_stuck: bool = False) -> None:
        super().__init__()
        self.run = run
        self.has_exited = has_exited
        self.is_stuck = is_stuck
