"""``weir metrics import``: metrics out of a file."""

from __future__ import annotations

from pathlib import Path

import click

from connectors.entities.directory import Directory
from connectors.entities.metric_models import MetricCreate, MetricUpdate
from connectors.entities.tenancy import acting_organisation
from weir.cli.acting import directory
from weir.cli.import_report import Fault, ImportReport
from weir.cli.import_rows import checked, format_of, opened, read_rows
from weir.cli.listing import json_text
from weir.cli.metric_rows import REQUIRED, MetricRow
from weir.errors import UsageError


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--format", "told", type=click.Choice(["csv", "jsonl"]), help="Default: what the file's name says.")
@click.option("--report", type=click.Path(path_type=Path), help="Write each fault as a JSON line: line, column, why.")
@click.option("--dry-run", is_flag=True, help="Check every row, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def import_metrics(
    ctx: click.Context, /, file: Path, told: str | None, report: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Define metrics from FILE, one a row, and change those that are defined otherwise; - is standard input.

    Columns: name (required), value_type, unit, min_value, max_value, bounds_action, enum_values and json_schema (JSON),
    description. A column that the file lacks leaves what is there as it is. Bad rows are told on stderr with line,
    column and reason, and the others are imported, in one transaction.

    \b
    Example:
      weir metrics import metrics.csv --dry-run
      weir metrics export | weir metrics import - --format csv

    \b
    Exit codes:
      0  every row is imported, or would be
      1  some row was bad, or Postgres is away
      2  wrong usage, settings or header; nothing was imported
    """
    form = format_of(file, told)
    with ImportReport(file.name, report) as faults, opened(file) as stream, directory() as metadata:
        metadata.write("SELECT 1")  # the lock of whoever writes, which the refusal of one metric must not give back
        read = taken = 0
        for row in read_rows(stream, form, MetricRow, REQUIRED):
            read += 1
            metric = [row] if isinstance(row, Fault) else checked(row, MetricRow)
            wrong = _take(metadata, row.line, metric) if isinstance(metric, MetricRow) else metric
            if wrong:
                faults.add(wrong)
            else:
                taken += 1
        counts = {"rows": read, "imported": taken, "bad": faults.bad_rows}
        if dry_run:
            metadata.conn.rollback()
        elif taken:
            event = {"what": "metrics", "file": file.name, **counts}
            metadata.events.record("data.imported", acting_organisation(metadata), event)
    verb = "would be imported" if dry_run else "imported"
    bad = f"; {faults.bad_rows:,} bad" if faults.bad_rows else ""
    sentence = f"{taken:,} of {read:,} metrics {verb}{bad}."
    click.echo(json_text({"dry_run": dry_run, **counts}) if as_json else sentence)
    ctx.exit(1 if faults.bad_rows else 0)


def _take(metadata: Directory, line: int, row: MetricRow) -> list[Fault]:
    """Define or change one metric; a refusal undoes that metric alone."""
    given = row.model_dump(exclude_unset=True)
    try:
        with metadata.conn.transaction():
            if metadata.rows("SELECT FROM metrics WHERE name = %(name)s", {"name": row.name}):
                metadata.metrics.update(given.pop("name"), MetricUpdate(**given))
            else:
                metadata.metrics.define(MetricCreate(**given))
    except UsageError as error:
        return [Fault(line, "", str(error))]
    return []
