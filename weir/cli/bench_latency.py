"""``weir bench latency``: from posting a reading to its being queryable, under load."""

from __future__ import annotations

import json

import click

from bench.latency import LatencyRun, LatencyShape, measure
from bench.latency_load import Through
from weir.cli.bench_options import Bench, bench_options
from weir.cli.figures import Figure, figures_json, print_figures, verdict, warn_when_busy

FIGURES = (
    Figure("p50_ms", "posted until queryable, ms, p50", "{:,.0f}"),
    Figure("p95_ms", "  p95", "{:,.0f}"),
    Figure("p99_ms", "  p99", "{:,.0f}"),
    Figure("max_ms", "  max", "{:,.0f}"),
    Figure("acknowledged_p50_ms", "posted until acknowledged, ms, p50", "{:,.1f}"),
    Figure("probes", "probes", "{:,.0f}"),
    Figure("unseen", "  of these not seen", "{:,.0f}"),
    Figure("maximum_readings_per_second", "maximum, readings/s (0: not determined)", "{:,.0f}"),
    Figure("asked_readings_per_second", "load that was asked for, readings/s", "{:,.0f}"),
    Figure("delivered_share", "of it acknowledged", "{:.1%}"),
    Figure("unseen", "probes that no query showed", "{:,.0f}"),
    Figure("refused", "requests that were not answered well", "{:,.0f}"),
    Figure("readings_per_second", "load that was acknowledged, readings/s", "{:,.0f}"),
    Figure("refused", "requests of the load that failed", "{:,.0f}"),
    Figure("worker_cores", "CPU of the worker, cores", "{:.2f}"),
    Figure("gateway_cores", "CPU of the gateway, cores", "{:.2f}"),
    Figure("clickhouse_cores", "CPU of ClickHouse, cores", "{:.2f}"),
    Figure("broker_cores", "CPU of the broker, cores", "{:.2f}"),
    Figure("load_cores", "CPU of the load, cores", "{:.2f}"),
    Figure("prober_cores", "CPU of the prober, cores", "{:.2f}"),
    Figure("others_cpu_share", "part of the CPU that others took", "{:.0%}"),
)
"""Field of :class:`~bench.latency.LatencyRun`, its name for a person, its format."""

SECONDS, SATURATION_SECONDS = 300, 60
KEPT_SHARE = 0.97
"""A load that reaches less of what was asked for was too much for this machine."""


@click.command(name="latency")
@click.option("--rate", type=click.IntRange(min=100), default=20_000, show_default=True, help="Readings a second.")
@click.option(
    "--seconds",
    type=click.IntRange(min=2),
    help=f"How long. Default: {SECONDS}, with --saturation {SATURATION_SECONDS}.",
)
@click.option(
    "--through",
    type=click.Choice(["gateway", "kafka"]),
    help="How the load comes: batches of 100 JSON readings at the gateway, or Avro straight into Kafka. "
    "Default: gateway, with --saturation kafka.",
)
@click.option("--saturation", is_flag=True, help="Load at 80 % of the rate at which one worker stores a backlog.")
@click.option(
    "--backlog",
    type=click.IntRange(min=10_000),
    default=1_000_000,
    show_default=True,
    help="Readings of the backlog that --saturation determines the rate with.",
)
@bench_options()
@click.pass_context
def latency(
    ctx: click.Context,
    bench: Bench,
    rate: int,
    seconds: int | None,
    through: Through | None,
    saturation: bool,
    backlog: int,
) -> None:
    """Measure from posting a reading at the gateway to its being queryable, with one worker under a constant load.

    The prober of `weir probe` posts ten readings a second, one each, whatever comes through beside it; a latency
    counts from when its reading was due. Every sensor sends once a second. With --saturation the load is 80 % of the
    rate at which the worker stored a backlog just before, both of 1,000 devices with 4 sensors; its readings are
    encoded before, so that sending them takes little from the worker. Afterwards every reading that was acknowledged
    must be stored once, and every probe must have been seen.

    \b
    Example:
      weir bench latency
      weir bench latency --rate 5000 --seconds 60 --json
      weir bench latency --saturation --backlog 10000000

    \b
    Exit codes:
      0    measured, and every reading that was sent is stored once
      1    the stack, the worker or the gateway failed, or readings or probes are missing
      2    wrong usage or settings
      130  interrupted
    """
    way: Through = through or ("kafka" if saturation else "gateway")
    shape = LatencyShape(
        rate, seconds or (SATURATION_SECONDS if saturation else SECONDS), way, backlog if saturation else 0
    )
    measured = bench.repeat(lambda testbed, view: measure(testbed, shape, view))
    if bench.as_json:
        click.echo(json.dumps(_told(shape, measured)))
    else:
        print_figures(f"{measured[0].asked_readings_per_second:,.0f} readings/s through {way}", FIGURES, measured)
    _warn_when_short(measured)
    warn_when_busy(max(run.others_cpu_share for run in measured))
    failed = any(run.unseen or run.refused for run in measured)
    lost = any(run.stored < run.distinct for run in measured)
    ctx.exit(1 if failed and not lost else verdict(measured))


def _told(shape: LatencyShape, measured: list[LatencyRun]) -> dict[str, object]:
    """The figures, and the sorted latencies of all runs together."""
    own = {"through": shape.through, "seconds": shape.seconds, "saturation": shape.backlog > 0}
    together = sorted(each for run in measured for each in run.latencies_ms)
    return own | figures_json(FIGURES, measured) | {"latencies_ms": together}


def _warn_when_short(measured: list[LatencyRun]) -> None:
    """Say on stderr what makes a run less than it was meant to be."""
    for run in measured:
        if run.readings_per_second < KEPT_SHARE * run.asked_readings_per_second:
            click.echo(
                f"Only {run.readings_per_second:,.0f} of {run.asked_readings_per_second:,.0f} readings/s were sent: "
                "this machine could not send more beside everything else.",
                err=True,
            )
        if run.unseen:
            click.echo(f"weir: {run.unseen:,} of {run.probes:,} probes were not seen.", err=True)
        if run.refused:
            why = ", ".join(f"{what}: {count:,}" for what, count in run.failures.items())
            click.echo(f"weir: {run.refused:,} requests of the load failed ({why}).", err=True)
