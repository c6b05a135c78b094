"""Figures of a benchmark's runs, for a person and for a script."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple, Protocol

import click
from rich.console import Console
from rich.table import Table

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
    """One run's figures; of several runs the medians, and min, median and max of each beside them."""
    values = {each.field: [round(getattr(run, each.field), 4) for run in measured] for each in figures}
    result: dict[str, object] = {name: median(runs) for name, runs in values.items()}
    result |= {"distinct": measured[0].distinct, "stored": [run.stored for run in measured]}
    if len(measured) > 1:
        result["runs"] = len(measured)
        for statistic, of in (("min", min), ("median", median), ("max", max)):
            result[statistic] = {name: of(runs) for name, runs in values.items()}
    return result


def print_figures(title: str, figures: Sequence[Figure], measured: Sequence[Run]) -> None:
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
