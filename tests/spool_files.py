"""A notification, put straight into the folders of a spool, and what they hold afterwards."""

from conftest import tree

from spooler import history, latest
from spooler.folders import WebhookFolders
from spooler.name import Name, log_name
from spooler.notification import Notification
from spooler.state import State

BODY = b'{"EventUniqueID": "7c1f4a52", "Type": "contact_modified", "x": "\xff\0\n"}'
NOTIFICATION = Notification("7c1f4a52", "contact_modified", "", None, is_test=False, problem="")
LINES: list[history.Line] = [{"at": "a", "attempt": 1, "exit": 75}, {"at": "b", "note": "n"}]


def put(spool: WebhookFolders, state: State, name: str = "", lines: list[history.Line] | None = None) -> str:
    """Put a notification into a state's folder as it would be there, with a log if there are lines."""
    name = name or str(Name(spool.clock.now(), "7c1f4a52", "contact_modified"))
    folder = (
        spool.folder(state) / f"{spool.clock.now():%Y-%m-%d}" if state is State.DONE else spool.folder(state)
    )
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(BODY)
    if lines is not None:
        history.append(folder / log_name(name), lines)
    return name


def files(spool: WebhookFolders) -> dict[str, bytes | None]:
    """Return all files of the webhook, without the folders and the note of the latest stamp."""
    found = tree(spool.base).items()
    note = f"rejected/{latest.FILE_NAME}"
    return {name: content for name, content in found if content is not None and name != note}
