"""The engine of one data directory, and the connections through which statements reach it.

One process holds one engine. A connection costs 0.08 ms, so every request gets a fresh one: settings and parameters
set on it cannot leak into the next request, and neither can the bytes of a failed query, which chDB leaves in the
connection's output and puts before the next result.
"""

from __future__ import annotations

import fcntl
import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from weir.errors import StackError
from weir.stack.clickhouse.configuration import write_configuration
from weir.stack.clickhouse.exceptions import from_engine

LOCK_FILE = "weir.lock"


def _load_library() -> Any:
    """ChDB's own module, loaded in UTC and without its signal handlers.

    Native answers name ``DateTime('zone')`` columns without the zone, so that clients read them in the server's; the
    library takes that from TZ when it is loaded, and from nowhere else.
    """
    os.environ["TZ"] = "UTC"
    library: Any = importlib.import_module("chdb._chdb")  # its stubs leave out what is used here
    library.set_signal_handlers_enabled(0)
    return library


@dataclass(frozen=True)
class Statistics:
    """What a statement read, wrote and returned, in rows and bytes."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0

    def __add__(self, other: Statistics) -> Statistics:
        """The sum of two parts of one statement."""
        return Statistics(
            self.read_rows + other.read_rows,
            self.read_bytes + other.read_bytes,
            self.written_rows + other.written_rows,
            self.written_bytes + other.written_bytes,
            self.result_rows + other.result_rows,
            self.result_bytes + other.result_bytes,
        )


@dataclass(frozen=True)
class Block:
    """Some bytes of a result, with what they cost."""

    data: bytes
    statistics: Statistics


class EngineConnection:
    """One connection: current database, settings, parameters and temporary tables of its own. For one thread at a time.

    Every method blocks and raises :class:`ClickHouseError` with the engine's code.
    """

    def __init__(self, raw: Any) -> None:
        """Take over a connection of chDB."""
        self._raw = raw

    def run(
        self, sql: bytes, output_format: str = "TabSeparated", parameters: Mapping[str, str] | None = None
    ) -> Block:
        """Execute any statement and return its whole result."""
        try:
            result = self._raw.query(sql, output_format, params=dict(parameters or {}))
        except RuntimeError as error:
            raise from_engine(str(error)) from None
        return _block(result)

    def stream(self, sql: bytes, output_format: str, parameters: Mapping[str, str]) -> Iterator[Block]:
        """Execute a SELECT and return its blocks; closing the iterator stops the query."""
        try:
            handle = self._raw.send_query(sql, output_format, params=dict(parameters))
            finished = False
            try:
                while True:
                    result = self._raw.streaming_fetch_result(handle)
                    if result is None or result.rows_read() == 0:
                        finished = True
                        return
                    yield _block(result)
            finally:
                if not finished:
                    self._raw.streaming_cancel_query(handle)
        except RuntimeError as error:
            raise from_engine(str(error)) from None

    def insert(self, sql: bytes, input_format: str, chunks: Iterator[bytes]) -> Statistics:
        """Execute an INSERT with the data of ``chunks``; nothing is committed if they raise."""
        handle = None
        try:
            handle = self._raw.send_insert(sql, input_format)
            for chunk in chunks:
                self._raw.insert_append(handle, chunk)
            result, handle = self._raw.insert_done(handle), None
        except RuntimeError as error:
            handle = None
            raise from_engine(str(error)) from None
        finally:
            if handle is not None:
                self._raw.insert_cancel(handle)
        rows, size = result.rows_written(), result.bytes_written()
        return Statistics(read_rows=rows, read_bytes=size, written_rows=rows, written_bytes=size)

    def statement_count(self, sql: bytes) -> int:
        """How many statements the text holds; 0 if it does not parse."""
        return int(self._raw.classify_query(sql)["statement_count"])

    def is_read_only(self, sql: bytes) -> bool:
        """Whether the statement only reads."""
        return bool(self._raw.classify_query(sql)["query_class"].name == "READ_ONLY")

    def close(self) -> None:
        """Give the connection back; the engine itself stays open."""
        self._raw.close()


def _block(result: Any) -> Block:
    data = result.bytes()
    return Block(
        data,
        Statistics(
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            result_rows=result.rows_read(),
            result_bytes=len(data),
        ),
    )


class Engine:
    """The engine on one data directory; :meth:`close` when done."""

    def __init__(self, path: Path) -> None:
        """Open ``path``, created if missing.

        Raises :class:`~weir.errors.StackError` if another process serves it or it cannot be opened.
        """
        self._lock = _lock_directory(path)
        self._path = str(path.resolve())
        self._library = _load_library()
        configuration = write_configuration(Path(self._path))
        try:
            # this connection stays open: the engine shuts down with its last one
            self._keeper = self._library.connect(f"{self._path}?config-file={configuration}")
        except RuntimeError as error:
            self._lock.close()
            raise StackError(f"ClickHouse's engine cannot open {path}: {from_engine(str(error)).message}.") from None
        connection = self.connect()
        about = connection.run(b"SELECT version(), timezone(), hostName()").data.decode().rstrip("\n")
        self.version, self.timezone, self.host_name = about.split("\t")
        rows = connection.run(b"SELECT name, content_type FROM system.formats WHERE is_output").data.decode()
        self.content_types = {name.lower(): kind for name, kind in (line.split("\t") for line in rows.splitlines())}
        connection.close()

    def connect(self) -> EngineConnection:
        """A fresh connection in the database ``default``, with the server's defaults.

        ``implicit_select`` is how clickhouse-local lets one write ``1 + 1``; a server calls that a syntax error.
        """
        return EngineConnection(self._library.connect(f"{self._path}?implicit_select=0"))

    def close(self) -> None:
        """Shut the engine down and unlock the directory."""
        self._keeper.close()
        self._lock.close()


def _lock_directory(path: Path) -> TextIO:
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK_FILE).open("a+")
    except OSError as error:
        raise StackError(f"ClickHouse's data directory {path} cannot be used: {error.strerror}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise StackError(
            f"ClickHouse already serves {path} ({holder}); stop that one first or choose another --path."
        ) from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}")
    lock.flush()
    return lock
