"""INSERTs whose failures are reported: chDB reports none that happens after an INSERT's data has been read.

So the data is first streamed into a temporary table, which has no constraint, partition or part to fail on, and goes
from there to its target with an INSERT SELECT, whose errors chDB does report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

from weir.stack.clickhouse.engine import EngineConnection, Statistics
from weir.stack.clickhouse.exceptions import STD_EXCEPTION, ClickHouseError
from weir.stack.clickhouse.statement import Token, tokens

NO_SUCH_COLUMN = (16, "NO_SUCH_COLUMN_IN_TABLE")
_STAGE = b"`_weir_insert`"
_ORDERED = b"max_threads = 1, max_insert_threads = 1"
"""What makes the blocks of the INSERT SELECT those of the data."""


@dataclass(frozen=True)
class Target:
    """An INSERT's table, its column list without brackets (empty if it has none), and what follows (SETTINGS)."""

    table: bytes
    columns: bytes
    rest: bytes


def insert_target(sql: bytes) -> Target | None:
    """Divide an INSERT up to FORMAT or VALUES; ``None`` for ``INSERT INTO FUNCTION``."""
    stream = list(tokens(sql))[1:]
    words = iter(("INTO", "TABLE"))
    while stream and stream[0].keyword in words and len(stream) > 1 and stream[1].text not in (b".", b"("):
        del stream[0]
    if not stream or (stream[0].keyword == "FUNCTION" and len(stream) > 1 and stream[1].kind == "word"):
        return None
    end = _name_length(stream)
    table = sql[stream[0].start : stream[end - 1].end]
    if end == len(stream) or stream[end].text != b"(":
        return Target(table, b"", sql[stream[end - 1].end :])
    close = next((t for t in stream[end:] if t.text == b")" and t.depth == stream[end].depth), None)
    if close is None:
        return None
    return Target(table, sql[stream[end].end : close.start].strip(), sql[close.end :])


def _name_length(stream: list[Token]) -> int:
    """How many tokens name the table: ``a``, ``a.b``, with ``{a:Identifier}`` for either."""
    position = 0
    while True:
        if stream[position].text == b"{":
            while position + 1 < len(stream) and stream[position].text != b"}":
                position += 1
        position += 1
        if position + 1 >= len(stream) or stream[position].text != b".":
            return position
        position += 1


def insert_staged(
    connection: EngineConnection, target: Target, input_format: str, chunks: Iterator[bytes]
) -> Statistics:
    """Execute the INSERT with the data of ``chunks``; raises the engine's error if it was not written."""
    columns = _described(connection, b"TABLE " + target.table)
    listed = _listed(connection, target)
    unknown = next((name for name in listed if all(name != column[0] for column in columns)), None)
    if unknown is not None:
        table = target.table.decode("utf-8", "replace")
        raise ClickHouseError(NO_SUCH_COLUMN, f"No such column {unknown} in table {table}")
    if not listed:
        listed = [name for name, _, kind, _ in columns if kind in ("", "DEFAULT")]
    definitions = b", ".join(_definition(*column, listed=column[0] in listed) for column in columns)
    connection.run(b"CREATE TEMPORARY TABLE " + _STAGE + b" (" + definitions + b") ENGINE = Memory")
    try:
        names = b", ".join(_quoted(name) for name in listed)
        into = b" (" + names + b") " + target.rest + b"\n"
        digest = _Digest(names)
        statistics = connection.insert(b"INSERT INTO " + _STAGE + into, input_format, digest.of(chunks))
        stored, deduplication = _staged(connection, target.rest, digest)
        _check(stored, statistics.written_rows)
        if stored:
            select = b"SELECT " + names + b" FROM " + _STAGE + b" SETTINGS " + _ORDERED + deduplication
            connection.run(b"INSERT INTO TABLE " + target.table + into + select)
        return statistics
    finally:
        connection.run(b"DROP TEMPORARY TABLE IF EXISTS " + _STAGE)


