"""Rows of a CSV or JSON-lines file, each with its line, and what is wrong with those that are bad."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple, TextIO, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from weir.cli.import_report import Fault
from weir.errors import UsageError

Format = Literal["csv", "jsonl"]
Model = TypeVar("Model", bound=BaseModel)

FORMATS: Final[dict[str, Format]] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""What the end of a file's name says of its format."""

MOST_SHOWN: Final = 80
"""Characters of a wrong value that a fault repeats."""


class Row(NamedTuple):
    """A row of a file: the line it begins on, and what it gives; an empty cell of a CSV file is None."""

    line: int
    fields: Mapping[str, Any]


@contextmanager
def opened(source: Path) -> Iterator[TextIO]:
    """A file, or standard input for ``-``; bytes that are no UTF-8 come as lone surrogates, which no row may hold.

    Raises :class:`UsageError` for a file that cannot be read.
    """
    try:
        where: Path | int = 0 if str(source) == "-" else source
        with open(where, encoding="utf-8-sig", errors="surrogateescape", newline="", closefd=where != 0) as stream:
            yield stream
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror}; name a CSV or JSON-lines file.") from error


def format_of(source: Path, told: str | None) -> Format:
    """The format that was told, else that of the file's name. Raises :class:`UsageError` when neither says it."""
    if told in ("csv", "jsonl"):
        return "csv" if told == "csv" else "jsonl"
    known = FORMATS.get(source.suffix.lower())
    if known is None:
        raise UsageError(f"The name {source} does not say its format; add --format csv or --format jsonl.")
    return known


def read_rows(stream: IO[str], form: Format, model: type[BaseModel], required: Sequence[str]) -> Iterator[Row | Fault]:
    """Rows of a file, or the fault of a row that cannot be read.

    Raises :class:`UsageError` when the header of a CSV file lacks a required column or has one that ``model`` lacks:
    then no row of it means what it says.
    """
    rows = _csv_rows(stream, model, required) if form == "csv" else _json_rows(stream)
    for row in rows:
        damaged = isinstance(row, Row) and _damaged(row)
        yield Fault(row.line, str(damaged), "is no UTF-8 text") if damaged else row


def checked(row: Row, model: type[Model]) -> Model | list[Fault]:
    """The row as a ``model``, or all that is wrong with it."""
    try:
        return model.model_validate(dict(row.fields))
    except ValidationError as error:
        return [_fault(row.line, each) for each in error.errors(include_url=False, include_context=False)]


def _fault(line: int, error: ErrorDetails) -> Fault:
    column = ".".join(str(step) for step in error["loc"])
    if error["input"] is None or error["type"] == "missing":
        return Fault(line, column, "is missing")
    told = error["msg"].removeprefix("Value error, ")
    given = repr(error["input"])
    shown = given if len(given) <= MOST_SHOWN else f"{given[:MOST_SHOWN]}…"
    return Fault(line, column, f"{told} (it is {shown})" if column else told)


def _csv_rows(stream: IO[str], model: type[BaseModel], required: Sequence[str]) -> Iterator[Row | Fault]:
    """A row is one line: a quote that somebody forgot to close must not swallow the rows behind it."""
    header: list[str] | None = None
    for line, text in enumerate(stream, start=1):
        if not text.strip():
            continue
        try:
            cells = next(csv.reader([text.rstrip("\r\n")], strict=True))
        except csv.Error as error:
            if header is None:
                raise UsageError(f"The header cannot be read as CSV: {error}.") from error
            yield Fault(line, "", f"cannot be read as CSV: {error}; a row is one line")
            continue
        if header is None:
            header = _header([cell.strip() for cell in cells], model, required)
        elif len(cells) != len(header):
            yield Fault(line, "", f"has {len(cells)} cells, and the header {len(header)}")
        else:
            yield Row(line, {name: cell or None for name, cell in zip(header, cells, strict=True)})
    if header is None:
        _header([], model, required)


def _header(header: list[str], model: type[BaseModel], required: Sequence[str]) -> list[str]:
    known = list(model.model_fields)
    missing = [name for name in required if name not in header]
    unknown = [name for name in header if name not in known]
    doubled = [name for number, name in enumerate(header) if name in header[:number]]
    if missing:
        raise UsageError(f"The header lacks the column {missing[0]}; the columns are {', '.join(known)}.")
    if unknown or doubled:
        told = f"has no meaning for {unknown[0]!r}" if unknown else f"names {doubled[0]} twice"
        raise UsageError(f"The header {told}; the columns are {', '.join(known)}.")
    return header


def _json_rows(stream: IO[str]) -> Iterator[Row | Fault]:
    for line, text in enumerate(stream, start=1):
        if not text.strip():
            continue
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Fault(line, "", f"is no JSON: {error}")
            continue
        yield Row(line, fields) if isinstance(fields, dict) else Fault(line, "", "is no JSON object")


def _damaged(row: Row) -> str | None:
    """Column of a text that was no UTF-8; what JSON escapes as a lone surrogate is none either."""
    for name, value in row.fields.items():
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            return name
    return None
