"""Rows of a query as a table that a person can read, or as one block a row where a table would be too wide."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

FORMAT = "JSONCompactEachRowWithNamesAndTypes"
"""The format that :func:`read_result` reads: a line of names, a line of types, a line a row."""

_NUMBER = re.compile(r"^(LowCardinality\(|Nullable\()*(U?Int|Float|BFloat|Decimal)\d*")
_PADDING = 3
"""Characters that a column takes beside its text."""


@dataclass(frozen=True, slots=True)
class Result:
    """Column names and types as ClickHouse writes them, and each row's cells as text; None is NULL."""

    names: Sequence[str]
    types: Sequence[str]
    rows: Sequence[Sequence[str | None]]


def read_result(chunks: Iterable[bytes]) -> Result | None:
    """Parse an answer in :data:`FORMAT`; None when it holds nothing at all, as that of a CREATE."""
    lines = _lines(chunks)
    names = next(lines, None)
    if names is None:
        return None
    types = next(lines)
    rows = [[_shown(cell) for cell in row] for row in lines]
    return Result([str(name) for name in names], [str(kind) for kind in types], rows)


def print_result(console: Console, result: Result) -> None:
    """Print a table when it fits (or when nobody watches, for a file has no width), else one block a row."""
    width = _table_width(result)
    if not console.is_terminal:
        console.width = max(width, console.width)
    if width <= console.width:
        console.print(_table(result))
    else:
        _print_blocks(console, result)


def _table(result: Result) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name, kind in zip(result.names, result.types, strict=True):
        table.add_column(Text(name), justify="right" if _NUMBER.match(kind) else "left", no_wrap=True)
    for row in result.rows:
        table.add_row(*(_cell(text) for text in row))
    return table


def _print_blocks(console: Console, result: Result) -> None:
    margin = max(cell_len(name) for name in result.names)
    for number, row in enumerate(result.rows, start=1):
        console.print(Text(f"── row {number} ", style="dim"))
        for name, text in zip(result.names, row, strict=True):
            console.print(Text(f"{name:>{margin}}  ", style="bold").append_text(_cell(text)), soft_wrap=True)


def _cell(text: str | None) -> Text:
    return Text("NULL", style="dim") if text is None else Text(text, style="not bold")


def _table_width(result: Result) -> int:
    widths = [cell_len(name) for name in result.names]
    for row in result.rows:
        widths = [max(width, cell_len(text or "NULL")) for width, text in zip(widths, row, strict=True)]
    return sum(widths) + _PADDING * len(widths)


class _Number(str):
    """A number with a point, as the server wrote it: no digit changes on its way through a float."""


def _shown(cell: object) -> str | None:
    """A cell's text."""
    if cell is None:
        return None
    return printable(cell if isinstance(cell, str) else _nested(cell))


def printable(text: str) -> str:
    """Control characters escaped: what somebody else wrote must not steer a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _nested(cell: object) -> str:
    if isinstance(cell, list):
        return f"[{', '.join(_nested(item) for item in cell)}]"
    if isinstance(cell, dict):
        return f"{{{', '.join(f'{key}: {_nested(item)}' for key, item in cell.items())}}}"
    return cell if isinstance(cell, _Number) else json.dumps(cell, ensure_ascii=False)


def _lines(chunks: Iterable[bytes]) -> Iterator[list[object]]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (_parsed(line) for line in whole if line)
    if rest:
        yield _parsed(rest)


def _parsed(line: bytes) -> list[object]:
    parsed: list[object] = json.loads(line.decode("utf-8", "replace"), parse_float=_Number)
    return parsed
