"""Figures of a benchmark's runs, for a person and for a script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import median
from typing import Final, NamedTuple, Protocol

import click
from rich.console import Console
from rich.table import Table

from bench.provenance import provenance

HOW: Final = ("runs", "as_json", "data_dir", "port_base")
"""Parameters of a benchmark's command that say how to measure, not what."""

STATISTICS: Final = (("min", min), ("median", median), ("max", max))

BUSY_SHARE = 0.1
"""More than this in other hands, and times and rates say little."""


class Figure(NamedTuple):
    """A field of a run, its name for a person, its format."""

    field: str
    label: str
    form: str


class Run(Protocol):
    """What every benchmark's run knows."""

    @property
    def distinct(self) -> int:
        """Identities that were sent."""

    @property
    def stored(self) -> int:
        """Rows that are stored in the end."""

    @property
    def complete(self) -> bool:
        """Whether what is stored is what was sent."""


def figures_json(figures: Sequence[Figure], measured: Sequence[Run]) -> dict[str, object]:
    """Where the figures come from, their medians, and beside these min, median, max and the value of each run.

    docs/performance.md describes the form.
    """
    told = spread_json([{each.field: getattr(run, each.field) for each in figures} for run in measured])
    return origin() | told | {"distinct": measured[0].distinct, "stored": [run.stored for run in measured]}


def spread_json(runs: Sequence[dict[str, float]]) -> dict[str, object]:
    """The same figures of several runs: medians, then ``runs`` (how many), min, median, max and ``each``."""
    values = {name: [round(run[name], 4) for run in runs] for name in runs[0]}
    told: dict[str, object] = {name: median(of) for name, of in values.items()}
    told["runs"] = len(runs)
    for statistic, of in STATISTICS:
        told[statistic] = {name: of(found) for name, found in values.items()}
    return told | {"each": values}


def tell_json(figures: dict[str, object]) -> None:
    """Print a benchmark's one JSON object on stdout, where it comes from first."""
    click.echo(json.dumps(origin() | figures))


def origin() -> dict[str, object]:
    """:func:`~bench.provenance.provenance` of the command that runs; nothing outside of one."""
    context = click.get_current_context(silent=True)
    if context is None or context.info_name is None:
        return {}
    told = {name: _plain(value) for name, value in context.params.items() if name not in HOW}
    return provenance(context.info_name, {name: value for name, value in told.items() if value is not None})


def _plain(value: object) -> object:
    """As JSON has it; where files lie says nothing about what was measured."""
    if isinstance(value, list | tuple):
        return list(value)
    return value if isinstance(value, (bool, int, float, str)) else None


def print_figures(title: str, figures: Sequence[Figure], measured: Sequence[object]) -> None:
    """Print a table on stdout: a column, or min, median and max of several runs."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(title)
    for name in ("",) if len(measured) == 1 else ("min", "median", "max"):
        table.add_column(name, justify="right")
    for field, label, form in figures:
        values = [getattr(run, field) for run in measured]
        shown = values if len(values) == 1 else [min(values), median(values), max(values)]
        table.add_row(label, *(form.format(value) for value in shown))
    Console(highlight=False).print(table)


def warn_when_busy(others_cpu_share: float) -> None:
    """Say on stderr that others took much of the CPU."""
    if others_cpu_share > BUSY_SHARE:
        click.echo(
            f"Other programs took up to {others_cpu_share:.0%} of the CPU: times and rates are worse than they would "
            "be alone; compare ratios and CPU seconds.",
            err=True,
        )


def verdict(measured: Sequence[Run]) -> int:
    """Exit code: 1 when a run lost or doubled something; says on stderr what is stored."""
    for run in measured:
        if run.stored != run.distinct:
            click.echo(f"weir: {run.distinct:,} readings were sent, and {run.stored:,} are stored.", err=True)
            return 1
    if not all(run.complete for run in measured):
        return 1
    click.echo(f"All {measured[0].distinct:,} distinct readings are stored, each once.", err=True)
    return 0
