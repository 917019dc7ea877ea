"""Alert texts: what the mails say.

Owns: the wording: what happened, which files, why, and what to type.
Promises: a subject is short, of fixed form, and holds no text from the network. A body is printable ASCII
apart from line breaks, and at most some kilobytes.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from spooler.delivery import DEACTIVATION_ERRORS, DEACTIVATION_SECONDS
from spooler.refusals import Refused
from spooler.state import State
from spooler.units import format_duration

FILES_SHOWN = 10
_CHARACTERS = 200
_NOT_PLAIN = re.compile("[^ -~]")


class Text(NamedTuple):
    """A subject, without host and webhook, and a body."""

    subject: str
    body: str


class Failure(msgspec.Struct, frozen=True):
    """A notification that ended in `failed/`: its file's name, and why, as its log says.

    Its texts are to be `harmless`: else they may be none that can be written down.
    """

    file: str
    id: str
    reason: str


def harmless(text: str) -> str:
    """Return a text for a mail; what is harmless stays as it is.

    TRUST: names and logs hold what strangers typed, and needn't be UTF-8.
    """
    escaped = _NOT_PLAIN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
    return escaped if len(escaped) <= _CHARACTERS else f"{escaped[:_CHARACTERS]}..."


def failed(webhook: str, count: int, latest: Sequence[Failure]) -> Text:
    """Tell of notifications that ended in `failed/` today."""
    lines = []
    for failure in latest:
        lines += [f"  {harmless(failure.file)}", f"    {harmless(failure.reason)}"]
    shown = harmless(latest[-1].id) if latest else "ID"
    body = _body(
        f"{_times(count, 'notification')} of webhook {webhook} ended in {State.FAILED}/ today (UTC): "
        "no further attempt is made until you decide. The latest:",
        *lines,
        "",
        "To see one, with its history and its scripts' output, and then to try it, or all, again:",
        f"  spooler show {shown}",
        f"  spooler retry {shown}",
        "  spooler retry --all",
        "The next mail about this comes at ten times as many.",
    )
    return Text(f"{count} failed today", body)


def refused(webhook: str, count: int, known: Refused, now: datetime) -> Text:
    """Tell of requests that were not answered with 200 today."""
    return Text(
        f"{count} refused today",
        _body(
            f"{_times(count, 'request')} to webhook {webhook} got another answer than 200 today (UTC):",
            *_reasons(known),
            *_how_close(known, now),
            "",
            "To see why, and whether a key is wrong:",
            *_look_into_refusals(webhook),
            "The next mail about this comes at ten times as many.",
        ),
    )


def accepted_again(webhook: str, count: int, known: Refused) -> Text:
    """Tell that a 200 has ended the run of errors."""
    return Text(
        "accepts again",
        _body(
            f"Webhook {webhook} has answered 200 again; the sender counts its errors from none.",
            f"{_times(count, 'request')} got another answer today (UTC):",
            *_reasons(known),
            "",
            "If they should have been accepted:",
            *_look_into_refusals(webhook),
        ),
    )


def silent(webhook: str, last: datetime | None, since: datetime, now: datetime) -> Text:
    """Tell that nothing comes in."""
    told = f"since {_moment(last)}" if last else f"so far (watched since {_moment(since)})"
    return Text(
        "nothing received",
        _body(
            f"Webhook {webhook} has received nothing {told}, for {_span(now, last or since)}.",
            "The platform may have switched it off: it does after "
            f"{DEACTIVATION_ERRORS} errors in a row over {format_duration(DEACTIVATION_SECONDS)}.",
            "",
            "Look at the webhook's page on the platform, and switch it on again there. Here:",
            "  spooler check",
            "  spooler status",
        ),
    )


def received_again(webhook: str, last: datetime, since: datetime) -> Text:
    """Tell that the silence is over."""
    before = f"before, nothing since {_moment(since)}"
    line = f"Webhook {webhook} received a notification at {_moment(last)}; {before}."
    return Text("receives again", _body(line))


def waiting(webhook: str, oldest: datetime, now: datetime, *, paused: bool) -> Text:
    """Tell that the oldest one waits for long."""
    why = (
        ["The webhook is paused; nothing is processed until you let it go on:", f"  spooler resume {webhook}"]
        if paused
        else [
            "Nothing is lost. What waits, and what it waits for:",
            "  spooler status",
            f"  spooler list {State.RETRY}",
        ]
    )
    head = (
        f"The oldest notification of webhook {webhook} that isn't settled was received at {_moment(oldest)}, "
    )
    subject = "waiting for over an hour" + (" (paused)" if paused else "")
    return Text(subject, _body(f"{head}{_span(now, oldest)} ago.", "", *why))


def waiting_well(webhook: str, since: datetime) -> Text:
    """Tell that nothing waits for long any more."""
    line = f"Webhook {webhook} has caught up; what was received at {_moment(since)} had waited over an hour."
    return Text("nothing waits long any more", _body(line))


def disk_low(shortage: str) -> Text:
    """Tell that nothing is accepted for want of room."""
    return Text(
        "disk full",
        _body(
            f"The spool's disk has too little room: {harmless(shortage)}. While this lasts, notifications "
            "are answered with 503; the sender repeats each for under two hours, then it is lost.",
            "",
            "To see what takes the room, and to remove what retention allows:",
            "  spooler status",
            "  spooler prune",
        ),
    )


def disk_unwritable(why: str) -> Text:
    """Tell that nothing is accepted because nothing can be written."""
    return Text(
        "disk can't be written",
        _body(
            f"The spool can't be written: {harmless(why)}. While this lasts, notifications "
            "are answered with 503; the sender repeats each for under two hours, then it is lost.",
            "",
            "To see whether the disk is read-only, and what the kernel says of it:",
            "  spooler status",
            "  journalctl -k -p warning",
        ),
    )


def disk_well(since: datetime, now: datetime) -> Text:
    """Tell that notifications can be stored again."""
    line = (
        "The spool's disk has room, and can be written. "
        f"It hadn't, or couldn't be, since {_moment(since)}, for {_span(now, since)}."
    )
    return Text("disk is well again", _body(line))


def test() -> Text:
    """Show that mail arrives."""
    return Text("test", _body("This is what `spooler check --alert` sends: alerts reach you."))


def _reasons(known: Refused) -> list[str]:
    counted = sorted(known.today.items(), key=lambda item: -item[1])
    lines = [f"  {count} {reason.replace('_', ' ')}" for reason, count in counted]
    return [*lines, f"The latest: {harmless(known.why)}"] if known.why else lines


def _how_close(known: Refused, now: datetime) -> list[str]:
    rule = f"{DEACTIVATION_ERRORS} errors in a row over {format_duration(DEACTIVATION_SECONDS)} or more"
    if known.since is None:
        return [f"The latest answer was a 200. (The platform switches a webhook off after {rule}.)"]
    errors_left, seconds_left = known.to_deactivation(now)
    run = f"{known.errors} in a row since {_moment(known.since)} ({_span(now, known.since)})."
    if errors_left or seconds_left:
        missing = [f"{errors_left} more errors"] if errors_left else []
        missing += [f"{format_duration(seconds_left)} more"] if seconds_left else []
        return [f"{run} The platform switches a webhook off after {rule}: {' and '.join(missing)} to go."]
    return [f"{run} The platform switches a webhook off after {rule}: IT MAY BE OFF ALREADY."]


def _look_into_refusals(webhook: str) -> list[str]:
    return [
        f"  journalctl -u 'spooler*' | grep refused | grep webhook={webhook}",
        "  spooler check",
        "  spooler readmit --dry-run",
    ]


def _times(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _span(now: datetime, since: datetime) -> str:
    return format_duration(max(0.0, (now - since).total_seconds()))


def _body(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)
