"""``weir verify``: what is stored, held against ledgers of what was acknowledged."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from weir.settings import load_settings
from weir.verify.ledger import read_ledgers
from weir.verify.report import FAULTS, Report
from weir.verify.verification import Patience, verify

LINE_SECONDS: Final = 5.0
"""Where there is no terminal, progress is not told more often."""


@click.command(name="verify")
@click.argument("ledgers", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="LEDGER…")
@click.option("--wait", type=click.FloatRange(0), default=0.0, metavar="SECONDS", help="Look again until it is equal.")
@click.option("--closed", is_flag=True, help="With --wait: also wait until the last minute is closed.")
@click.option("--rows", type=click.IntRange(0, 1_000), default=20, show_default=True, help="Differences to tell.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout; progress goes to stderr.")
@click.pass_context
def command(ctx: click.Context, ledgers: tuple[Path, ...], wait: float, closed: bool, rows: int, as_json: bool) -> None:
    """Compare what ClickHouse has of the ledgers' devices with a recomputation from what was acknowledged.

    Readings must be stored once with the value that holds; closed 1-minute and 1-hour windows must be equal; bad
    records must be dead letters with their reason. What is unknown may be stored or not. A window that is still open is
    counted, not compared. Name all ledgers of the same devices. A million readings take about 20 s and 300 MB.

    \b
    Example:
      weir load --ledger run.ledger --seconds 60
      weir verify run.ledger --wait 120 --closed
      weir verify run.ledger --json --rows 100

    \b
    Exit codes:
      0    all equal
      1    something is lost, doubled, never sent or different, or a server is away
      2    wrong usage or settings, or a file that is no ledger
      130  interrupted
    """
    settings = load_settings()
    console = Console(stderr=True, highlight=False)
    with _Progress(console) as progress:
        progress("reading the ledger")
        sent = read_ledgers(ledgers)
        report = verify(settings, sent, Patience(wait, closed), progress)
    if as_json:
        click.echo(json.dumps(report.to_dict(rows)))
    else:
        print_report(Console(highlight=False), report, rows)
    ctx.exit(0 if report.equal else 1)


class _Progress:
    """One changing line on a terminal, else a line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("starting")
        self._said = time.monotonic()

    def __call__(self, what: str) -> None:
        if self._console.is_terminal:
            self._status.update(what)
        elif time.monotonic() - self._said >= LINE_SECONDS:
            self._console.print(what, soft_wrap=True, markup=False)
            self._said = time.monotonic()

    def __enter__(self) -> _Progress:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()


def print_report(console: Console, report: Report, rows: int) -> None:
    """Tell a report to a person; with the first ``rows`` differences."""
    console.print(
        f"{report.acknowledged:,} messages were acknowledged{_spooled(report)}, {report.failed:,} failed, "
        f"{report.unknown:,} are unknown ({report.unknown_stored:,} of those are stored); "
        f"{report.resends:,} repeat another, "
        f"{report.conflicts:,} readings came with more than one value.",
        soft_wrap=True,
    )
    console.print(_table(report))
    for each in report.differences[:rows]:
        measured = f": {each.field} should be {each.expected or 'absent'}, is {each.stored or 'absent'}"
        line = f"{each.table}: {FAULTS[each.fault]}: {each.where}{measured if each.field else ''}"
        console.print(line, soft_wrap=True, markup=False)
    for sentence in _remarks(report, rows):
        console.print(sentence, soft_wrap=True, markup=False)


def _spooled(report: Report) -> str:
    return f" ({report.spooled:,} of them from a gateway's spool)" if report.spooled else ""


def _table(report: Report) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for name in ("compared", *FAULTS.values()):
        table.add_column(name, justify="right")
    compared = {
        "readings": report.distinct,
        "raw_readings": report.acknowledged - report.bad + report.unknown_stored,
        "aggregates_1m": report.windows["aggregates_1m"],
        "aggregates_1h": report.windows["aggregates_1h"],
        "deadletters": report.bad,
    }
    for name, count in compared.items():
        table.add_row(name, f"{count:,}", *(f"{found:,}" for found in report.found(name).values()))
    return table


def _remarks(report: Report, rows: int) -> list[str]:
    remarks = []
    more = report.faults.total() - min(rows, len(report.differences))
    if more:
        remarks.append(f"… and {more:,} more differences.")
    if report.open_windows.total():
        minutes, hours = report.open_windows["aggregates_1m"], report.open_windows["aggregates_1h"]
        remarks.append(f"Not closed yet, so not compared: {minutes:,} minutes and {hours:,} hours.")
    if report.unfinished:
        remarks.append("The ledger has no end: the load was killed, or still runs (then what it sends now looks new).")
    if not report.caught_up:
        behind = ", ".join(f"{stage} {count:,}" for stage, count in report.lag.items() if count)
        remarks.append(f"Messages that are not stored yet: {behind}; --wait SECONDS waits for them.")
    if report.faults["readings", "never sent"]:
        remarks.append("Phantoms may come from another run with the same --prefix: name its ledger, too.")
    remarks.append("All equal." if report.equal else f"{report.faults.total():,} differences.")
    return remarks
