"""``weir bench``: the benchmarks."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import click
from rich.console import Console

from bench.pipeline import PipelineRun, Shape, measure
from bench.testbed import running_testbed
from weir.cli.bench_enrichment import enrich
from weir.cli.bench_gateway import gateway
from weir.cli.bench_late import late
from weir.cli.bench_peers import peers
from weir.cli.bench_recovery import recovery
from weir.cli.figures import Figure, figures_json, print_figures, verdict, warn_when_busy
from weir.cli.step_view import StepView
from weir.settings import PORT_BASE

FIGURES = (
    Figure("readings_per_second", "readings/s, one worker", "{:,.0f}"),
    Figure("cpu_seconds_per_million", "CPU s/million, worker", "{:.2f}"),
    Figure("peak_rss_mb", "peak memory of the worker, MB", "{:,.0f}"),
    Figure("ceiling_readings_per_second", "readings/s, consume() alone", "{:,.0f}"),
    Figure("ceiling_cpu_seconds_per_million", "CPU s/million, consume() alone", "{:.2f}"),
    Figure("ratio", "ratio (CPU of consume() / CPU of the worker)", "{:.3f}"),
    Figure("clickhouse_cpu_seconds_per_million", "CPU s/million, ClickHouse", "{:.2f}"),
    Figure("broker_cpu_seconds_per_million", "CPU s/million, broker", "{:.2f}"),
    Figure("others_cpu_share", "part of the CPU that others took", "{:.0%}"),
)


@click.group(name="bench")
def command() -> None:
    """Measure Weir on this machine; every figure stands beside a ceiling from the same run."""


command.add_command(recovery)
command.add_command(late)
command.add_command(enrich)
command.add_command(gateway)
command.add_command(peers)


@command.command(name="pipeline")
@click.option("--readings", type=click.IntRange(min=10_000), default=2_000_000, show_default=True, help="How many.")
@click.option("--sparse", is_flag=True, help="Spread them over two hours instead of one a second and sensor.")
@click.option(
    "--runs", type=click.IntRange(min=1), default=1, show_default=True, help="Repeat; tells min, median, max."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; progress goes to stderr.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the stack. Default: a temporary one.")
@click.option("--port-base", type=int, default=PORT_BASE + 200, show_default=True, help="First port of its block.")
@click.pass_context
def pipeline(
    ctx: click.Context,
    readings: int,
    sparse: bool,
    runs: int,
    as_json: bool,
    data_dir: Path | None,
    port_base: int,
) -> None:
    """Store a backlog with one worker: decode, validate, enrich, raw rows, 1m and 1h windows, checkpoints, all on.

    A fleet of 1,000 devices with 4 sensors each, one reading a second and sensor, 5 % up to 3 s out of order, 1 %
    resends, one reading a message, 4 partitions. The same topic is first read by consume() alone: the ceiling. Runs on
    an embedded stack of its own, or on the one that runs on --data-dir.

    \b
    Example:
      weir bench pipeline
      weir bench pipeline --sparse --runs 3 --json

    \b
    Exit codes:
      0    measured, and every reading that was sent is stored once
      1    the stack or the worker failed, or readings are missing
      2    wrong usage or settings
      130  interrupted
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    console = Console(stderr=True, highlight=False)
    measured: list[PipelineRun] = []
    with running_testbed(data_dir, port_base, console) as testbed, StepView(console) as view:
        for number in range(1, runs + 1):
            view.prefix = f"run {number} of {runs}: " if runs > 1 else ""
            measured.append(measure(testbed, Shape(readings, sparse), view))
    if as_json:
        click.echo(json.dumps({"readings": readings} | figures_json(FIGURES, measured)))
    else:
        print_figures(f"{readings:,} readings", FIGURES, measured)
    warn_when_busy(max(run.others_cpu_share for run in measured))
    ctx.exit(verdict(measured))
