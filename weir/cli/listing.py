"""What a list of metadata looks like: a table for a person; JSON, JSON lines or CSV for a script."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, TypeVar

import click
from rich.console import Console

from connectors.entities.pages import MOST_ITEMS, Page
from weir.cli.result_table import Result, print_result, printable

Form = Literal["table", "json", "jsonl", "csv"]
Fields = Mapping[str, Any]
Item = TypeVar("Item")
Command = TypeVar("Command", bound=Callable[..., Any])

SHOWN: Final = 100
"""Rows of a table when no --limit is given; the forms for scripts have no limit of their own."""


class Column(NamedTuple):
    """A column of a table: its title, the field it shows, and whether that is a number or a time."""

    title: str
    field: str
    kind: Literal["text", "number", "time"] = "text"


class Asked(NamedTuple):
    """In which form a list is wanted, and how many rows at most (None: see :data:`SHOWN`)."""

    form: Form
    limit: int | None


def list_options(wrapped: Command) -> Command:
    """Add --json, --jsonl, --csv and --limit; pass what they gave to :func:`asked`."""
    options = (
        click.option("--json", "form", flag_value="json", help="One JSON array on stdout."),
        click.option("--jsonl", "form", flag_value="jsonl", help="One JSON object a line on stdout."),
        click.option("--csv", "form", flag_value="csv", help="CSV with a header on stdout."),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            help=f"At most N rows. Default: {SHOWN} in a table, all in the other forms.",
        ),
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def asked(form: str | None, limit: int | None) -> Asked:
    """What the options of :func:`list_options` mean."""
    forms: dict[str | None, Form] = {"json": "json", "jsonl": "jsonl", "csv": "csv"}
    return Asked(forms.get(form, "table"), limit)


def every(fetch: Callable[[int, str | None], Page[Item]], limit: int | None = None) -> Iterator[Item]:
    """Items of all pages, each fetched when it is needed; ``fetch`` takes the size of the page and the cursor."""
    size = MOST_ITEMS if limit is None else min(limit, MOST_ITEMS)
    page = fetch(size, None)
    yield from page.items
    while page.next_cursor is not None:
        page = fetch(size, page.next_cursor)
        yield from page.items


def most(wanted: Asked) -> int | None:
    """Rows that a list may have to fetch: one more than a table shows, so that it can say whether there are more."""
    return (wanted.limit or SHOWN) + 1 if wanted.form == "table" else wanted.limit


def print_list(items: Iterable[Fields], columns: Sequence[Column], wanted: Asked, nothing: str) -> None:
    """Print rows in the wanted form as they come; ``nothing`` is the sentence for an empty table."""
    if wanted.form == "table":
        _print_table(items, columns, wanted.limit, nothing)
        return
    shown = islice(items, wanted.limit)
    with while_somebody_reads():
        for chunk in {"json": _json_array, "jsonl": _json_lines, "csv": _csv_lines}[wanted.form](shown, columns):
            sys.stdout.write(chunk)


@contextmanager
def while_somebody_reads() -> Iterator[None]:
    """End the block when whoever reads stdout has all it wants, as ``head`` has after ten lines."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # Python would complain once more when it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_table(items: Iterable[Fields], columns: Sequence[Column], limit: int | None, nothing: str) -> None:
    rows = list(islice(items, (limit or SHOWN) + 1))
    if not rows:
        click.echo(nothing, err=True)
        return
    shown = rows[: limit or SHOWN]
    types = ["Float64" if column.kind == "number" else "String" for column in columns]
    cells = [[_cell(row.get(column.field), column) for column in columns] for row in shown]
    print_result(Console(highlight=False), Result([column.title for column in columns], types, cells))
    if len(rows) > len(shown) and limit is None:
        click.echo(f"The first {SHOWN}; there are more: add --limit, or --csv for all.", err=True)


def _cell(value: object, column: Column) -> str:
    """A cell for a person: times without fractions of a second, numbers without a fraction that says nothing."""
    text = cell_text(value)
    if column.kind == "time":
        return re.sub(r"T(\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)$", r" \1", text)
    return printable(text.removesuffix(".0") if column.kind == "number" else text)


def _json_array(items: Iterable[Fields], columns: Sequence[Column]) -> Iterator[str]:
    before = "["
    for item in items:
        yield f"{before}{json_text(item)}"
        before = ",\n "
    yield "[]\n" if before == "[" else "]\n"


def _json_lines(items: Iterable[Fields], columns: Sequence[Column]) -> Iterator[str]:
    return (f"{json_text(item)}\n" for item in items)


def _csv_lines(items: Iterable[Fields], columns: Sequence[Column]) -> Iterator[str]:
    """The columns of the table first, under the names of their fields, then every other field of the first row."""
    names: list[str] = [column.field for column in columns]
    yield_header = True
    for item in items:
        if yield_header:
            names += [name for name in item if name not in names]
            yield _csv_line(names)
            yield_header = False
        yield _csv_line([cell_text(item.get(name)) for name in names])
    if yield_header:
        yield _csv_line(names)


def _csv_line(cells: Sequence[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


def cell_text(value: object) -> str:
    """A field's value as the text of one cell; nothing for null, JSON for what is nested."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json_text(value) if isinstance(value, dict | list) else str(value)


def json_text(value: object) -> str:
    """One line of JSON."""
    return json.dumps(value, ensure_ascii=False, default=str)
