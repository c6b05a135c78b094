"""``weir bench enrich``: what enriching a reading costs, by how many devices are registered."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median

import click
from rich.console import Console
from rich.table import Table

from bench.enrichment import EnrichmentRun, measure
from weir.cli.bench_options import Bench, bench_options
from weir.cli.figures import spread_json, tell_json

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
@bench_options()
def enrich(bench: Bench, sizes: tuple[int, ...]) -> None:
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
    measured = bench.repeat(lambda testbed, view: [measure(testbed, devices, view) for devices in sizes])
    fleets = [list(fleet) for fleet in zip(*measured, strict=True)]
    if bench.as_json:
        tell_json({"runs": bench.runs, "fleets": [to_dict(fleet) for fleet in fleets]})
    else:
        _print(fleets)


def to_dict(fleet: list[EnrichmentRun]) -> dict[str, object]:
    """For scripts: how many devices, then the figures of all runs."""
    return {"devices": fleet[0].devices} | spread_json([asdict(run) for run in fleet])


def _print(fleets: list[list[EnrichmentRun]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for _, label, _ in COLUMNS:
        table.add_column(label, justify="right")
    for fleet in fleets:
        middle = {field: median(getattr(run, field) for run in fleet) for field, _, _ in COLUMNS}
        table.add_row(*(form.format(middle[field]) for field, _, form in COLUMNS))
    Console(highlight=False).print(table)
