"""The README's figures: its tables, as the result file has them.

Owns: how a result is written for readers. Nothing in these tables is typed by hand.
"""

import statistics
from typing import Any

from confirm import DISK, MANY
from peers import PHP, PHP_SAFE, SPOOLER, WEBHOOK, WEBHOOK_SAFE
from rounds import medians, ratio

_ROWS = {
    DISK: "the disk's limit: 4 threads in C that store, and do nothing else",
    SPOOLER: "**spooler**: signature checked, file and folder synced",
    PHP: "nginx and php-fpm, as the vendor shows it: no check, no sync",
    PHP_SAFE: "nginx and php-fpm, signature checked, file synced and renamed",
    WEBHOOK: "webhook with a script: no check, no sync",
    WEBHOOK_SAFE: "webhook with a script, signature checked, file synced and renamed",
}
_BEGIN, _END = "<!-- figures -->", "<!-- /figures -->"
_BENCHMARKS = ("confirm", "processing", "wake-up", "backlog", "done today", "memory")


def written(readme: str, results: dict[str, Any]) -> str:
    """Return the README with these figures between its marks. Raises: ValueError if it has none."""
    before, begin, rest = readme.partition(_BEGIN)
    _old, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"the figures go between {_BEGIN} and {_END}, which aren't both there")
    return f"{before}{begin}\n{figures(results)}{end}{after}"


def figures(results: dict[str, Any]) -> str:
    """Return what stands between the README's marks, in Markdown: on what, against whom, and all the rest."""
    return f"{_where(results)}\n\n{_confirmed(results['confirm'])}\n\n{_rest(results)}\n"


def _confirmed(confirm: dict[str, Any]) -> str:
    turns = confirm["turns"][str(MANY)]
    lines = [
        "| | a second | spooler has | half within | 99 % within | processor time each |",
        "| --- | --: | --: | --: | --: | --: |",
    ]
    for name, words in _ROWS.items():
        row = medians(turns[name])
        cells = [
            words,
            f"{row['per_second']:,.0f}",
            f"{ratio(turns, SPOOLER, name, 'per_second'):.1f} times that" if name != SPOOLER else "",
            f"{row['p50_ms']:.1f} ms",
            f"{row['p99_ms']:.0f} ms",
            f"{row['processor_ms']:.2f} ms",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _rest(results: dict[str, Any]) -> str:
    """Every figure that has an aim, reached or missed."""
    lines = ["| | measured | aim |", "| --- | --: | --: |"]
    for benchmark in filter(results.__contains__, _BENCHMARKS):
        for aim in results[benchmark]["aims"]:
            bounds = {"at least": aim["at_least"], "at most": aim["at_most"]}
            wanted = next((f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None), "")
            lines.append(f"| {benchmark}: {aim['what']} | {aim['value']:.3g} | {wanted} |")
    return "\n".join(lines)


def _where(results: dict[str, Any]) -> str:
    """Return in one line what was measured on."""
    machine = results["confirm"]["machine"]
    rounds = statistics.median(len(turns) for turns in results["confirm"]["turns"][str(MANY)].values())
    file_system = machine["disk"].partition(" (")[0]
    return (
        f"{machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB, {file_system}, "
        f"Linux {machine['kernel'].split('-')[0]}, Python {machine['python']}; {MANY} connections, 1 KiB; "
        f"in the first table medians of {rounds:.0f} rounds in turns"
    )
