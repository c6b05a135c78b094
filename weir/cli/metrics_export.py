"""``weir metrics export``: metrics as rows that an import takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from connectors.entities.tenancy import acting_organisation
from weir.cli.acting import directory
from weir.cli.listing import Asked, Column, Form, every, print_list
from weir.cli.metric_rows import COLUMNS


@click.command(name="export")
@click.option("--regex", metavar="PATTERN", help=r"Whose names match this, such as '^greenhouse\.climate\.'.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True, help="Of rows."
)
def export_metrics(regex: str | None, form: Form) -> None:
    r"""Write metrics to stdout, by name, as `weir metrics import` takes them.

    \b
    Example:
      weir metrics export > metrics.csv
      weir metrics export --regex '^environment\.' --format jsonl

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 wrong usage, pattern or settings.
    """
    counts = [0]
    with directory() as metadata:
        found = every(lambda size, cursor: metadata.metrics.list(regex=regex, limit=size, cursor=cursor))
        rows = (metric.model_dump(mode="json", include=set(COLUMNS)) for metric in found)
        print_list(_counted(rows, counts), [Column(name, name) for name in COLUMNS], Asked(form, None), "")
    with directory() as metadata:
        told = {"what": "metrics", "rows": counts[0], "filter": {"regex": regex, "format": form}}
        metadata.events.record("data.exported", acting_organisation(metadata), told)
    click.echo(f"{counts[0]:,} metrics exported.", err=True)


def _counted(rows: Iterator[dict[str, Any]], counts: list[int]) -> Iterator[dict[str, Any]]:
    for row in rows:
        counts[0] += 1
        yield row
