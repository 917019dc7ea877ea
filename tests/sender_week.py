#!/usr/bin/env python3
"""A week of the sender against spooler, with an outage, slow answers and lost ones, on a virtual clock.

Owns: the weeks that are played, and the judgement over each.
Promises: the sender is spooler's own, with its rules (`spooler.delivery`), as `spooler send` uses them; they
are held against a second reading of them here.
"""

import itertools
import json
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
import structlog
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from running_service import KEY, SHA256
from virtual_spooler import SMOOTH, TROUBLED, URL, Delivery, Kind, Outage, Trip, VirtualSpooler

from spooler import delivery, history
from spooler.finished import REPEATS
from spooler.outgoing import Outgoing, make_body
from spooler.sender import Sender, Summary
from spooler.state import State
from spooler.units import Duration

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
LENGTHS = ("1m", "5m", "15m", "30m", "60m", "90m", "100m", "101m", "106m", "107m", "2h", "4h", "8h", "12h")
INTERVALS = ("10m", "30m", "60m")
# An outage that is no longer loses nothing: who was sent first in it is sent for the last time after it.
HARMLESS_SECONDS = sum(delivery.REPEAT_DELAYS_SECONDS)
_CONTACTS = 7
_SETTLING_SECONDS = 3 * HOUR  # for the scripts' retries, after the last request
MEMORY = Path("/dev/shm")  # thousands of syncs, none of which is what is shown here


@dataclass(frozen=True)
class Plan:
    """Notifications every `interval_seconds`, one after another, and what gets in their way.

    trouble: the share of requests that are slow, or whose answers are lost.
    """

    interval_seconds: float
    outages: Sequence[Outage] = ()
    trouble: float = 0.0
    seconds: float = 7 * DAY
    seed: int = 0

    @property
    def count(self) -> int:
        """How many notifications there are."""
        return int(self.seconds / self.interval_seconds)


@dataclass(frozen=True)
class Account:
    """What became of a plan's notifications.

    lost: those that spooler never got, abandoned or lost with the webhook switched off.
    repeats_recognised: requests that brought what was stored already. violations: broken promises, in words.
    """

    planned: int
    attempts: int
    lost: int
    abandoned: int
    deactivated: bool
    repeats_recognised: int
    run_twice: int
    violations: list[str] = field(default_factory=list)


def play(plan: Plan) -> Account:
    """Play it on a spool of its own, and judge."""
    with (
        tempfile.TemporaryDirectory(prefix="week-", dir=MEMORY if MEMORY.is_dir() else None) as folder,
        structlog.testing.capture_logs() as logs,
    ):
        spooler = VirtualSpooler(Path(folder) / "site", plan.outages, _trips(plan))
        sender = Sender(URL, KEY, SHA256, clock=spooler, post=spooler.post)
        batch = [_outgoing(number) for number in range(plan.count)]
        for _attempt in sender.deliver(batch, rate=1 / plan.interval_seconds):
            pass
        spooler.sleep(max((outage.end for outage in plan.outages), default=0.0) + _SETTLING_SECONDS)
        account = _judge([outgoing.id for outgoing in batch], spooler, sender.summary())
        account.violations.extend(f"a defect: {line}" for line in logs if line["event"] == "defect")
        return account


