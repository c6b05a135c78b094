"""``weir status``: how the embedded stack is."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table

from weir.stack.endpoints import Endpoints
from weir.stack.plan import default_data_dir
from weir.stack.report import PartReport, examine
from weir.stack.state import StackState, failure_file, read_state

NOT_RUNNING = 3


@click.command(name="status")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of all data. Default: WEIR_DATA_DIR or .weir")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one JSON line instead of the table.")
@click.pass_context
def command(ctx: click.Context, data_dir: Path | None, as_json: bool) -> None:
    """Show pid, port, health, uptime and memory of each part, asked of the parts themselves.

    \b
    Example:
      weir status
      weir status --json

    \b
    Exit codes:
      0  every part is healthy
      1  some part is not
      3  no stack runs on the data folder
    """
    folder = (data_dir or default_data_dir()).absolute()
    state = read_state(folder)
    if state is None or state.supervisor.process() is None:
        _say_not_running(folder, as_json)
        ctx.exit(NOT_RUNNING)
    reports = examine(state)
    if as_json:
        click.echo(json.dumps(Endpoints.of(state.plan).to_dict()))
    else:
        _print_table(state, reports)
    ctx.exit(0 if state.ready and all(report.healthy for report in reports) else 1)


def _say_not_running(folder: Path, as_json: bool) -> None:
    if as_json:
        click.echo("{}")
    click.echo(f"No stack runs on {folder}; start one with `weir up`.", err=as_json)
    if failure_file(folder).is_file():
        click.echo(f"The last one: {failure_file(folder).read_text(encoding='utf-8')}", err=as_json)


def _print_table(state: StackState, reports: list[PartReport]) -> None:
    table = Table("part", "health", "port", "pid", "up", "memory", Column("address", overflow="fold"))
    for report in reports:
        up = "" if report.uptime_seconds is None else str(timedelta(seconds=int(report.uptime_seconds)))
        memory = "" if report.memory_bytes is None else f"{report.memory_bytes // 1_000_000} MB"
        health = "[green]healthy[/]" if report.healthy else "[red]not healthy[/]"
        pid = "" if report.pid is None else str(report.pid)
        table.add_row(report.name, health, str(report.port), pid, up, memory, report.address)
    console = Console(highlight=False)
    console.print(table)
    if not state.ready:
        console.print("The stack is still starting.")
