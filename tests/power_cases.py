"""Spooler as it is, on a slow disk, and broken on purpose; and which promise a power cut then breaks.

Owns: the changes of the source, and what has to be found: the one table.
"""

from dataclasses import dataclass

from power_promises import LOST, REPEATED, TORN, UNCOUNTED, UNSETTLED, UNTOLD


@dataclass(frozen=True)
class Broken:
    """Spooler that `breaks` nothing, or is broken on purpose; then one of these promises must be."""

    name: str
    command: str = "run"
    module: str = "durable.py"
    changes: tuple[tuple[str, str], ...] = ()
    breaks: tuple[str, ...] = ()
    ways: tuple[str, ...] = ("cut", "record")


NO_FILE_SYNC = ("        if sync:\n", "        if False:\n")
NO_FOLDER_SYNC = (
    "        os.fsync(folder)\n    except OSError as error:\n",
    "        pass\n    except OSError as error:\n",
)
_SLOW_FOLDER_SYNC = (
    "        os.fsync(folder)\n    except OSError as error:\n",
    "        __import__('time').sleep(0.3)\n        os.fsync(folder)\n    except OSError as error:\n",
)
_SYNC = "def sync_and_close(descriptor: int) -> None:\n"
# Slower than that, so that what is being received is on the disk first.
_SLOW_SYNC = (_SYNC, f"{_SYNC}    __import__('time').sleep(0.6)\n")
_RECORD_SYNCED = "self.spool.record(State.PROCESSING, hand.file_name, line, sync=not is_settled)"
CASES = (
    Broken("as it is (receive)", "receive"),
    Broken("no sync of the file", "receive", changes=(NO_FILE_SYNC,), breaks=(TORN, LOST)),
    Broken("no sync of the folder", "receive", changes=(NO_FOLDER_SYNC,), breaks=(LOST,)),
    Broken("no sync at all", "receive", changes=(NO_FILE_SYNC, NO_FOLDER_SYNC), breaks=(LOST, TORN)),
    Broken("as it is (run)"),
    # The name is there, and found, before it is on the disk; no script may run ahead of that. Nor may a move
    # get onto the disk, with what others sync, ahead of the log that says why.
    Broken("slow (run)", changes=(_SLOW_FOLDER_SYNC, _SLOW_SYNC), ways=("record",)),
    Broken(
        "the mark of a run isn't synced",
        module="running.py",
        changes=(
            ("                os.fdatasync(descriptor)\n", "                pass\n"),
            ("                os.fsync(descriptor)\n", "                pass\n"),
            ("                durable.sync_folder(self._processing)\n", ""),
        ),
        breaks=(UNCOUNTED, REPEATED),
        ways=("record",),  # at the moment of the cut a later sync has brought it along
    ),
    Broken(
        "what came of a run isn't synced",
        module="attempt.py",
        changes=((_RECORD_SYNCED, _RECORD_SYNCED.replace(", sync=not is_settled", "")),),
        breaks=(REPEATED,),
    ),
    Broken(
        "a move isn't synced",
        module="spool.py",
        # On these file systems the sync of a log brings the move along that it was just part of.
        changes=(
            ("                durable.sync_and_close(one.log)\n", "                pass\n"),
            ("            durable.sync_folder(folder)\n        except", "            pass\n        except"),
        ),
        breaks=(UNSETTLED,),
        ways=("record",),
    ),
    Broken(
        "a mark is cleared before its group is synced",
        module="turn.py",
        changes=(
            ("        seat.is_lent = True\n", "        pass\n"),
            ("            self.attempt.seats.take_back(seat)\n", "            pass\n"),
        ),
        breaks=(UNCOUNTED,),
        ways=("record",),
    ),
    Broken(
        "a note is synced after the move",
        module="spool.py",
        changes=(
            ("if is_log_due and not is_marked:", "if False:"),
            ("if is_log_due and is_marked:", "if is_log_due and not __import__('time').sleep(0.6):"),
        ),
        breaks=(UNTOLD, REPEATED),
        ways=("record",),
    ),
)
