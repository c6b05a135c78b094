"""Writes blocks of rows into ClickHouse so that each block is stored once, however often it is sent.

A block goes as one Arrow IPC stream in one HTTP request with ``insert_deduplication_token``: the table remembers the
tokens of its last ``dedup_window_blocks`` inserts and drops a block whose token it knows. ``async_insert=0``, because
an asynchronous insert is acknowledged before it is stored, and several of them share one block.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from sinks.clickhouse.client import ClientOfEachThread, translating
from weir.settings import ClickHouseSettings

ORDER: Final = "#order"
"""A column of this name (UInt32) is not stored: it says in which order the rows go, equal ones as they stand.

Rows in the order of their table cost ClickHouse less to sort: 390 ns a row where 630 was (rows of 200,000 readings of
4,000 series, chDB 26). Putting them in order costs a worker 60 ns.
"""

_INSERT_SETTINGS: Final[dict[str, Any]] = {
    "async_insert": 0,
    "wait_end_of_query": 1,
    "insert_deduplicate": 1,
    "max_partitions_per_insert_block": 0,  # a device that was away may bring every day that is kept
    "optimize_on_insert": 0,  # resends go at merges and by FINAL: saves 30-43 % of the server's CPU for an insert
    "min_insert_block_size_rows": 1_000_000,  # one request stays one block, so one token means all of it
    "min_insert_block_size_bytes": 0,
}


class ClickHouseWriter:
    """Inserts frames whose columns are the table's. May be called from several threads; each gets a client."""

    def __init__(self, settings: ClickHouseSettings, labels: Collection[str] = ()) -> None:
        """Connect at the first insert. String columns named in ``labels`` travel as dictionaries."""
        self._settings = settings
        self._labels = labels
        self._clients = ClientOfEachThread(settings)

    def insert(self, table: str, rows: pl.DataFrame, token: str) -> None:
        """Store ``rows`` in ``table`` once, in their :data:`ORDER`, however often it is called with this ``token``.

        Dictionaries are what ClickHouse makes of LowCardinality columns anyway: they save it 10-20 % of its CPU. Blocks
        until the server has stored the rows. Raises :class:`~weir.errors.TransientError` when the server is away or
        busy, and :class:`~weir.errors.ConfigError` when it will never take them.
        """
        rows = in_order(rows)
        body = to_arrow_stream(rows.with_columns(self._dictionaries(rows)))
        with translating(self._settings):
            self._clients.get().raw_insert(
                table,
                column_names=rows.columns,
                insert_block=memoryview(body),  # type: ignore[arg-type]  # bytes are copied behind the statement
                settings={**_INSERT_SETTINGS, "insert_deduplication_token": token},
                fmt="ArrowStream",
            )

    def _dictionaries(self, rows: pl.DataFrame) -> list[pl.Series]:
        """Labels as Categorical, each with categories of its own.

        Polars keeps what is put into its shared categories for ever, and devices may send any label they like.
        """
        texts = (rows[name] for name in self._labels if rows.schema.get(name) == pl.String)
        return [text.cast(pl.Categorical(pl.Categories.random())) for text in texts]


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows by their :data:`ORDER`, without it; as they are where they have none."""
    if ORDER not in rows.columns:
        return rows
    places = rows[ORDER].to_numpy()
    if int(places.max()) < 2**16:
        places = places.astype(np.uint16)  # sorted by its digits: a tenth of what comparing costs
    # the rows of several blocks lie apart, and to gather from there is twice as dear as to join them first
    return rows.drop(ORDER).rechunk()[np.argsort(places, kind="stable")]


def to_arrow_stream(rows: pl.DataFrame) -> bytes:
    """Serialise a frame as one Arrow IPC stream with one record batch; categoricals as dictionaries."""
    table = rows.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()
