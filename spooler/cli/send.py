"""`spooler send`: play the sender against any URL.

Owns: the command's options, and what people see of the attempts and of what became of them.
Promises: standard output holds the summary alone, as text or as one JSON object; everything else goes to
standard error. An interruption prints the summary so far.
Does not promise: anything about the receiver; what it did with a notification stands in its own spool.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from spooler.algorithm import Algorithm, HashName, PaddingName
from spooler.callback import check_url
from spooler.cli.options import json_option
from spooler.delivery import DEACTIVATION_ERRORS, DEACTIVATION_SECONDS, MAX_ATTEMPTS, REPEAT_DELAYS_SECONDS
from spooler.errors import Exit
from spooler.keypair import load_private_key
from spooler.notification import Notification
from spooler.outgoing import Batch, NewNotifications, Outgoing
from spooler.sender import Attempt, Outcome, Sender, Summary
from spooler.signature import HASHES, PADDINGS
from spooler.units import format_duration

INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it
DEFAULT_TYPE = "contact_modified"


def _url(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    try:
        check_url(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no URL to send to: {error}") from None
    return value


def _above_zero(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise click.BadParameter("it must be a number above 0")
    return value


def _types(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value.isprintable():
            raise click.BadParameter(f"{value!r} holds characters that can't be printed")
    return values


@click.command(name="send")
@click.argument("url", callback=_url)
@click.option(
    "--key",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Private key (PEM) to sign with; `spooler keygen` makes one.",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    callback=_types,
    help=f"Type of the notifications; give it several times to mix.  [default: {DEFAULT_TYPE}]",
)
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many to send.")
@click.option(
    "--rate",
    type=float,
    callback=_above_zero,
    help="New notifications per second of real time.  [default: one right after the other]",
)
@click.option("--test", "is_test", is_flag=True, help="Mark them as tests (isTest).")
@click.option(
    "--body",
    "body_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Send exactly these bytes; with --count the same bytes again and again, which are repeats to the "
    "receiver.",
)
@click.option(
    "--speed",
    type=float,
    callback=_above_zero,
    default=1.0,
    show_default=True,
    help="Run through the schedule so many times as fast: at 60, a minute takes a second.",
)
@click.option("--hash", "hash_", type=click.Choice(list(HASHES)), default="sha256", show_default=True)
@click.option("--padding", type=click.Choice(list(PADDINGS)), default="pkcs1v15", show_default=True)
@click.option("--verbose", "-v", is_flag=True, help="A line for each success, too.")
@json_option
def command(
    *,
    url: str,
    key: Path,
    types: tuple[str, ...],
    count: int,
    rate: float | None,
    is_test: bool,
    body_file: Path | None,
    speed: float,
    hash_: HashName,
    padding: PaddingName,
    verbose: bool,
    as_json: bool,
) -> int:
    """Send signed notifications to URL as Dialog Insight does.

    Each waits at most 15 seconds for its reply, and only status 200 counts. What failed is repeated 1, 16,
    46 and 106 minutes after the action, then abandoned. After 100 errors in a row over at least 8 hours the
    webhook is switched off, and what is left is lost. --speed compresses these times, except for the wait
    for a reply.

    Exit status 0: everything was answered with 200 in the end; 1: something was not; 130: interrupted.

    \b
    Examples:
      spooler keygen keys
      spooler send http://127.0.0.1:8080/webhook/crm --key keys/private.pem
      spooler send URL --key keys/private.pem --test
      spooler send URL --key keys/private.pem --count 5000 --rate 100 \\
          --type contact_optout --type sending_Bounce --speed 60
      spooler send URL --key keys/private.pem --body captured.json --hash sha1
    """
    if body_file and (types or is_test):
        raise click.UsageError("--body sends the file as it is: leave out --type and --test")
    sender = Sender(url, load_private_key(key), Algorithm(hash_, padding), speed=speed)
    notifications: Batch = NewNotifications(types or (DEFAULT_TYPE,), count, is_test)
    if body_file:
        notifications = _same(body_file, count)
    interrupted = False
    with _progress() as progress:
        try:
            task = progress.add_task("", total=count)
            for attempt in sender.deliver(notifications, rate=rate):
                _show(progress, attempt, verbose)
                progress.update(task, advance=attempt.outcome is not Outcome.REPEATED)
        except KeyboardInterrupt:
            interrupted = True
    summary = sender.summary()
    click.echo(json.dumps(asdict(summary)) if as_json else _text(summary, count))
    if interrupted:
        return INTERRUPTED
    return Exit.OK if summary.everything_accepted else Exit.FAILED


def _same(body_file: Path, count: int) -> Batch:
    try:
        body = body_file.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{body_file}: the body can't be read: {error.strerror}") from None
    seen = Notification.read(body)
    return [Outgoing(seen.id, seen.type, body)] * count


def _progress() -> Progress:
    """Make a bar on a terminal; elsewhere it is never drawn, and the lines stand alone."""
    console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
    columns = (TextColumn("done"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show(progress: Progress, attempt: Attempt, verbose: bool) -> None:
    if attempt.outcome is Outcome.ACCEPTED and not verbose:
        return
    what = f"{attempt.id} {attempt.type}: attempt {attempt.number} of {MAX_ATTEMPTS}"
    progress.console.print(f"{what}: {_answer(attempt)}; {_consequence(attempt)}")


def _answer(attempt: Attempt) -> str:
    if attempt.status is None:
        return attempt.error
    if 200 < attempt.status < 300:
        return f"{attempt.status} (only 200 counts)"
    return str(attempt.status)


def _consequence(attempt: Attempt) -> str:
    match attempt.outcome:
        case Outcome.ACCEPTED:
            return f"accepted in {attempt.seconds * 1000:.0f} ms"
        case Outcome.REPEATED:
            return f"again in {format_duration(REPEAT_DELAYS_SECONDS[attempt.number - 1])}"
        case Outcome.ABANDONED:
            return "abandoned"
        case Outcome.LOST:
            return "lost, as the webhook is switched off"


def _text(summary: Summary, count: int) -> str:
    fates = f"{summary.accepted} accepted, {summary.abandoned} abandoned"
    effort = f"{summary.attempts} attempts, {summary.repeats} of them repeats, {summary.seconds:.1f} s"
    lines = [f"{summary.sent} of {count} sent: {fates} ({effort})"]
    if summary.waiting:
        lines.append(f"{summary.waiting} were still waiting for a repeat")
    if summary.deactivated:
        rule = f"at least {DEACTIVATION_ERRORS} errors in a row over {format_duration(DEACTIVATION_SECONDS)}"
        lines.append(f"the webhook was switched off after {rule}; {summary.lost_by_deactivation} are lost")
    if summary.latency_max_ms is not None:
        half, most, slowest = summary.latency_p50_ms, summary.latency_p99_ms, summary.latency_max_ms
        lines.append(
            f"replies: half within {half:.1f} ms, 99 % within {most:.1f} ms, all within {slowest:.1f} ms"
        )
    return "\n".join(lines)
