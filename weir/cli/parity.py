"""``weir parity``: raw readings against 1-minute windows against 1-hour windows."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack

import click
from rich.console import Console

from sinks.clickhouse.parity import HOUR_MS, StoredParity
from weir.dlq.selection import moment
from weir.errors import UsageError
from weir.parity.check import Checked, ParityCheck, Scope, instant
from weir.parity.mend import mend
from weir.parity.report import as_json, first_faults, print_check
from weir.settings import Settings, load_settings

DAY_MS = 24 * HOUR_MS
LINE_SECONDS = 2.0
"""Where there is no terminal, progress is not told more often."""


@click.command(name="parity")
@click.option("--from", "since", metavar="T", help="Windows that begin at T or later (UTC). Default: 24h.")
@click.option("--to", "until", metavar="T", help="Windows that end at T or before. Default: now.")
@click.option("--org", "orgs", multiple=True, metavar="ORG", help="This organisation only; may be repeated.")
@click.option("--repair", is_flag=True, help="Publish corrections for what differs; a worker must run to store them.")
@click.option("--yes", is_flag=True, help="Repair without asking.")
@click.option("--rows", type=click.IntRange(min=0), default=20, show_default=True, help="Differing windows to show.")
@click.option("--json", "as_object", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def command(
    ctx: click.Context,
    since: str | None,
    until: str | None,
    orgs: tuple[str, ...],
    repair: bool,
    yes: bool,
    rows: int,
    as_object: bool,
) -> None:
    """Check that every 1-minute window is what its readings say, and every 1-hour window what its minutes say.

    Counts, smallest, largest, first and last values must be equal, sums and spreads up to rounding. Only closed windows
    whose source is still kept are compared; T is a time such as 2026-11-21T08:00, or a duration before now: 90m, 24h,
    7d. A missing window is computed again by --repair, a different one corrected, a phantom (without any reading) taken
    back.

    \b
    Examples:
      weir parity --from 2h
      weir parity --org acme --from 2026-11-20 --to 2026-11-21 --json
      weir parity --from 7d --repair

    \b
    Exit codes:
      0    equal, or nothing to compare
      1    windows differ, or it could not be done
      2    wrong usage or settings
      130  interrupted
    """
    scope = _scope(since, until, orgs)
    if yes and not repair:
        raise UsageError("--yes answers what --repair asks; give --repair, too.")
    settings = load_settings()
    stored = StoredParity(settings)
    with ExitStack() as leaving:
        progress = leaving.enter_context(_Progress(Console(stderr=True, highlight=False)))
        check = ParityCheck(settings, stored, progress)
        leaving.callback(check.close)
        checked = check.check(scope)
        repaired = None
        if repair and checked.faults and _agreed(checked, settings, yes, progress):
            repaired = mend(settings, check, checked, progress)
            checked = check.check(scope)
        faults = first_faults(stored, checked, rows)
    if as_object:
        click.echo(json.dumps(as_json(checked, faults, repaired)))
    else:
        print_check(Console(highlight=False), checked, faults)
    click.echo(_verdict(checked, sum(repaired.values()) if repaired is not None else None), err=True)
    ctx.exit(1 if checked.faults else 0)


def _scope(since: str | None, until: str | None, orgs: tuple[str, ...]) -> Scope:
    now = time.time_ns() // 1_000_000
    end = moment(until, now) if until is not None else now
    begin = moment(since, now) if since is not None else end // HOUR_MS * HOUR_MS - DAY_MS
    if begin >= end:
        raise UsageError("--from is not before --to.")
    return Scope(begin, end, tuple(dict.fromkeys(orgs)))


def _agreed(checked: Checked, settings: Settings, yes: bool, progress: _Progress) -> bool:
    """Say what a repair would do, and ask."""
    progress.pause()
    topics = {"1m": settings.topics.aggregates_1m, "1h": settings.topics.aggregates_1h}
    what = " and ".join(f"{count:,} to {topics[level]}" for level, count in checked.faults_by_level.items() if count)
    phantoms = sum(each.tally.phantom for each in checked.compared)
    told = f" {phantoms:,} of them take a window without readings back." if phantoms else ""
    click.echo(f"Repair publishes corrections: {what}.{told}", err=True)
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("Nobody is there to ask; add --yes.")
    return click.confirm("Publish them?", err=True)


def _verdict(checked: Checked, repaired: int | None) -> str:
    if not checked.windows and not checked.faults:
        if all(until is None for until in checked.closed.values()):
            return "No window is closed yet: nothing to compare."
        return "No closed window in this range: nothing to compare."
    told = "" if repaired is None else f" {repaired:,} corrections were published."
    until = checked.closed.get("1m")
    upto = f", closed up to {instant(until)} UTC" if until is not None else ""
    if checked.faults:
        hint = "" if repaired is not None else " `weir parity --repair` publishes corrections."
        return f"{checked.faults:,} of {checked.windows:,} windows differ{upto}.{told}{hint}"
    which = f"All {checked.windows:,} windows are" if checked.windows > 1 else "The only window is"
    return f"{which} equal{upto}.{told}"


class _Progress:
    """What is going on now: one changing line on a terminal, else a line every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("asking")
        self._said = time.monotonic()

    def __call__(self, what: str) -> None:
        if self._console.is_terminal:
            self._status.start()
            self._status.update(what)
        elif time.monotonic() - self._said >= LINE_SECONDS:
            self._console.print(what)
            self._said = time.monotonic()

    def pause(self) -> None:
        """Leave the line to a question."""
        self._status.stop()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()
