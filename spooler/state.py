"""The states of a notification, and every legal move between them: the one table.

A notification is one file. The folder that it is in is its state, and a move is one `rename`, so after a
crash at any instant it is in exactly one state.

| state      | folder        | what it means                                                               |
|------------|---------------|-----------------------------------------------------------------------------|
| INCOMING   | incoming/     | stored and confirmed; waits for its turn, or behind an older one of its contact |
| PROCESSING | processing/   | scripts are being run for it                                                |
| RETRY      | retry/        | waits for another attempt, due at the file's modification time              |
| DONE       | done/<day>/   | finished, by UTC day of finishing                                           |
| FAILED     | failed/       | given up; a person decides                                                  |
| REJECTED   | rejected/     | a refused request; never processed, never a notification yet                |

| move     | from             | to         | by        | true at the instant of                                  |
|----------|------------------|------------|-----------|---------------------------------------------------------|
| store    | -                | INCOMING   | receiver  | the rename of the synced hidden file; 200 after the folder is synced |
| refuse   | -                | REJECTED   | receiver  | the rename                                              |
| claim    | INCOMING, RETRY  | PROCESSING | processor | the rename; not synced: after a power cut it waits again, and the mark of a run, which is synced, tells of an attempt that had begun. Before it, the name in INCOMING is synced, unless it is known to be |
| release  | PROCESSING       | INCOMING   | processor | the rename; then the folder is synced. Stopped, paused, or taken up after a crash |
| postpone | PROCESSING       | RETRY      | processor | the rename; the due time is set before it, which only the file's owner may do: another user's, and no other file, is replaced first, by a copy of the same bytes; then the folder is synced |
| finish   | PROCESSING       | DONE       | processor | the rename; then the folder is synced, and the log: for a few together, and before a script begins for the same contact |
| give_up  | PROCESSING       | FAILED     | processor | the rename; then the folder is synced                   |
| retry    | FAILED, DONE     | INCOMING   | person    | the rename; then the folder is synced, once for all that are moved |
| drop     | FAILED, RETRY    | DONE       | person    | the rename; then the folder is synced                   |
| readmit  | REJECTED         | INCOMING   | person    | the rename of the synced file; then the folder is synced |
| prune    | DONE, FAILED, REJECTED | -    | person; receiver in rejected/ | the removal; not synced             |

A younger notification of a contact whose older one is in RETRY or PROCESSING is held in INCOMING: it is
not moved, gets no attempt and no log line, and its place in line is its name. Nothing but the folders
has to survive for that.

What a crash leaves behind, and who sweeps it:

| crash                                  | left behind                                    | swept by                    |
|----------------------------------------|------------------------------------------------|-----------------------------|
| store, before the rename               | a hidden file in incoming/; no 200 was sent    | the receiver's start, after an hour |
| store, after the rename                | the notification; the sender may repeat it     | nobody: it is the notification |
| refuse, before the rename              | a hidden file in rejected/, and perhaps its log | the receiver's start, after an hour; prune |
| a start, while it tries to write       | a hidden empty file in any folder              | the start of receiver or processor, after an hour |
| claim, release, postpone, finish, give_up, between the rename and the log's | the log in the folder it came from, as when the disk refuses to move it | the processor's start brings it after its file, and so does the next turn; one that can't be brought is told of and left alone |
| postpone of another user's file, before the copy is in its place | the file in processing/, and a hidden copy in incoming/ | the processor's start: release; the receiver's start, after an hour |
| while a script runs                    | the file in processing/ (after a power cut perhaps where it was claimed), a hidden mark that names file, script and attempt, a working folder | the processor's start: the attempt is written to the log as interrupted and counts; then release |
| after the last script, before finish   | the file in processing/, its log complete      | the processor's start: release; the next claim finds nothing left to run |
| finish, before it is synced (hundredths of a second, on a slow disk more; of up to 16, and one for each worker) | the file in done/, its mark in processing/; after a power cut perhaps the file where it was, or its log without the last line | the processor's start: syncs it, and notes in the log that a line was lost; or as while a script runs |
| retry, drop, readmit, between the log's rename and the file's | the log in the folder that the file is meant for | the same command, given again |
| drop, of what is in retry/, between the file's rename and the note | the file in done/, and no word of who did it | nobody |
| prune, between the file's removal and its log's | a log without a file           | the next prune              |

A person's commands keep each other out (a kernel lock on the webhook's folder). With the processor only
`drop` competes, for a file in retry/: one rename wins, and the other finds the file gone.

An administrator moves files by hand: that is legal between any two folders at any time. A file in
incoming/ always runs again; one that is gone is nobody's concern any more.
"""

from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple


class State(StrEnum):
    """A state; its value is the name of its folder."""

    INCOMING = "incoming"
    PROCESSING = "processing"
    RETRY = "retry"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"


class Move(NamedTuple):
    """A legal move: from which states, to which (None: removed), and whether the folder is synced after it."""

    sources: frozenset[State]
    target: State | None
    synced: bool


MOVES = MappingProxyType(
    {
        "store": Move(frozenset(), State.INCOMING, synced=True),
        "refuse": Move(frozenset(), State.REJECTED, synced=False),
        "claim": Move(frozenset({State.INCOMING, State.RETRY}), State.PROCESSING, synced=False),
        "release": Move(frozenset({State.PROCESSING}), State.INCOMING, synced=True),
        "postpone": Move(frozenset({State.PROCESSING}), State.RETRY, synced=True),
        "finish": Move(frozenset({State.PROCESSING}), State.DONE, synced=True),
        "give_up": Move(frozenset({State.PROCESSING}), State.FAILED, synced=True),
        "retry": Move(frozenset({State.FAILED, State.DONE}), State.INCOMING, synced=True),
        "drop": Move(frozenset({State.FAILED, State.RETRY}), State.DONE, synced=True),
        "readmit": Move(frozenset({State.REJECTED}), State.INCOMING, synced=True),
        "prune": Move(frozenset({State.DONE, State.FAILED, State.REJECTED}), None, synced=False),
    }
)

# States in which a notification's scripts have yet to succeed: where a log may lag behind its file.
ACTIVE = (State.INCOMING, State.PROCESSING, State.RETRY)
