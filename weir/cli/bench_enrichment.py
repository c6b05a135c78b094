"""``weir bench enrich``: what enriching a reading costs, by how many devices are registered."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.enrichment import EnrichmentRun, measure
from bench.testbed import running_testbed
from weir.cli.step_view import StepView
from weir.settings import PORT_BASE

SIZES = (1_000, 100_000, 1_000_000)

COLUMNS = (
    ("devices", "devices", "{:,.0f}"),
    ("enrich_ns", "ns a reading", "{:,.0f}"),
    ("change_seconds", "a change, s", "{:.3f}"),
    ("load_seconds", "load, s", "{:.2f}"),
    ("prepare_seconds", "prepare, s", "{:.2f}"),
    ("memory_mb", "memory, MB", "{:,.0f}"),
    ("register_seconds", "register, s", "{:.1f}"),
)


@click.command(name="enrich")
@click.option(
    "--devices",
    "sizes",
    type=click.IntRange(min=10),
    multiple=True,
    default=SIZES,
    show_default=True,
    help="Registered devices; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON list on stdout; progress goes to stderr.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the stack. Default: a temporary one.")
@click.option("--port-base", type=int, default=PORT_BASE + 200, show_default=True, help="First port of its block.")
def enrich(sizes: tuple[int, ...], as_json: bool, data_dir: Path | None, port_base: int) -> None:
    """Enrich readings of 1,000 devices out of few and out of very many that are registered.

    For each fleet: registering it, loading it into a process and making it ready, the memory that takes, the cost of a
    reading between decoding and storing (500,000 readings, median of five rounds), and how long one change of one
    device takes from its commit until it is in force. Runs on an embedded stack of its own, or on the one that runs on
    --data-dir.

    \b
    Example:
      weir bench enrich
      weir bench enrich --devices 1000 --devices 50000 --json

    \b
    Exit codes:
      0    measured
      1    the stack or a probe failed
      2    wrong usage or settings
      130  interrupted
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    console = Console(stderr=True, highlight=False)
    with running_testbed(data_dir, port_base, console) as testbed, StepView(console) as view:
        measured = [measure(testbed, devices, view) for devices in sizes]
    if as_json:
        click.echo(json.dumps([asdict(run) for run in measured]))
    else:
        _print(measured)


def _print(measured: list[EnrichmentRun]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for _, label, _ in COLUMNS:
        table.add_column(label, justify="right")
    for run in measured:
        table.add_row(*(form.format(getattr(run, field)) for field, _, form in COLUMNS))
    Console(highlight=False).print(table)
