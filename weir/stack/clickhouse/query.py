"""The execution of one request on one connection."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager

from weir.stack.clickhouse import statement
from weir.stack.clickhouse.engine import Block, Engine, EngineConnection, Statistics
from weir.stack.clickhouse.exceptions import (
    QUERY_IS_TOO_LARGE,
    READONLY,
    SYNTAX_ERROR,
    UNKNOWN_FORMAT,
    ClickHouseError,
)
from weir.stack.clickhouse.formats import BlockJoin, is_streamable
from weir.stack.clickhouse.request import ExternalTable, QueryRequest, is_true
from weir.stack.clickhouse.session import Lease
from weir.stack.clickhouse.staging import insert_checked, insert_staged, insert_target

MAX_STATEMENT_BYTES = 256 << 20
"""A statement that carries its data as SQL text (INSERT SELECT from long literals) is held in memory up to this."""

_HEAD_BYTES = 1 << 20
_SELECTS = ("SELECT", "WITH", "FROM")


class Result:
    """What a statement returns: the name of its format (``None`` if it has no result) and its blocks.

    Connection and session are given back with the last block, before the client can know that the answer is complete,
    and at the latest by :meth:`close`.
    """

    def __init__(self, name: str | None, blocks: Iterator[Block], resources: ExitStack) -> None:
        """``resources`` are closed once, when the blocks end or before."""
        self.format = name
        self.blocks = self._until_end(blocks)
        self._resources = resources

    def close(self) -> None:
        """Stop the statement if it still runs; does nothing the second time."""
        self.blocks.close()
        self._resources.close()

    def _until_end(self, blocks: Iterator[Block]) -> Generator[Block, None, None]:
        yield from blocks
        self._resources.close()


def quoted(text: str) -> bytes:
    """A string literal of SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return b"'" + escaped.encode("utf-8", "surrogateescape") + b"'"


def quoted_name(text: str) -> bytes:
    """An identifier of SQL."""
    escaped = text.replace("\\", "\\\\").replace("`", "\\`")
    return b"`" + escaped.encode("utf-8", "surrogateescape") + b"`"


