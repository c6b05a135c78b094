"""Reads back what alerts were announced, and which readings came before: where a worker begins."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from sinks.clickhouse.client import ClientOfEachThread, translating
from weir.settings import ClickHouseSettings

DEVICES_A_QUERY: Final = 250
"""Their names travel as query parameters, and a server takes 128 KiB of each."""

ALERT_COLUMNS: Final = ("id", "kind", "state", "org_id", "project_id", "device_id", "sensor", "window_start", "offset")

_ANNOUNCED: Final = """
SELECT id, toString(kind) AS kind, toString(state) AS state, toString(org_id) AS org_id,
       toString(project_id) AS project_id, device_id, toString(sensor) AS sensor,
       toUnixTimestamp64Milli(assumeNotNull(window_start)) AS window_start, assumeNotNull(offset) AS offset
FROM alerts
WHERE partition = {partition:Int32} AND window_start IS NOT NULL AND offset IS NOT NULL
    AND id NOT IN (
        SELECT id FROM alerts WHERE partition = {partition:Int32} AND state = 'resolved' AND offset < {below:Int64}
    )
"""

_HEARD: Final = """
SELECT r.device_id, toString(r.sensor) AS sensor,
       if(countIf(r.is_number) = 0, NULL, toUnixTimestamp64Milli(maxIf(r.ts, r.is_number))) AS ts,
       toUnixTimestamp64Milli(max(r.append_ts)) AS append_ts
FROM raw_readings AS r
WHERE r.partition = {partition:UInt16} AND r.offset < {below:UInt64} AND r.ts >= fromUnixTimestamp64Milli({since:Int64})
GROUP BY r.device_id, r.sensor
"""

_READINGS: Final = """
SELECT r.device_id, toString(r.sensor) AS sensor, toUnixTimestamp64Milli(r.ts) AS ts, r.value,
       toInt64(r.offset) AS offset
FROM raw_readings AS r
WHERE r.partition = {partition:UInt16} AND r.offset < {below:UInt64} AND r.ts >= fromUnixTimestamp64Milli({since:Int64})
    AND r.is_number AND r.device_id IN {devices:Array(String)}
ORDER BY r.offset, r.ts
"""


class StoredAlerts:
    """Queries about one partition, below an offset. May be called from several threads; each gets a client.

    Every method blocks, and raises :class:`~weir.errors.TransientError` when ClickHouse is away or busy.
    """

    def __init__(self, settings: ClickHouseSettings) -> None:
        """Connect at the first query."""
        self._settings = settings
        self._clients = ClientOfEachThread(settings)

    def announced(self, partition: int, below: int) -> pl.DataFrame:
        """What was announced (:data:`ALERT_COLUMNS`, times in ms) of alerts not resolved below offset ``below``."""
        return self._ask(_ANNOUNCED, {"partition": partition, "below": below})

    def heard(self, partition: int, below: int, since: int) -> pl.DataFrame:
        """When each series was heard last, of readings measured at or after ``since`` (ms).

        Columns device_id, sensor, ts (of the newest number; null for none) and append_ts.
        """
        return self._ask(_HEARD, {"partition": partition, "below": below, "since": since})

    def readings(self, names: pl.DataFrame, partition: int, below: int, since: int) -> pl.DataFrame:
        """The numbers of these series (device_id, sensor) from ``since`` on (ms), by offset and ts, with value."""
        asked = {"partition": partition, "below": below, "since": since}
        parts = names["device_id"].unique().sort()
        answers = [
            self._ask(_READINGS, asked | {"devices": parts[at : at + DEVICES_A_QUERY].to_list()})
            for at in range(0, len(parts), DEVICES_A_QUERY)
        ]
        return pl.concat(answers).join(names, on=["device_id", "sensor"], how="semi").sort("offset", "ts")

    def _ask(self, query: str, parameters: dict[str, Any]) -> pl.DataFrame:
        with translating(self._settings):
            return pl.DataFrame(self._clients.get().query_arrow(query, parameters=parameters, use_strings=True))
