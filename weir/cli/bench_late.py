"""``weir bench late``: a device uploads a day's backlog while the others go on."""

from __future__ import annotations

import json

import click

from bench.late import LateShape, measure
from weir.cli.bench_options import Bench, bench_options
from weir.cli.figures import Figure, figures_json, print_figures, verdict, warn_when_busy

FIGURES = (
    Figure("corrected_seconds", "all corrected after the last acknowledgement, s", "{:.1f}"),
    Figure("minutes_corrected_seconds", "  of these: all minutes, s", "{:.1f}"),
    Figure("upload_seconds", "upload, s", "{:.1f}"),
    Figure("minutes", "minutes corrected", "{:,.0f}"),
    Figure("hours", "hours corrected", "{:,.0f}"),
    Figure("queries", "queries to ClickHouse", "{:,.0f}"),
    Figure("inserts", "inserts into ClickHouse", "{:,.0f}"),
    Figure("late_windows", "late windows, as the worker counts them", "{:,.0f}"),
    Figure("corrections", "corrections published", "{:,.0f}"),
    Figure("before_p50", "latency of the others before, p50, s", "{:.2f}"),
    Figure("before_p95", "  p95, s", "{:.2f}"),
    Figure("before_p99", "  p99, s", "{:.2f}"),
    Figure("during_p50", "latency of the others meanwhile, p50, s", "{:.2f}"),
    Figure("during_p95", "  p95, s", "{:.2f}"),
    Figure("during_p99", "  p99, s", "{:.2f}"),
    Figure("p95_ratio", "ratio (p95 meanwhile / p95 before)", "{:.2f}"),
    Figure("worker_cpu_seconds", "CPU of the worker until corrected, s", "{:.1f}"),
    Figure("readings_per_second", "readings/s, the others", "{:,.0f}"),
    Figure("others_cpu_share", "part of the CPU that other programs took", "{:.0%}"),
)
"""Field of :class:`~bench.late.LateRun`, its name for a person, its format."""


@click.command(name="late")
@click.option(
    "--late",
    "readings",
    type=click.IntRange(min=60),
    default=86_400,
    show_default=True,
    help="Late readings of the device, one a second up to the begin of this hour.",
)
@click.option("--rate", type=click.IntRange(min=4), default=2_000, show_default=True, help="Others' readings a second.")
@click.option(
    "--before",
    type=click.IntRange(min=2),
    default=20,
    show_default=True,
    help="Seconds for which the others' latency is measured before the upload.",
)
@bench_options()
@click.pass_context
def late(ctx: click.Context, bench: Bench, readings: int, rate: int, before: int) -> None:
    """Let one device upload a day's backlog while others send live, and measure until its aggregates are right.

    Before the upload each of the device's minutes is closed with one reading, so that all of them have something to
    correct. They are right when count and sum of every minute and hour in the views equal a recomputation. The others'
    latency is the time from the broker's append to the first query that sees the reading.

    \b
    Example:
      weir bench late
      weir bench late --rate 500 --runs 3 --json

    \b
    Exit codes:
      0    measured, and every reading that was sent is stored once
      1    the stack or the worker failed, aggregates stayed wrong, or readings are missing
      2    wrong usage or settings
      130  interrupted
    """
    shape = LateShape(readings, rate, before)
    measured = bench.repeat(lambda testbed, view: measure(testbed, shape, view))
    if bench.as_json:
        click.echo(json.dumps({"late": readings, "rate": rate} | figures_json(FIGURES, measured)))
    else:
        print_figures(f"{readings:,} late readings", FIGURES, measured)
    warn_when_busy(max(run.others_cpu_share for run in measured))
    ctx.exit(verdict(measured))
