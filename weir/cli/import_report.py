"""What an import says of the rows that it did not take: on stderr for a person, and as JSON lines in a file."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple

import click

from weir.cli.result_table import printable
from weir.errors import UsageError

TOLD: Final = 20
"""Faults that are told on stderr; the file has all."""


class Fault(NamedTuple):
    """Why one row is not taken: its line (from 1), the column ('' when it is the row as a whole), and a sentence."""

    line: int
    column: str
    why: str


class ImportReport:
    """Counts bad rows and tells of each as it is found; a row with two faults is one bad row."""

    def __init__(self, source: str, file: Path | None) -> None:
        """Tell of rows of ``source``; ``file`` takes a JSON object for each fault."""
        self.bad_rows = 0
        self.faults = 0
        self._source = source
        self._path = file
        self._file: IO[str] | None = None
        self._open = ExitStack()

    def add(self, faults: list[Fault]) -> None:
        """Take the faults of one row."""
        self.bad_rows += 1
        for fault in faults:
            self.faults += 1
            if self._file is not None:
                self._file.write(json.dumps(fault._asdict(), ensure_ascii=False) + "\n")
            if self.faults <= TOLD:
                column = f"{fault.column}: " if fault.column else ""
                click.echo(printable(f"{self._source}:{fault.line}: {column}{fault.why}"), err=True)

    def __enter__(self) -> ImportReport:
        """Begin, with an empty file."""
        if self._path is not None:
            try:
                self._file = self._open.enter_context(self._path.open("w", encoding="utf-8"))
            except OSError as error:
                raise UsageError(f"The report {self._path} cannot be written: {error.strerror}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say how many faults were not told, and close the file."""
        if self.faults > TOLD:
            where = f"see {self._path}" if self._path is not None else "--report FILE writes them all"
            click.echo(f"… and {self.faults - TOLD:,} more; {where}.", err=True)
        self._open.close()
