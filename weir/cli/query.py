"""``weir query``: what an analyst does first."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import IO

import click
from rich.console import Console

from sinks.clickhouse.client import connect
from sinks.clickhouse.query import Answer, Question, asking
from weir.cli.result_table import FORMAT, print_result, read_result
from weir.errors import UsageError
from weir.settings import load_settings

FORMATS = {
    "pretty": FORMAT,
    "json": "JSON",
    "jsonl": "JSONEachRow",
    "csv": "CSVWithNames",
    "tsv": "TSVWithNames",
    "markdown": "Markdown",
}
"""Short names of formats; any other name goes to ClickHouse as it is."""

MAX_ROWS = 1_000
"""Rows that a table on a screen shows; the other formats show all."""


@click.command()
@click.argument("sql", required=False)
@click.option(
    "--format",
    "-f",
    "format_name",
    default="pretty",
    show_default=True,
    metavar="NAME",
    help="pretty, json, jsonl, csv, tsv, markdown or any ClickHouse format.",
)
@click.option(
    "--param", "-p", "params", multiple=True, metavar="K=V", help="Value of {K:Type} in the SQL; may be repeated."
)
@click.option("--file", "source", type=click.File("r", encoding="utf-8"), help="Read the SQL from a file; - is stdin.")
@click.option("--write", is_flag=True, help="Allow statements that change data or tables.")
def command(sql: str | None, format_name: str, params: tuple[str, ...], source: IO[str] | None, write: bool) -> None:
    """Ask ClickHouse. Tables to read: readings, aggregates_1m, aggregates_1h. Times are UTC.

    Only reading is allowed unless --write is given. Rows go to stdout, their number and the seconds to stderr.

    \b
    Examples:
      weir query "SELECT * FROM readings ORDER BY ts DESC LIMIT 5"
      weir query -f csv -p d=acme-esp32-001 "SELECT ts, value FROM readings WHERE device_id = {d:String}"

    Exit codes: 0 done, also with no rows; 1 the query was refused or the server is away; 2 wrong usage or settings.
    """
    question = _question(sql, format_name, params, source, write)
    settings = load_settings().clickhouse
    client = connect(settings, database=True)
    try:
        with asking(client, settings, question) as answer:
            if answer.format == FORMAT and format_name == "pretty":
                _print_table(answer)
                return
            if question.row_limit is None:
                _pass_on(answer)
                return
        # a FORMAT clause in the SQL has won over the table: what it asks for comes whole
        with asking(client, settings, replace(question, row_limit=None)) as answer:
            _pass_on(answer)
    finally:
        client.close()


def _question(
    sql: str | None, format_name: str, params: tuple[str, ...], source: IO[str] | None, write: bool
) -> Question:
    if (sql is None) == (source is None):
        raise UsageError("Give the SQL as an argument or with --file, one of the two.")
    text = sql if source is None else source.read()
    if not text or not text.strip():
        raise UsageError("The SQL is empty; try `weir query 'SELECT * FROM readings LIMIT 5'`.")
    pairs = [pair.partition("=") for pair in params]
    for name, equals, _ in pairs:
        if not equals or not name.isidentifier():
            raise UsageError(f"--param takes NAME=VALUE, not {name}{equals}.")
    limit = MAX_ROWS + 1 if format_name == "pretty" and not write else None
    values = {name: value for name, _, value in pairs}
    return Question(text.strip(), values, FORMATS.get(format_name.lower(), format_name), write, limit)


def _print_table(answer: Answer) -> None:
    result = read_result(answer.chunks)
    if result is None:
        _tell(f"Done in {answer.seconds:.3f} s{_written(answer)}.")
        return
    if not result.rows:
        _tell(f"No rows in {answer.seconds:.3f} s.")
        return
    cut = type(result)(result.names, result.types, result.rows[:MAX_ROWS])
    print_result(Console(highlight=False), cut)
    if len(result.rows) > MAX_ROWS:
        _tell(f"The first {MAX_ROWS:,} rows in {answer.seconds:.3f} s; there are more: add LIMIT, or -f csv for all.")
    else:
        _tell(f"{_counted(len(result.rows))} in {answer.seconds:.3f} s.")


def _pass_on(answer: Answer) -> None:
    try:
        for chunk in answer.chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # `weir query … | head` has all it wants; Python would complain once more when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    rows = "Done" if answer.rows is None or answer.written else _counted(answer.rows)
    _tell(f"{rows} in {answer.seconds:.3f} s{_written(answer)}.")


def _counted(rows: int) -> str:
    return "No rows" if rows == 0 else "1 row" if rows == 1 else f"{rows:,} rows"


def _written(answer: Answer) -> str:
    return f", {answer.written:,} written" if answer.written else ""


def _tell(sentence: str) -> None:
    click.echo(sentence, err=True)
