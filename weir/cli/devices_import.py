"""``weir devices import``: devices with their sensors out of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import Progress

from weir.cli.acting import command_line_actor, directory, metadata_dsn
from weir.cli.device_checks import Place
from weir.cli.import_devices import DeviceImport
from weir.cli.import_report import ImportReport
from weir.cli.import_rows import format_of, opened
from weir.cli.listing import json_text
from weir.cli.result_table import printable


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--org", "organisation", metavar="ID", help="Organisation of rows that name none; others are refused.")
@click.option("--project", metavar="ID", help="Project of rows that name none.")
@click.option("--format", "told", type=click.Choice(["csv", "jsonl"]), help="Default: what the file's name says.")
@click.option("--report", type=click.Path(path_type=Path), help="Write each fault as a JSON line: line, column, why.")
@click.option("--dry-run", is_flag=True, help="Check every row, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def import_devices(
    ctx: click.Context,
    /,
    file: Path,
    organisation: str | None,
    project: str | None,
    told: str | None,
    report: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Add or update devices with their sensors from FILE, one sensor a row; - is standard input.

    Columns: device_id, sensor (both must be there), organisation, project, device_type, device_name, metric, unit,
    min_value, max_value, value_type. A column that the file lacks leaves what is there as it is; an empty cell sets the
    default. A row with an empty sensor is of the device alone. A metric that is not registered yet is made with the
    unit and value_type of its first row. What is retired becomes active again. Organisations and projects must exist.

    Bad rows are told on stderr with line, column and reason, and the others are imported, a thousand in one
    transaction; so a corrected file may be imported again, and what is there already counts as unchanged.

    \b
    Example:
      weir devices import fleet.csv --org my-lab --dry-run
      weir devices import fleet.csv --org my-lab --report bad.jsonl

    \b
    Exit codes:
      0    every row is imported, or would be
      1    some row was bad, or Postgres is away: what was imported stays
      2    wrong usage, settings or header; nothing was imported
      130  interrupted: what was imported stays
    """
    form = format_of(file, told)
    run = DeviceImport(metadata_dsn(), command_line_actor(), Place(organisation, project), dry_run=dry_run)
    _require(organisation, project)
    with ImportReport(file.name, report) as faults, opened(file) as stream:
        try:
            _follow(run.run(stream, form, faults), file, stream)
        finally:
            if run.organisations and not dry_run:
                _record(run, file.name, faults)
    result = {"dry_run": dry_run, **_counts(run, faults)}
    click.echo(json_text(result) if as_json else _sentence(result))
    ctx.exit(1 if faults.bad_rows else 0)


def _require(organisation: str | None, project: str | None) -> None:
    """One wrong word on the command line is told once, and not for each row."""
    with directory() as metadata:
        if organisation is not None:
            metadata.entities.get("organisation", organisation)
        if project is not None:
            metadata.entities.get("project", project, organisation=organisation)


def _follow(batches: Iterator[int], file: Path, stream: TextIO) -> None:
    """Let the import run, with a bar on a terminal that shows how much of the file is read."""
    console = Console(stderr=True, highlight=False)
    total = file.stat().st_size if file.is_file() else None
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("importing", total=total)
        for rows in batches:
            read = stream.buffer.tell() if total is not None else None  # a pipe does not tell
            bar.update(task, description=f"importing, {rows:,} rows", completed=read)


def _counts(run: DeviceImport, faults: ImportReport) -> dict[str, int]:
    done = run.done
    return {
        "rows": done.read,
        "imported": done.taken,
        "bad": faults.bad_rows,
        "devices": done.devices,
        "sensors": done.sensors,
    }


def _record(run: DeviceImport, source: str, faults: ImportReport) -> None:
    """The file as a whole, in the log of each organisation; each batch has told what it changed."""
    with directory() as metadata:
        for slug in sorted(run.organisations):
            about = metadata.entities.get("organisation", slug).id
            metadata.events.record("data.imported", about, {"file": source, **_counts(run, faults)})


def _sentence(result: dict[str, Any]) -> str:
    verb = "would be imported" if result["dry_run"] else "imported"
    changed = "" if result["dry_run"] else f" ({result['devices']:,} devices and {result['sensors']:,} sensors changed)"
    bad = f"; {result['bad']:,} bad" if result["bad"] else ""
    return printable(f"{result['imported']:,} of {result['rows']:,} rows {verb}{changed}{bad}.")
