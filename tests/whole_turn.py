"""A turn to its very end, for tests that give one by one: what came of it is on the disk, and told of."""

from dataclasses import replace

from spooler.spool import sync_moved
from spooler.state import State
from spooler.turn import Settled, Turn


def take(turn: Turn, state: State, name: str) -> Settled | None:
    """Give a notification its turn, with nothing left to do for it."""
    settled = turn.take(state, name)
    if settled is None or settled.unsynced is None:
        return settled
    sync_moved([settled.unsynced.moved])
    settled.unsynced.then()
    return replace(settled, unsynced=None)
