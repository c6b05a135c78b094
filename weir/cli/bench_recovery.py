"""``weir bench recovery``: how long a killed worker takes to catch up."""

from __future__ import annotations

import json

import click

from bench.recovery import MINUTE_SECONDS, RecoveryRun, RecoveryShape, measure
from weir.cli.bench_options import Bench, bench_options
from weir.cli.figures import Figure, figures_json, print_figures, verdict, warn_when_busy

FIGURES = (
    Figure("recovered_seconds", "caught up after the restart, s", "{:.1f}"),
    Figure("start_seconds", "  of these: process starts, s", "{:.1f}"),
    Figure("session_seconds", "  session of the dead member ends, s", "{:.1f}"),
    Figure("replay_seconds", "  open windows are rebuilt, s", "{:.1f}"),
    Figure("backlog_seconds", "  backlog is stored, s", "{:.1f}"),
    Figure("minutes_replayed_seconds", "hour's windows rebuilt after the restart, s", "{:.1f}"),
    Figure("replayed_readings", "readings read again", "{:,.0f}"),
    Figure("replayed_minutes", "1-minute rows read again", "{:,.0f}"),
    Figure("age_before_seconds", "age of the newest row before the kill (p95), s", "{:.2f}"),
    Figure("age_worst_seconds", "the same at worst, s", "{:.1f}"),
    Figure("worker_cpu_seconds", "CPU of the worker until caught up, s", "{:.1f}"),
    Figure("readings_per_second", "readings/s, live load", "{:,.0f}"),
    Figure("others_cpu_share", "part of the CPU that others took", "{:.0%}"),
)
"""Field of :class:`~bench.recovery.RecoveryRun`, its name for a person, its format."""


@click.command(name="recovery")
@click.option("--rate", type=click.IntRange(min=4), default=20_000, show_default=True, help="Readings a second.")
@click.option(
    "--history",
    type=click.IntRange(min=0, max=3_540),
    default=3_540,
    show_default=True,
    help="Seconds of the open hour, at a reading a minute and sensor, before the live load.",
)
@click.option(
    "--live",
    type=click.IntRange(min=3),
    default=70,
    show_default=True,
    help="Seconds of live load before the kill; more than 65 fill the minute's windows.",
)
@bench_options("--kills", "--runs")
@click.pass_context
def recovery(ctx: click.Context, bench: Bench, rate: int, history: int, live: int) -> None:
    """Kill a worker under live load at the worst moment, restart it at once, and measure until it has caught up.

    The worst moment is just before the last minute of an hour closes: a minute of readings and an hour of 1-minute rows
    must be read again. Every sensor sends once a second. Caught up: less than a second's readings are not stored, of
    the readings and of the 1-minute rows, and the newest stored reading is as fresh as before the kill. Afterwards
    every reading must be stored once, and counted once in its minute and its hour.

    \b
    Example:
      weir bench recovery
      weir bench recovery --rate 5000 --kills 3 --json

    \b
    Exit codes:
      0    measured, and every reading that was sent is stored and counted once
      1    the stack or a worker failed, or something is missing or doubled
      2    wrong usage or settings
      130  interrupted
    """
    shape = RecoveryShape(rate, history // MINUTE_SECONDS, live)
    measured = bench.repeat(lambda testbed, view: measure(testbed, shape, view))
    if bench.as_json:
        click.echo(json.dumps({"rate": rate, "history": history} | figures_json(FIGURES, measured)))
    else:
        print_figures(f"{rate:,} readings/s", FIGURES, measured)
    warn_when_busy(max(run.others_cpu_share for run in measured))
    _say_differences(measured)
    ctx.exit(verdict(measured))


def _say_differences(measured: list[RecoveryRun]) -> None:
    for run in measured:
        if run.minutes_differ or run.hours_differ:
            click.echo(
                f"weir: the minutes' counts differ by {run.minutes_differ:,} from the readings, "
                f"the hours' by {run.hours_differ:,}.",
                err=True,
            )
