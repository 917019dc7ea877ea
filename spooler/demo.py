"""The demonstration: the whole path in a folder of its own, with real keys, real HTTP and real scripts.

Owns: the demonstration's configuration and scripts, the requests that are sent, and what should become of
each.
Promises: what it shows is what the folders hold; nothing is played. The folder is left to look at.
Does not promise: durations that anybody would run with; retries come after a second.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from spooler.algorithm import Algorithm
from spooler.callback import post
from spooler.errors import SpoolerError
from spooler.history import last_word
from spooler.history import read as read_log
from spooler.keypair import generate, write_pair
from spooler.name import Name, log_name
from spooler.notification import Notification
from spooler.outgoing import make_body
from spooler.playground import Service, free_port
from spooler.signature import sign
from spooler.state import State

WEBHOOK = "demo"
_MARK = ".made-by-spooler-demo"
_LOOK_SECONDS = 0.1
_GONE = 1009

_CONFIGURATION = """\
# Made by `spooler demo`.
spool = "spool"
processors = "processors"

[receiver]
listen = "127.0.0.1:{port}"
workers = 1
min_free = "1MiB"

[processor]
timeout = "5s"
retry_delays = ["1s", "1s"]          # three attempts, soon after each other

[webhook.{webhook}]
public_keys = ["keys/public.pem"]
"""

_SCRIPTS = {
    "10-crm": f"""\
#!/bin/sh
# Stands for a script that brings a change into a CRM.
if [ "$SPOOLER_TYPE" = contact_created ] && [ "$SPOOLER_ATTEMPT" = 1 ]; then
    echo "the CRM is being restarted"
    exit 75                            # try again later
fi
if [ "$SPOOLER_CONTACT" = {_GONE} ]; then
    echo "the CRM doesn't answer for contact $SPOOLER_CONTACT"
    exit 75
fi
echo "contact $SPOOLER_CONTACT updated from $(wc -c) bytes"
""",
    "contact_optout/20-newsletter": """\
#!/bin/sh
# Runs for opt-outs only.
echo "contact $SPOOLER_CONTACT taken off the newsletter"
""",
}


@dataclass(slots=True)
class Step:
    """One request: what is special about it, what should be answered, and where it should end.

    status, state and told fill up while the demonstration runs: the answer, the folder that the file is in,
    and the last thing that its log says.
    """

    what: str
    body: bytes
    expected_status: int
    expected_state: State
    forged: bool = False
    status: int | None = None
    state: State | None = None
    told: str = ""
    file: Path | None = field(default=None, repr=False)

    @property
    def settled(self) -> bool:
        """Whether nothing more will become of it."""
        return self.status is not None and self.state in {State.DONE, State.FAILED, State.REJECTED}

    @property
    def as_expected(self) -> bool:
        """Whether it went as it should."""
        return (self.status, self.state) == (self.expected_status, self.expected_state)


def story() -> list[Step]:
    """Return the requests in the order in which they are sent."""
    modified = make_body("contact_modified", "demo-modified", 1001)
    return [
        Step("a contact was modified", modified, 200, State.DONE),
        Step("a contact opted out", make_body("contact_optout", "demo-optout", 1002), 200, State.DONE),
        Step("an e-mail bounced", make_body("sending_Bounce", "demo-bounce", 1003), 200, State.DONE),
        Step(
            "a test from the configuration page",
            make_body("contact_modified", "demo-test", 1004, is_test=True),
            200,
            State.DONE,
        ),
        Step("the first one again, a repeat", modified, 200, State.DONE),
        Step(
            "a forgery: changed after it was signed",
            make_body("contact_optout", "demo-forged", 1005),
            401,
            State.REJECTED,
            forged=True,
        ),
        Step(
            "fails first, and works later",
            make_body("contact_created", "demo-later", 1006),
            200,
            State.DONE,
        ),
        Step(
            "fails in every attempt",
            make_body("contact_modified", "demo-never", _GONE),
            200,
            State.FAILED,
        ),
    ]


class Demonstration:
    """A spool of its own, and the services that work on it."""

    def __init__(self, folder: Path) -> None:
        """Make the folder anew. Raises: SpoolerError if it holds something else."""
        self.folder = folder
        self._key = _prepare(folder)
        port = free_port()
        config = folder / "spooler.toml"
        config.write_text(_CONFIGURATION.format(port=port, webhook=WEBHOOK), encoding="utf-8")
        self._service = Service("run", config, port, self.log)
        self.url = f"http://127.0.0.1:{port}/webhook/{WEBHOOK}"

    @property
    def log(self) -> Path:
        """Where receiver and processor log to."""
        return self.folder / "spooler.log"

    def __enter__(self) -> "Demonstration":
        """Start the services and wait until they answer. Raises: SpoolerError if they don't."""
        self._service.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._service.__exit__(*exception)

    def play(self, steps: list[Step], within_seconds: float) -> Iterator[None]:
        """Send every request and follow what becomes of it; yield whenever something may have changed."""
        give_up_at = time.monotonic() + within_seconds
        for step in steps:
            signature = sign(step.body, self._key, Algorithm("sha256", "pkcs1v15"))
            sent = step.body.replace(b"1005", b"1001") if step.forged else step.body
            step.status = post(self.url, sent, signature).status
            self._follow(steps)
            yield
        while not all(step.settled for step in steps) and time.monotonic() < give_up_at:
            time.sleep(_LOOK_SECONDS)
            self._follow(steps)
            yield

    def _follow(self, steps: list[Step]) -> None:
        """Look where the files are now. Two of one id are told apart by their order of receipt."""
        found: dict[str, list[tuple[str, State, Path]]] = {}
        for state in State:
            for path in sorted((self.folder / "spool" / WEBHOOK / state).rglob("*.json")):
                name = Name.parse(path.name)
                key = "forged" if state is State.REJECTED else name.id if name else ""
                found.setdefault(key, []).append((path.name, state, path))
        for step in steps:
            files = found.get("forged" if step.forged else Notification.read(step.body).id)
            if step.status is not None and files:
                files.sort()
                _name, step.state, step.file = files.pop(0)
                step.told = last_word(read_log(step.file.with_name(log_name(step.file.name))))


def _prepare(folder: Path) -> RSAPrivateKey:
    if folder.exists() and not (folder / _MARK).exists():
        raise SpoolerError(f"{folder}: exists already and isn't from a demonstration; name another folder")
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / _MARK).touch()
        for name, text in _SCRIPTS.items():
            script = folder / "processors" / name
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text(text, encoding="utf-8")
            script.chmod(0o755)
    except OSError as error:
        raise SpoolerError(f"{error.filename or folder}: can't be written: {error.strerror}") from None
    key = generate()
    write_pair(folder / "keys", key)
    return key
