"""Asking ClickHouse which probes a query sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clickhouse_connect.driver import Client

from sinks.clickhouse.client import connect, translating
from weir.settings import ClickHouseSettings, Settings

MOST_SECONDS: Final = 5.0
"""For one answer: a question that hangs holds up what is asked next."""

_QUERY: Final = """
    SELECT toUnixTimestamp64Milli(ts) FROM readings
    WHERE org_id = {org:String} AND device_id = {device:String} AND sensor = {sensor:String}
      AND ts >= fromUnixTimestamp64Milli({first:Int64}) AND ts <= fromUnixTimestamp64Milli({last:Int64})
    SETTINGS max_threads = 1
"""
"""A range of the table's key: nobody else writes readings of this sensor, so it holds little beside the probes."""


class Sight:
    """The view ``readings``, asked by its key for all probes at once; one thread at a time. Close it."""

    def __init__(self, settings: Settings) -> None:
        """Connect at the first question."""
        self._probe = settings.probe
        seconds = min(MOST_SECONDS, settings.clickhouse.timeout_seconds)
        self._settings: ClickHouseSettings = settings.clickhouse.model_copy(update={"timeout_seconds": seconds})
        self._client: Client | None = None

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def visible(self, ts_ms: Sequence[int]) -> set[int]:
        """Which of these event times a query shows; blocks, 3 to 5 ms where measured.

        Raises what :func:`sinks.clickhouse.client.connect` raises.
        """
        if self._client is None:
            self._client = connect(self._settings)
        parameters = {
            "org": self._probe.organisation,
            "device": self._probe.device,
            "sensor": self._probe.sensor,
            "first": min(ts_ms),
            "last": max(ts_ms),
        }
        with translating(self._settings):
            found = {int(row[0]) for row in self._client.query(_QUERY, parameters=parameters).result_rows}
        return found.intersection(ts_ms)
