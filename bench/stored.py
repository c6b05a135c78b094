"""What ClickHouse holds, asked by a benchmark."""

from __future__ import annotations

from typing import Any

from sinks.clickhouse.client import ClientOfEachThread, translating
from weir.settings import ClickHouseSettings, Settings

_clients: dict[ClickHouseSettings, ClientOfEachThread] = {}


def ask(settings: Settings, query: str, **parameters: object) -> list[tuple[Any, ...]]:
    """Rows of the answer; ``{name:Type}`` in the query takes the parameter of that name. Blocks.

    Raises :class:`~weir.errors.TransientError` when ClickHouse is away or busy.
    """
    clients = _clients.setdefault(settings.clickhouse, ClientOfEachThread(settings.clickhouse))
    with translating(settings.clickhouse):
        return [tuple(row) for row in clients.get().query(query, parameters=parameters).result_rows]