class Execution:
    """One request's statement: its head is read on creation, the rest while it runs. Blocks; for one thread."""

    def __init__(self, engine: Engine, request: QueryRequest, body: Iterator[bytes]) -> None:
        """Read enough of the body to know the statement; raises :class:`ClickHouseError` if there is none."""
        self._engine, self._request, self._body = engine, request, body
        self._text = bytearray(request.query + b"\n" if request.query else b"")
        self.insert = self._read_head()
        if self.insert is None:
            self._read_all()
        self.sql = self.insert.sql if self.insert else bytes(self._text)
        if not statement.first_keyword(self.sql):
            raise ClickHouseError(SYNTAX_ERROR, "Empty query")

    def _read_head(self) -> statement.InsertHead | None:
        while True:
            head = statement.insert_head(bytes(self._text[:_HEAD_BYTES]))
            if head is not None and head.data_start < len(self._text):
                return head
            chunk = next(self._body, b"") if len(self._text) < _HEAD_BYTES else b""
            if not chunk:
                return head
            self._text += chunk

    def _read_all(self) -> None:
        for chunk in self._body:
            self._text += chunk
            if len(self._text) > MAX_STATEMENT_BYTES:
                raise ClickHouseError(
                    QUERY_IS_TOO_LARGE,
                    f"A statement may have {MAX_STATEMENT_BYTES} bytes; send data with INSERT … FORMAT.",
                )

    def run(self, lease: Lease | None) -> Result:
        """Execute on the session's connection if it has one, else on a fresh one; close the result when done."""
        with ExitStack() as resources:
            if lease is not None:
                resources.callback(lease.release)
            shared = self._session_connection(lease)
            connection = resources.enter_context(
                closing(self._engine.connect()) if shared is None else self._restored(shared)
            )
            self._prepare(connection)
            if shared is None:
                self._restrict(connection)
            else:
                self._check_read_only(connection)
            name, blocks = self._results(connection)
            return Result(name, blocks, resources.pop_all())

    def _session_connection(self, lease: Lease | None) -> EngineConnection | None:
        if lease is None:
            return None
        if lease.session.connection is None and statement.changes_session(self.sql):
            lease.session.connection = self._engine.connect()
        return lease.session.connection

    def _prepare(self, connection: EngineConnection) -> None:
        request = self._request
        if request.database:
            connection.run(b"USE " + quoted_name(request.database))
        for table in request.external:
            _create_external(connection, table)
        settings = {name: value for name, value in request.settings.items() if name != "readonly"}
        if settings:
            connection.run(b"SET " + b", ".join(name.encode() + b" = " + quoted(v) for name, v in settings.items()))
        if self.insert is not None:
            for name, value in request.parameters.items():
                connection.run(b"SET " + quoted_name(f"param_{name}") + b" = " + quoted(value))

    def _restrict(self, connection: EngineConnection) -> None:
        if self._request.readonly:
            connection.run(b"SET readonly = %d" % self._request.readonly)

    def _check_read_only(self, connection: EngineConnection) -> None:
        """On a connection that outlives the request: there is no way back from the setting ``readonly``."""
        if self._request.readonly and (self.insert is not None or not connection.is_read_only(self.sql)):
            raise ClickHouseError(READONLY, "default: Cannot execute query in readonly mode.")

    @contextmanager
    def _restored(self, connection: EngineConnection) -> Iterator[EngineConnection]:
        """Undo on a session's connection what belonged to this request alone."""
        database = connection.run(b"SELECT currentDatabase()", "RawBLOB").data.decode()
        before = _setting_values(connection, [name for name in self._request.settings if name != "readonly"])
        try:
            yield connection
        finally:
            connection.run(b"SELECT 1 FORMAT Null")  # a failed query leaves bytes that would precede the next result
            for table in self._request.external:
                connection.run(b"DROP TEMPORARY TABLE IF EXISTS " + quoted_name(table.name))
            for name, value in before.items():
                connection.run(b"SET " + name.encode() + b" = " + (b"DEFAULT" if value is None else quoted(value)))
            if self._request.database and statement.first_keyword(self.sql) != "USE":
                connection.run(b"USE " + quoted_name(database))

    def _results(self, connection: EngineConnection) -> tuple[str | None, Iterator[Block]]:
        if self.insert is not None:
            return None, iter([Block(b"", self._insert(connection, self.insert))])
        self._check_single(connection)
        name = self._format()
        reads = connection.is_read_only(self.sql)
        if reads and self._can_stream(name):
            return name, self._stream(connection, name)
        block = connection.run(self.sql, name, self._request.parameters)
        return (name if block.data or reads else None), iter([block])

    def _check_single(self, connection: EngineConnection) -> None:
        count = connection.statement_count(self.sql)
        if count > 1 or (count == 0 and re.search(rb";\s*\S", self.sql)):
            raise ClickHouseError(SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed)")

    def _format(self) -> str:
        name = statement.output_format(self.sql) or self._request.default_format or "TabSeparated"
        if name.lower() not in self._engine.content_types:
            raise ClickHouseError(UNKNOWN_FORMAT, f"Unknown format {name}.")
        return name

    def _can_stream(self, name: str) -> bool:
        return (
            is_streamable(name)
            and statement.first_keyword(self.sql) in _SELECTS
            and not statement.has_totals(self.sql)
            and not is_true(self._request.settings.get("extremes", ""))
        )

    def _stream(self, connection: EngineConnection, name: str) -> Iterator[Block]:
        join = BlockJoin(name)
        for block in connection.stream(self.sql, name, self._request.parameters):
            yield Block(join.add(block.data), block.statistics)
        if join.is_empty and join.needs_head:
            yield connection.run(self.sql, name, self._request.parameters)
        elif join.end():
            yield Block(join.end(), Statistics())

    def _insert(self, connection: EngineConnection, head: statement.InsertHead) -> Statistics:
        if head.selects:
            return self._insert_select(connection, head)
        target = insert_target(head.sql)
        if target is None:
            return connection.insert(head.sql, head.format, self._data(head))
        return insert_staged(connection, target, head.format, self._data(head))

    def _data(self, head: statement.InsertHead) -> Iterator[bytes]:
        first = bytes(memoryview(self._text)[head.data_start :])
        self._text.clear()
        if first:
            yield first
        yield from self._body

    def _insert_select(self, connection: EngineConnection, head: statement.InsertHead) -> Statistics:
        """INSERT SELECT FROM input('…') FORMAT …: the engine would take no row of it without a word, so that the data
        goes through a temporary table."""
        call = statement.input_call(head.sql)
        if call is None:
            return connection.run(head.sql, "TabSeparated", self._request.parameters).statistics
        start, end, structure = call
        table = quoted_name("_weir_input")
        connection.run(b"CREATE TEMPORARY TABLE " + table + b" (" + structure.replace(b"\\'", b"'") + b")")
        try:
            insert_checked(connection, table, head.format, self._data(head))
            sql = head.sql[:start] + table + head.sql[end:]
            return connection.run(sql, "TabSeparated", self._request.parameters).statistics
        finally:
            connection.run(b"DROP TEMPORARY TABLE " + table)


def _create_external(connection: EngineConnection, table: ExternalTable) -> None:
    name = quoted_name(table.name)
    connection.run(b"CREATE TEMPORARY TABLE " + name + b" (" + table.structure.encode() + b")")
    insert_checked(connection, name, table.format, iter([table.data] if table.data else []))


def _setting_values(connection: EngineConnection, names: list[str]) -> dict[str, str | None]:
    """The values of these settings, ``None`` for those at their default."""
    values: dict[str, str | None] = dict.fromkeys(names)
    if names:
        listed = b", ".join(quoted(name) for name in names)
        sql = b"SELECT name, hex(value) FROM system.settings WHERE changed AND name IN (" + listed + b")"
        for line in connection.run(sql).data.decode().splitlines():
            name, value = line.split("\t")
            values[name] = bytes.fromhex(value).decode()
    return values
