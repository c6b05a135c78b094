"""The end of the demo on a screen."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weir.demo.latency import HOW, quantile
from weir.demo.result import Result

SHOWN_DIFFERENCES = 30
FILE_WIDTH = 120
"""Where nobody watches, tables need not fit a narrow terminal."""


def print_result(console: Console, result: Result) -> None:
    """Print rows, this machine's last minutes, latency, parity, and what to do about differences."""
    if not console.is_terminal:
        console.width = max(console.width, FILE_WIDTH)
    console.print()
    console.print(_sent(result), soft_wrap=True)
    console.print(_rows(result))
    if result.turned_away:
        console.print(_turned_away(result))
    console.print(_dead_letters(result))
    if result.this_machine:
        console.print(_machine(result))
    _print_latency(console, result)
    _print_parity(console, result)


def _sent(result: Result) -> str:
    total = sum(result.sent.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(result.sent.items(), key=lambda item: -item[1]))
    return f"Sent in {result.sending_seconds:.0f} s and acknowledged: {total:,} messages ({kinds})."


def _rows(result: Result) -> Table:
    table = _table("Rows in ClickHouse", "view")
    for heading in ("this run", "in all"):
        table.add_column(heading, justify="right")
    for view, rows in result.rows.items():
        table.add_row(view, f"{rows:,}", f"{result.rows_in_all[view]:,}")
    if result.corrections:
        table.caption = f"{result.corrections:,} 1-minute rows were corrected by readings that came late."
    return table


def _turned_away(result: Result) -> Table:
    table = _table("Bad records that the gateway refused", "kind")
    for heading in ("error code", "records"):
        table.add_column(heading, justify="right")
    for (kind, code), count in result.turned_away.items():
        table.add_row(kind, str(code), f"{count:,}")
    return table


def _dead_letters(result: Result) -> Table:
    table = _table("Dead letters of this run in Kafka", "reason")
    table.add_column("records", justify="right")
    for reason, count in result.dead_letters.items():
        table.add_row(reason, f"{count:,}")
    return table


def _machine(result: Result) -> Table:
    table = _table(f"The last 1-minute aggregates of {result.device_id}", "sensor")
    table.add_column("UTC", no_wrap=True)
    for heading in ("count", "avg", "min", "max", "last", "stddev"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit", overflow="fold")
    for each in result.this_machine:
        numbers = (each.avg, each.min, each.max, each.last, each.stddev)
        table.add_row(each.sensor, each.minute, str(each.count), *map(_number, numbers), each.unit)
    return table


def _print_latency(console: Console, result: Result) -> None:
    p50, p95 = quantile(result.latency, 0.5), quantile(result.latency, 0.95)
    if p50 is not None and p95 is not None:
        console.print(
            f"Ingest to query: p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms ({len(result.latency)} probes: {HOW}).",
            soft_wrap=True,
        )


def _print_parity(console: Console, result: Result) -> None:
    compared = result.parity
    what = (
        f"{compared.readings:,} readings, {compared.minutes:,} closed 1m windows, {compared.hours:,} closed 1h windows "
        f"and {compared.dead_letters:,} bad records compared with an independent recomputation"
    )
    if result.ok:
        console.print(Text(f"Parity: {what}: nothing lost, doubled or different.", "bold green"), soft_wrap=True)
        return
    for problem in result.problems:
        console.print(Text(f"Problem: {problem}", "bold red"), soft_wrap=True)
    count = len(compared.differences)
    console.print(Text(f"Parity: {what}: {count:,} difference{'' if count == 1 else 's'}.", "bold red"), soft_wrap=True)
    if compared.differences:
        console.print(_differences(result))
    if count > SHOWN_DIFFERENCES:
        console.print(f"… and {count - SHOWN_DIFFERENCES:,} more; --json lists them.")


def _differences(result: Result) -> Table:
    table = _table("Differences", "table")
    for heading in ("fault", "where", "field", "expected", "stored"):
        table.add_column(heading, overflow="fold")
    for each in result.parity.differences[:SHOWN_DIFFERENCES]:
        table.add_row(*(Text(part) for part in each))
    return table


def _number(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 10_000 else f"{number:,.2f}"


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left", box=box.SIMPLE_HEAD)
    table.add_column(first, overflow="fold")
    return table