def _outgoing(number: int) -> Outgoing:
    # Three of one contact in a row: in a burst the third comes while the second waits for its retry.
    id_ = f"n{number:06}"
    return Outgoing(id_, "contact_modified", make_body("contact_modified", id_, number // 3 % _CONTACTS))


def _trips(plan: Plan) -> Iterator[Trip]:
    chance = random.Random(plan.seed)
    while True:
        yield chance.choice(TROUBLED) if chance.random() < plan.trouble else SMOOTH


def _judge(planned: Sequence[str], spooler: VirtualSpooler, summary: Summary) -> Account:
    stored = {request.id for request in spooler.deliveries if request.answered == 200}
    succeeded = Counter(run.id for run in spooler.runs() if run.exit == 0)
    requests: defaultdict[str, list[Delivery]] = defaultdict(list)
    for request in spooler.deliveries:
        requests[request.id].append(request)
    repeats = sum(
        REPEATS in line
        for file in spooler.files(State.DONE)
        for line in history.read(file.with_suffix(".log"))[-1:]
    )
    account = Account(
        planned=len(planned),
        attempts=len(spooler.deliveries),
        lost=len(planned) - len(stored),
        abandoned=summary.abandoned,
        deactivated=summary.deactivated,
        repeats_recognised=repeats,
        run_twice=sum(count > 1 for count in succeeded.values()),
    )
    found = account.violations
    found += [f"{id_} was stored and never run" for id_ in stored - succeeded.keys()]
    found += [f"{id_} ran {count} times" for id_, count in succeeded.items() if count > 1]
    found += [f"{id_} ran and was never confirmed" for id_ in succeeded.keys() - stored]
    found += _out_of_order(spooler)
    found += [f"{file} is left" for state in State if state != State.DONE for file in spooler.files(state)]
    for request in spooler.deliveries:
        if request.due != (request.answered == 200):
            found.append(f"{request.id} was answered {request.answered} after {request.at:.0f} s")
    confirmed = sum(request.answered == 200 for request in spooler.deliveries)
    if repeats != confirmed - len(stored):
        found.append(f"{repeats} repeats were recognised of {confirmed - len(stored)}")
    if summary.deactivated != is_switched_off(spooler.deliveries):
        found.append("the webhook was switched off against the rule, or wasn't by it")
    if not summary.deactivated:
        found += [
            f"{id_} was lost without its attempts" for id_ in planned if not _had_its_attempts(requests[id_])
        ]
    return account


def _out_of_order(spooler: VirtualSpooler) -> Iterator[str]:
    """Yield who was overtaken by a younger one of its contact."""
    latest: dict[str, str] = {}
    for run in spooler.runs():
        if run.exit == 0:
            if run.file < latest.get(run.contact, ""):
                yield f"{run.file} ran after {latest[run.contact]}"
            latest[run.contact] = run.file


def _had_its_attempts(requests: Sequence[Delivery]) -> bool:
    """Say whether the sender gave up only after a 200, or after the last of all attempts, in their time."""
    if not requests:
        return False
    gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(requests)]
    late = zip(gaps, delivery.REPEAT_DELAYS_SECONDS, strict=False)
    in_time = all(gap >= delay - 1e-3 for gap, delay in late)
    ended_well = requests[-1].came_back == 200 or len(requests) == delivery.MAX_ATTEMPTS
    return in_time and ended_well and all(request.came_back != 200 for request in requests[:-1])


def is_switched_off(requests: Sequence[Delivery]) -> bool:
    """Say by the rule's words, looking at all requests at once, whether they switch the webhook off."""
    for failed, run in itertools.groupby(requests, lambda request: request.came_back != 200):
        errors = list(run)
        # A request that waits for its reply ends later than it began, and only then is it an error.
        lasted_seconds = errors[-1].ended - errors[0].ended
        if failed and len(errors) >= 100 and lasted_seconds >= 8 * HOUR:
            return True
    return False


def deactivating_seconds(interval_seconds: float) -> float:
    """Return the length beyond which an outage that refuses at once switches the webhook off.

    It begins with a notification, and another one comes every so often.
    """
    repeats = list(itertools.accumulate(delivery.REPEAT_DELAYS_SECONDS, initial=0.0))
    begins = [number * interval_seconds for number in range(delivery.DEACTIVATION_ERRORS)]
    begins += [float(at) for at in range(0, int(2 * DAY), int(interval_seconds)) if at > begins[-1]]
    errors = sorted(begin + repeat for begin in begins for repeat in repeats)
    late = errors[delivery.DEACTIVATION_ERRORS - 1 :]
    return next(at for at in late if at >= delivery.DEACTIVATION_SECONDS)


def _plans(
    lengths: Sequence[float], intervals: Sequence[float], seed: int, days: float, trouble: float
) -> list[Plan]:
    chance, kinds = random.Random(seed), itertools.cycle(Kind)
    plans = []
    for interval, length in itertools.product(intervals, lengths):
        begin = chance.uniform(0.2, 0.4) * days * DAY
        outage = Outage(begin, begin + length, next(kinds))
        plans.append(Plan(interval, [outage], trouble, days * DAY, chance.randrange(1 << 32)))
    return plans


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--outage", "outages", multiple=True, default=LENGTHS, help="How long; several.", show_default=True
)
@click.option(
    "--every", multiple=True, default=INTERVALS, help="A notification so often; several.", show_default=True
)
@click.option("--days", type=click.FloatRange(1), default=7.0, show_default=True)
@click.option(
    "--trouble",
    type=click.FloatRange(0, 1),
    default=0.05,
    show_default=True,
    help="Share of slow and lost answers.",
)
@click.option("--seed", type=int, help="Of the moments and the trouble; else a new one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(
    outages: Sequence[str], every: Sequence[str], as_json: bool, seed: int | None, **settings: float
) -> None:
    """Play a week of the sender for each length of an outage and each interval; tell what was lost.

    Exit status 1 if a promise was broken.
    """
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    try:
        lengths, intervals = ([Duration.parse(text) for text in texts] for texts in (outages, every))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    plans = _plans(lengths, intervals, seed, **settings)
    with Progress(console=Console(stderr=True)) as progress:
        rows = [(plan, play(plan)) for plan in progress.track(plans, description="weeks")]
    violations = [violation for _plan, account in rows for violation in account.violations]
    if as_json:
        weeks = [{**asdict(plan), **asdict(account)} for plan, account in rows]
        click.echo(json.dumps({"seed": seed, "weeks": weeks, "violations": len(violations)}))
    else:
        _print(rows, seed)
    sys.exit(1 if violations else 0)


def _print(rows: Sequence[tuple[Plan, Account]], seed: int) -> None:
    heads = ["notification every", "outage", "kind", "sent", "requests", "lost", "of them abandoned"]
    heads += ["repeats recognised", "run twice", "switched off", "violations"]
    table = Table(*heads, caption=f"seed {seed}")
    for plan, account in rows:
        outage = plan.outages[0]
        minutes = [
            f"{seconds / MINUTE:g} min" for seconds in (plan.interval_seconds, outage.end - outage.begin)
        ]
        counts = (
            account.planned,
            account.attempts,
            account.lost,
            account.abandoned,
            account.repeats_recognised,
        )
        off = "yes" if account.deactivated else "no"
        rest = (account.run_twice, off, len(account.violations))
        table.add_row(*minutes, outage.kind, *map(str, (*counts, *rest)))
    console = Console(width=None if sys.stdout.isatty() else 130)
    console.print(table)
    for _plan, account in rows:
        for violation in account.violations[:10]:
            console.print(violation, markup=False)


if __name__ == "__main__":
    main()
