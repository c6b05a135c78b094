"""Reads back what closed windows hold, for a correction."""

from __future__ import annotations

import io
from typing import Final

import polars as pl
import pyarrow as pa
from clickhouse_connect.driver.external import ExternalData

from sinks.clickhouse.client import ClientOfEachThread, translating
from weir.settings import ClickHouseSettings

_READINGS: Final = """
SELECT r.device_id, toString(r.sensor) AS sensor, toUnixTimestamp64Milli(r.ts) AS ts,
       if(r.is_number, r.value, nan) AS value, toUnixTimestamp64Milli(r.append_ts) AS append_ts,
       toInt64(r.offset) AS offset, toString(r.fw_ver) AS fw_ver, toString(r.source) AS source
FROM raw_readings AS r
WHERE {within}
ORDER BY r.offset
"""
"""Without FINAL: the reducer drops resends anyway, and a conflict shows only while what was replaced is not merged."""

_OF_PARTITION: Final = """
SELECT toString(r.org_id) AS org_id, toString(r.project_id) AS project_id, r.device_id,
       toString(r.device_type) AS device_type, toString(r.sensor) AS sensor, toString(r.metric) AS metric,
       toString(r.unit) AS unit, toString(r.fw_ver) AS fw_ver, toString(r.source) AS source,
       toUnixTimestamp64Milli(r.ts) AS ts, if(r.is_number, r.value, nan) AS value,
       toUnixTimestamp64Milli(r.append_ts) AS append_ts, toInt64(r.offset) AS offset
FROM raw_readings AS r
WHERE r.partition = {partition:UInt16}
    AND r.ts >= fromUnixTimestamp64Milli({begin:Int64}) AND r.ts < fromUnixTimestamp64Milli({end:Int64})
ORDER BY r.offset
"""

_AGGREGATES: Final = """
SELECT toString(r.org_id) AS org_id, toString(r.project_id) AS project_id, r.device_id,
       toString(r.device_type) AS device_type, toString(r.sensor) AS sensor, toString(r.metric) AS metric,
       toString(r.unit) AS unit, toString(r.fw_ver) AS fw_ver, toString(r.source) AS source,
       toUnixTimestamp64Milli(r.window_start) AS ts, toInt64(r.count) AS count, r.sum, r.min, r.max, r.avg, r.first,
       r.last, toUnixTimestamp64Milli(r.last_ts) AS last_ts, r.stddev, r.revision
FROM agg_1m AS r FINAL
WHERE {within}
"""

_WITHIN: Final = """
    r.{time} >= fromUnixTimestamp64Milli({{begin:Int64}}) AND r.{time} < fromUnixTimestamp64Milli({{end:Int64}})
    AND r.device_id IN (SELECT device_id FROM windows_asked)
    AND (r.device_id, r.sensor, intDiv(toUnixTimestamp64Milli(r.{time}), {{size:Int64}}) * {{size:Int64}})
        IN (SELECT device_id, sensor, start FROM windows_asked)
"""

_WINDOWS_ASKED: Final = "device_id String, sensor String, start Int64"
"""The windows asked for, which travel beside the query."""


class StoredWindows:
    """Queries for points of given windows. May be called from several threads; each gets a client.

    One query reads all windows that are asked for, from the first to the last of their times: ask for some thousands.
    """

    def __init__(self, settings: ClickHouseSettings) -> None:
        """Connect at the first query."""
        self._settings = settings
        self._clients = ClientOfEachThread(settings)

    def readings(self, windows: pl.DataFrame, size_ms: int) -> pl.DataFrame:
        """Return the readings in ``windows`` (device_id, sensor, start in ms) in order of offset, texts as NaN.

        Columns device_id, sensor, ts, value, append_ts, offset, fw_ver, source, start. What was replaced may be among
        them. Raises :class:`~weir.errors.TransientError` when ClickHouse is away or busy.
        """
        return self._ask(_READINGS.format(within=_WITHIN.format(time="ts")), windows, size_ms)

    def readings_of_partition(self, partition: int, begin: int, end: int) -> pl.DataFrame:
        """Return the readings of one partition from ``begin`` up to, not including, ``end`` (event time, ms).

        Columns are the dimensions, ts, value (NaN for texts), append_ts and offset, in order of offset. Reads the whole
        day's times, so it is for the few windows that were open in a crash.
        """
        parameters = {"partition": partition, "begin": begin, "end": end}
        with translating(self._settings):
            return _polars(self._clients.get().query_arrow(_OF_PARTITION, parameters=parameters, use_strings=True))

    def aggregates_1m(self, windows: pl.DataFrame, size_ms: int) -> pl.DataFrame:
        """Return the newest 1-minute rows in ``windows``, with ``ts`` (their window_start) and start."""
        return self._ask(_AGGREGATES.format(within=_WITHIN.format(time="window_start")), windows, size_ms)

    def _ask(self, query: str, windows: pl.DataFrame, size_ms: int) -> pl.DataFrame:
        starts = windows["start"].to_numpy()
        parameters = {"begin": int(starts.min()), "end": int(starts.max()) + size_ms, "size": size_ms}
        rows = io.BytesIO()
        names = windows.select("device_id", pl.col("sensor").cast(pl.String), "start")
        names.write_ipc_stream(rows, compat_level=pl.CompatLevel.oldest())
        asked = ExternalData(
            file_name="windows_asked", data=rows.getvalue(), fmt="ArrowStream", structure=_WINDOWS_ASKED
        )
        with translating(self._settings):
            table = self._clients.get().query_arrow(query, parameters=parameters, use_strings=True, external_data=asked)
        return _polars(table).with_columns(start=pl.col("ts") // size_ms * size_ms)


def _polars(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()