def insert_checked(connection: EngineConnection, table: bytes, input_format: str, chunks: Iterator[bytes]) -> None:
    """Fill an empty temporary table; raises if it does not hold all rows afterwards."""
    statistics = connection.insert(b"INSERT INTO " + table, input_format, chunks)
    _check(int(connection.run(b"SELECT count() FROM " + table).data), statistics.written_rows)


def _check(stored: int, rows: int) -> None:
    if stored != rows:
        raise ClickHouseError(
            STD_EXCEPTION,
            f"Only {stored} of {rows} rows could be computed from the data (does the expression of a column's DEFAULT"
            " throw?); none was written.",
        )


class _Digest:
    """A digest of data that passes by, the token of an INSERT that has none.

    Without a token ClickHouse compares the rows of two INSERTs; for an INSERT SELECT it would need them sorted.
    """

    def __init__(self, names: bytes) -> None:
        self._hash = hashlib.blake2b(names, digest_size=16)

    def of(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._hash.update(chunk)
            yield chunk

    def token(self) -> bytes:
        return b"weir-" + self._hash.hexdigest().encode()


def _staged(connection: EngineConnection, rest: bytes, digest: _Digest) -> tuple[int, bytes]:
    """The number of rows in the temporary table, and the settings that deduplicate the INSERT SELECT like an INSERT."""
    sql = b"SELECT count(), getSetting('deduplicate_insert'), getSetting('insert_deduplicate')"
    sql += b", getSetting('insert_deduplication_token') != '' FROM " + _STAGE + b" " + rest
    count, mode, old, has_token = connection.run(sql).data.decode().rstrip("\n").split("\t")
    if mode == "disable" or (mode == "backward_compatible_choice" and old in ("0", "false")):
        return int(count), b", deduplicate_insert_select = 'disable'"
    enabled = b", deduplicate_insert_select = 'force_enable'"
    if has_token not in ("1", "true"):
        enabled += b", insert_deduplication_token = '%s'" % digest.token()
    return int(count), enabled


def _described(connection: EngineConnection, what: bytes) -> list[tuple[str, str, str, str]]:
    rows = json.loads(connection.run(b"DESCRIBE " + what, "JSONCompact").data)["data"]
    return [(row[0], row[1], row[2], row[3]) for row in rows]


def _listed(connection: EngineConnection, target: Target) -> list[str]:
    stream = list(tokens(target.columns))
    if any(token.kind == "open" or token.text == b"*" for token in stream):
        query = b"(SELECT " + target.columns + b" FROM " + target.table + b")"
        return [name for name, *_ in _described(connection, query)]
    names = [""]
    for token in stream:
        if token.text == b",":
            names.append("")
        else:
            names[-1] += _unquoted(token)
    return [name for name in names if name]


def _unquoted(token: Token) -> str:
    text = token.text.decode("utf-8", "surrogateescape")
    if token.kind != "quoted":
        return text
    quote, inner = text[0], text[1:-1]
    return inner.replace(quote * 2, quote).replace(f"\\{quote}", quote).replace("\\n", "\n").replace("\\\\", "\\")


def _quoted(name: str) -> bytes:
    return b"`" + name.replace("\\", "\\\\").replace("`", "\\`").encode("utf-8", "surrogateescape") + b"`"


def _definition(name: str, kind: str, default: str, expression: str, *, listed: bool) -> bytes:
    """A column of the temporary table: what the statement does not bring is computed by the target."""
    head = _quoted(name) + b" " + kind.encode()
    if listed:
        return head + (b" DEFAULT " + expression.encode() if default == "DEFAULT" else b"")
    if default in ("DEFAULT", "MATERIALIZED", "ALIAS"):
        return head + b" ALIAS " + expression.encode()
    return head + (b" EPHEMERAL " + expression.encode() if default == "EPHEMERAL" else b"")
