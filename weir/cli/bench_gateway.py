"""``weir bench gateway``: what the gateway takes on one core."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict
from math import isfinite
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.gateway import TARGETS, GatewayRun, Measured, measure
from bench.testbed import fresh_namespace, running_testbed
from weir.cli.figures import warn_when_busy
from weir.cli.step_view import StepView
from weir.settings import PORT_BASE

FILE_WIDTH = 120
"""Where nobody watches, the table need not fit a narrow terminal."""


@click.command(name="gateway")
@click.option(
    "--seconds",
    type=click.FloatRange(0.5, 600),
    default=5.0,
    show_default=True,
    help="How long each load is measured, after a second of warming up.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; progress goes to stderr.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the stack. Default: a temporary one.")
@click.option("--port-base", type=int, default=PORT_BASE + 200, show_default=True, help="First port of its block.")
@click.pass_context
def gateway(ctx: click.Context, seconds: float, as_json: bool, data_dir: Path | None, port_base: int) -> None:
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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    console = Console(stderr=True, highlight=False)
    with (
        running_testbed(data_dir, port_base, console) as testbed,
        StepView(console) as view,
        fresh_namespace(testbed) as settings,
    ):
        run = measure(testbed, settings, seconds, view)
    if as_json:
        click.echo(json.dumps(to_dict(run)))
    else:
        _print(run)
    warn_when_busy(run.others_cpu_share)
    ctx.exit(_verdict(run))


def to_dict(run: GatewayRun) -> dict[str, object]:
    """For scripts; a figure that there is none of is null."""
    return {
        "loads": {name: _plain(load) for name, load in run.loads.items()},
        "targets": [
            {"target": each.what, "bound": each.bound, "value": _number(each.value(run)), "met": each.met(run)}
            for each in TARGETS
        ],
        "acknowledged": run.acknowledged,
        "in_kafka": run.in_kafka,
        "gateway_has_its_own_core": run.apart,
        "others_cpu_share": round(run.others_cpu_share, 4),
    }


def _plain(load: Measured) -> dict[str, object]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in asdict(load).items()}


def _number(value: float) -> float | None:
    return round(value, 4) if isfinite(value) else None


def _print(run: GatewayRun) -> None:
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
    for name, load in run.loads.items():
        rates = (
            load.requests_per_second,
            load.records_per_second,
            load.requests_per_cpu_second,
            load.records_per_cpu_second,
        )
        few = (load.p50_ms, load.p99_ms, load.cores, load.sender_cores)
        table.add_row(name, *(f"{rate:,.0f}" for rate in rates), *(f"{each:.2f}" for each in few))
    console.print(table)
    for target in TARGETS:
        bound = f"{'below' if target.figure.endswith('_ms') else 'at least'} {target.bound:,.0f}"
        verdict = "met" if target.met(run) else "missed"
        console.print(f"{target.what}: {target.value(run):,.1f}, wanted {bound}: {verdict}", soft_wrap=True)


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
