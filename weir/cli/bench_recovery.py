"""``weir bench recovery``: how long a killed worker takes to catch up."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import click
from rich.console import Console

from bench.recovery import MINUTE_SECONDS, RecoveryRun, RecoveryShape, measure
from bench.testbed import running_testbed
from weir.cli.figures import Figure, figures_json, print_figures, verdict, warn_when_busy
from weir.cli.step_view import StepView
from weir.settings import PORT_BASE

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
@click.option(
    "--kills",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Repeat, each time from an empty start; tells min, median, max.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; progress goes to stderr.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the stack. Default: a temporary one.")
@click.option("--port-base", type=int, default=PORT_BASE + 200, show_default=True, help="First port of its block.")
@click.pass_context
def recovery(
    ctx: click.Context,
    rate: int,
    history: int,
    live: int,
    kills: int,
    as_json: bool,
    data_dir: Path | None,
    port_base: int,
) -> None:
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    console = Console(stderr=True, highlight=False)
    measured: list[RecoveryRun] = []
    shape = RecoveryShape(rate, history // MINUTE_SECONDS, live)
    with running_testbed(data_dir, port_base, console) as testbed, StepView(console) as view:
        for number in range(1, kills + 1):
            view.prefix = f"kill {number} of {kills}: " if kills > 1 else ""
            measured.append(measure(testbed, shape, view))
    if as_json:
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
