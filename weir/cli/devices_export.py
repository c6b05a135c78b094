"""``weir devices export``: devices with their sensors as rows that an import takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from connectors.entities.inventory import inventory
from weir.cli.acting import directory
from weir.cli.device_rows import COLUMNS
from weir.cli.listing import Asked, Column, Form, print_list


@click.command(name="export")
@click.option("--org", "organisation", metavar="ID", help="Of this organisation. Default: of all.")
@click.option("--project", metavar="ID", help="In this project now.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True, help="Of rows."
)
def export_devices(organisation: str | None, project: str | None, form: Form) -> None:
    """Write every active device with its active sensors to stdout, one sensor a row, by device and sensor.

    The rows are those that `weir devices import` takes; a device without sensors has one with an empty sensor.
    Everything else that is known of devices is in `weir devices list --jsonl`.

    \b
    Example:
      weir devices export --org acme-research-labs > fleet.csv
      weir devices export --format jsonl --project bioreactor-optimization

    Exit codes: 0 done, also when there are none; 1 Postgres is away; 2 no such organisation or project, wrong usage.
    """
    counts: dict[str, int] = {}
    try:
        with directory() as metadata:
            if organisation is not None:
                metadata.entities.get("organisation", organisation)
            if project is not None:
                metadata.entities.get("project", project)
            rows = inventory(metadata, organisation=organisation, project=project)
            items = (row.model_dump(mode="json") for row in rows)
            print_list(_counted(items, counts), [Column(name, name) for name in COLUMNS], Asked(form, None), "")
    finally:  # what has left has left, also when the rest did not
        _record(counts, {"organisation": organisation, "project": project, "format": form})
    click.echo(f"{sum(counts.values()):,} rows exported.", err=True)


def _counted(items: Iterable[dict[str, Any]], counts: dict[str, int]) -> Iterator[dict[str, Any]]:
    for item in items:
        counts[item["organisation"]] = counts.get(item["organisation"], 0) + 1
        yield item


def _record(counts: dict[str, int], asked_for: dict[str, Any]) -> None:
    """What left, in the log of each organisation that it left from."""
    if not counts:
        return
    with directory() as metadata:
        for slug, rows in sorted(counts.items()):
            told = {"what": "devices", "rows": rows, "filter": asked_for}
            metadata.events.record("data.exported", metadata.entities.get("organisation", slug).id, told)
