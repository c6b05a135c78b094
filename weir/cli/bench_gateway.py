"""``weir bench gateway``: what the gateway takes on one core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite, nan
from statistics import median

import click
from rich.console import Console
from rich.table import Table

from bench.gateway import TARGETS, GatewayRun, Measured, Target, measure
from bench.testbed import Testbed, fresh_namespace
from weir.cli.bench_options import Bench, bench_options
from weir.cli.figures import spread_json, tell_json, warn_when_busy
from weir.cli.step_view import StepView

FILE_WIDTH = 120
"""Where nobody watches, the table need not fit a narrow terminal."""

COLUMNS = (
    ("requests_per_second", "{:,.0f}"),
    ("records_per_second", "{:,.0f}"),
    ("requests_per_cpu_second", "{:,.0f}"),
    ("records_per_cpu_second", "{:,.0f}"),
    ("p50_ms", "{:.2f}"),
    ("p99_ms", "{:.2f}"),
    ("cores", "{:.2f}"),
    ("sender_cores", "{:.2f}"),
)
"""Field of :class:`~bench.gateway.Measured` and its format."""


@click.command(name="gateway")
@click.option(
    "--seconds",
    type=click.FloatRange(0.5, 600),
    default=5.0,
    show_default=True,
    help="How long each load is measured, after a second of warming up.",
)
@bench_options()
@click.pass_context
def gateway(ctx: click.Context, bench: Bench, seconds: float) -> None:
    """Post readings to a gateway that has one core to itself: one by one and by the hundred, as JSON and as Avro.

    Keys and quotas are on, every record is acknowledged by the broker. At half of what JSON reached, requests come at
    a constant rate, and latency counts from when each was due. The floor is the same web server answering a constant.
    Broker and load run on the other cores. Runs on an embedded stack of its own, or on the one that runs on --data-dir.

    \b
    Example:
      weir bench gateway
      weir bench gateway --seconds 20 --json

    \b
    Exit codes:
      0    measured, and the topic holds every record that was acknowledged; targets may be missed
      1    the stack or the gateway failed, or requests did
      2    wrong usage or settings
      130  interrupted
    """
    measured = bench.repeat(lambda testbed, view: _measure(testbed, seconds, view))
    if bench.as_json:
        tell_json(to_dict(measured))
    else:
        _print(measured)
    warn_when_busy(max(run.others_cpu_share for run in measured))
    ctx.exit(max(_verdict(run) for run in measured))


def _measure(testbed: Testbed, seconds: float, view: StepView) -> GatewayRun:
    with fresh_namespace(testbed) as settings:
        return measure(testbed, settings, seconds, view)


def to_dict(measured: list[GatewayRun]) -> dict[str, object]:
    """For scripts; a figure that there is none of is null, and targets are met by medians."""
    return {
        "runs": len(measured),
        "loads": {name: _spread([run.loads[name] for run in measured]) for name in measured[0].loads},
        "targets": [
            {"target": each.what, "bound": each.bound, "value": _number(value), "met": each.reached(value)}
            for each, value in _values(measured)
        ],
        "acknowledged": [run.acknowledged for run in measured],
        "in_kafka": [run.in_kafka for run in measured],
        "gateway_has_its_own_core": all(run.apart for run in measured),
        "others_cpu_share": round(max(run.others_cpu_share for run in measured), 4),
    }


def _values(measured: list[GatewayRun]) -> Iterator[tuple[Target, float]]:
    """Each target and the median of what was reached; nan when one run has no figure."""
    for each in TARGETS:
        values = [each.value(run) for run in measured]
        yield each, median(values) if all(isfinite(value) for value in values) else nan


def _spread(loads: list[Measured]) -> dict[str, object]:
    """One load in all runs."""
    figures = [{name: value for name, value in asdict(load).items() if isinstance(value, float)} for load in loads]
    finite = [name for name in figures[0] if all(isfinite(each[name]) for each in figures)]
    failures: Counter[str] = Counter()
    for load in loads:
        failures.update(load.failures)
    told: dict[str, object] = dict.fromkeys(figures[0])
    return told | spread_json([{name: each[name] for name in finite} for each in figures]) | {"failures": failures}


def _number(value: float) -> float | None:
    return round(value, 4) if isfinite(value) else None


def _print(measured: list[GatewayRun]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, FILE_WIDTH)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("load", no_wrap=True)
    for heading in (
        "requests/s",
        "records/s",
        "requests/CPU s",
        "records/CPU s",
        "p50 ms",
        "p99 ms",
        "cores",
        "sender's",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in measured[0].loads:
        loads = [run.loads[name] for run in measured]
        cells = (form.format(median(getattr(load, field) for load in loads)) for field, form in COLUMNS)
        table.add_row(name, *cells)
    console.print(table)
    for target, value in _values(measured):
        bound = f"{'below' if target.figure.endswith('_ms') else 'at least'} {target.bound:,.0f}"
        found = "met" if target.reached(value) else "missed"
        console.print(f"{target.what}: {value:,.1f}, wanted {bound}: {found}", soft_wrap=True)


def _verdict(run: GatewayRun) -> int:
    """Exit code; says on stderr what the topic holds, and what failed."""
    for name, load in run.loads.items():
        for what, count in load.failures.items():
            click.echo(f"weir: {name}: {count:,} requests ended otherwise: {what}", err=True)
    if run.in_kafka != run.acknowledged:
        click.echo(
            f"weir: {run.acknowledged:,} records were acknowledged, and {run.in_kafka:,} are in Kafka.", err=True
        )
    elif run.complete:
        click.echo(f"All {run.acknowledged:,} records that were acknowledged are in Kafka.", err=True)
    return 0 if run.complete else 1
