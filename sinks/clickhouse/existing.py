"""What a ClickHouse server has now, in the words of :mod:`sinks.clickhouse.relation`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clickhouse_connect.driver import Client

from sinks.clickhouse.relation import Column

_TABLES = """
    SELECT name, engine_full, partition_key, sorting_key, comment, as_select
    FROM system.tables WHERE database = {database:String}
"""
_COLUMNS = """
    SELECT table, name, type, comment, compression_codec, default_expression
    FROM system.columns WHERE database = {database:String} ORDER BY table, position
"""


@dataclass(frozen=True, slots=True)
class Existing:
    """A table or view as it is; ``engine`` is everything up to PARTITION BY, ``select`` is empty for a table."""

    engine: str
    partition_by: str
    order_by: str
    ttl: str
    settings: dict[str, str]
    comment: str
    select: str
    columns: dict[str, Column]


def read_existing(client: Client, database: str) -> dict[str, Existing]:
    """Every table and view of ``database`` by name; blocks for two queries."""
    # tables first: one that another migration makes between the two queries is then missing, and not without columns
    tables = client.query(_TABLES, {"database": database}).result_rows
    columns = _columns(client, database)
    return {
        name: Existing(
            engine=engine.split(" PARTITION BY ")[0],
            partition_by=partition_key,
            # the server keeps the brackets around a single column
            order_by=re.sub(r"^\((\w+)\)$", r"\1", sorting_key),
            ttl=_between(engine, " TTL ", " SETTINGS "),
            settings=_settings(_between(engine, " SETTINGS ", None)),
            comment=comment,
            select=select,
            columns=columns.get(name, {}),
        )
        for name, engine, partition_key, sorting_key, comment, select in tables
    }


def _columns(client: Client, database: str) -> dict[str, dict[str, Column]]:
    columns: dict[str, dict[str, Column]] = {}
    for table, name, kind, comment, codec, default in client.query(_COLUMNS, {"database": database}).result_rows:
        bare = codec.removeprefix("CODEC(").removesuffix(")") if codec else ""
        columns.setdefault(table, {})[name] = Column(name, kind, comment, bare, default)
    return columns


def _between(text: str, start: str, end: str | None) -> str:
    if start not in text:
        return ""
    rest = text.split(start, 1)[1]
    return rest.split(end, 1)[0] if end else rest


def _settings(text: str) -> dict[str, str]:
    return {name: value.strip() for name, value in re.findall(r"(\w+) = ('[^']*'|[^,]+)", text)}
