"""``weir bench``: the benchmarks."""

from __future__ import annotations

import json

import click

from bench.aggregation import measure_aggregation
from bench.pipeline import Shape, measure
from weir.cli.bench_all import everything
from weir.cli.bench_enrichment import enrich
from weir.cli.bench_gateway import gateway
from weir.cli.bench_growth import growth
from weir.cli.bench_late import late
from weir.cli.bench_latency import latency
from weir.cli.bench_options import Bench, bench_options
from weir.cli.bench_peers import peers
from weir.cli.bench_profile import profile
from weir.cli.bench_recovery import recovery
from weir.cli.figures import (
    Figure,
    figures_json,
    print_figures,
    spread_json,
    tell_json,
    verdict,
    warn_when_busy,
)

FIGURES = (
    Figure("readings_per_second", "readings/s", "{:,.0f}"),
    Figure("cpu_seconds_per_million", "CPU s/million, workers", "{:.2f}"),
    Figure("worker_cores", "cores that the workers had", "{:.2f}"),
    Figure("peak_rss_mb", "peak memory of the worker, MB", "{:,.0f}"),
    Figure("ceiling_readings_per_second", "readings/s, consume() alone", "{:,.0f}"),
    Figure("ceiling_cpu_seconds_per_million", "CPU s/million, consume() alone", "{:.2f}"),
    Figure("ratio", "ratio (CPU of consume() / CPU of the worker)", "{:.3f}"),
    Figure("clickhouse_cpu_seconds_per_million", "CPU s/million, ClickHouse", "{:.2f}"),
    Figure("broker_cpu_seconds_per_million", "CPU s/million, broker", "{:.2f}"),
    Figure("others_cpu_share", "part of the CPU that others took", "{:.0%}"),
)

AGGREGATION = (
    Figure("readings_per_second", "readings/s", "{:,.0f}"),
    Figure("cpu_seconds_per_million", "CPU s/million", "{:.2f}"),
    Figure("ceiling_readings_per_second", "readings/s, consume() alone", "{:,.0f}"),
    Figure("ceiling_cpu_seconds_per_million", "CPU s/million, consume() alone", "{:.2f}"),
    Figure("ratio", "ratio (CPU of consume() / CPU of this)", "{:.3f}"),
    Figure("of_flink", "times Flink's readings a CPU second", "{:.2f}"),
    Figure("windows", "windows, all right", "{:,.0f}"),
    Figure("others_cpu_share", "part of the CPU that others took", "{:.0%}"),
)


@click.group(name="bench")
def command() -> None:
    """Measure Weir on this machine; every figure stands beside a ceiling from the same run."""


command.add_command(everything)
command.add_command(recovery)
command.add_command(late)
command.add_command(latency)
command.add_command(enrich)
command.add_command(gateway)
command.add_command(growth)
command.add_command(peers)
command.add_command(profile)


@command.command(name="pipeline")
@click.option("--readings", type=click.IntRange(min=10_000), default=2_000_000, show_default=True, help="How many.")
@click.option("--sparse", is_flag=True, help="Spread them over two hours instead of one a second and sensor.")
@click.option(
    "--workers",
    type=click.IntRange(min=1, max=4),
    default=1,
    show_default=True,
    help="Beside each other, on one topic.",
)
@click.option(
    "--registered",
    type=click.IntRange(min=0),
    default=0,
    help="Sensors to register, most of them silent. Default: 4,000.",
)
@click.option(
    "--packed", type=click.IntRange(1, 1000), help="So many readings of a device in each message. Default: single ones."
)
@click.option("--only", type=click.Choice(["aggregate"]), help="Only decoding and 1-minute windows; nothing is stored.")
@bench_options()
@click.pass_context
def pipeline(
    ctx: click.Context,
    bench: Bench,
    readings: int,
    sparse: bool,
    workers: int,
    registered: int,
    packed: int | None,
    only: str | None,
) -> None:
    """Store a backlog with one worker: decode, validate, enrich, raw rows, 1m and 1h windows, checkpoints, all on.

    A fleet of 1,000 devices with 4 sensors each, one reading a second and sensor, 5 % up to 3 s out of order, 1 %
    resends, one reading a message, 4 partitions. The same topic is first read by consume() alone: the ceiling. Runs on
    an embedded stack of its own, or on the one that runs on --data-dir.

    With --only aggregate, the engine does what the usual benchmark of other stream processors asks for: it decodes and
    aggregates, and the windows are compared with a recomputation.

    \b
    Example:
      weir bench pipeline
      weir bench pipeline --sparse --runs 3 --json
      weir bench pipeline --only aggregate

    \b
    Exit codes:
      0    measured, and every reading that was sent is stored once
      1    the stack or the worker failed, or readings are missing
      2    wrong usage or settings
      130  interrupted
    """
    if only:
        if sparse or packed or registered or workers > 1:
            raise click.UsageError(
                "--only aggregate is one worker on the dense shape: leave out --sparse, --packed and the others."
            )
        aggregate(bench, readings)
        return
    shape = Shape(readings, sparse, workers=workers, registered=registered, packed=packed or 0)
    measured = bench.repeat(lambda testbed, view: measure(testbed, shape, view))
    if bench.as_json:
        click.echo(json.dumps({"readings": readings} | figures_json(FIGURES, measured)))
    else:
        print_figures(f"{readings:,} readings", FIGURES, measured)
    warn_when_busy(max(run.others_cpu_share for run in measured))
    ctx.exit(verdict(measured))


def aggregate(bench: Bench, readings: int) -> None:
    """Measure aggregation alone; a window that is not right raises StackError."""
    measured = bench.repeat(lambda testbed, view: measure_aggregation(testbed, readings, view))
    if bench.as_json:
        runs = [{each.field: getattr(run, each.field) for each in AGGREGATION} for run in measured]
        tell_json({"readings": readings} | spread_json(runs))
    else:
        print_figures(f"{readings:,} readings, aggregation only", AGGREGATION, measured)
    warn_when_busy(max(run.others_cpu_share for run in measured))
