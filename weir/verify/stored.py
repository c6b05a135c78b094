"""What ClickHouse holds of some devices, read through the views as an analyst would."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

from sinks.clickhouse.client import connect, translating
from weir.settings import ClickHouseSettings
from weir.verify.compare import StoredReading, StoredWindow
from weir.verify.recompute import Window, WindowKey

READING: Final = (
    "device_id, toString(sensor), toUnixTimestamp64Milli(ts) AS ts_ms, if(is_number, value, NULL), str_value"
)
"""Columns of the view readings in the order of :class:`~weir.verify.compare.StoredReading`."""

WINDOW: Final = (
    "device_id, toString(sensor), toUnixTimestamp64Milli(window_start), count, sum, min, max, avg, first, last, "
    "toUnixTimestamp64Milli(last_ts), stddev, revision"
)
"""Columns of a view of aggregates, in the order of :class:`~weir.verify.compare.StoredWindow`."""

_RANGE = "device_id >= {first:String} AND device_id <= {last:String}"
_READINGS = f"SELECT {READING} FROM readings WHERE {_RANGE}"  # noqa: S608 - our own text
_WINDOWS = f"SELECT {WINDOW} FROM {{view}} WHERE {_RANGE}"  # noqa: S608 - our own text
_MESSAGES = f"""
SELECT {READING}, partition, offset, toUnixTimestamp64Milli(append_ts) FROM raw_readings
WHERE {_RANGE} ORDER BY partition, offset
"""  # noqa: S608 - our own text
_TWICE = f"""
SELECT device_id, toString(sensor), toUnixTimestamp64Milli(ts), partition, offset, count() AS rows
FROM raw_readings WHERE {_RANGE} GROUP BY device_id, sensor, ts, partition, offset HAVING rows > 1
"""  # noqa: S608 - our own text


class StoredMessage(NamedTuple):
    """One row of ``raw_readings``, with the message it came from."""

    reading: StoredReading
    partition: int
    offset: int
    append_ts: int


class InsertedTwice(NamedTuple):
    """A reading of one message that has more than one row."""

    device_id: str
    sensor: str
    ts: int
    partition: int
    offset: int
    rows: int


class StoredDevices:
    """Rows of a range of devices, without those that are not asked for; every call blocks for one query. Close it."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        """Connect; raises :class:`~weir.errors.TransientError` when ClickHouse is away."""
        self._settings = settings
        self._client = connect(settings)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def readings(self, devices: Collection[str]) -> Iterator[StoredReading]:
        """Rows of the view readings."""
        return (StoredReading(*row) for row in self._rows(_READINGS, devices))

    def windows(self, view: str, devices: Collection[str]) -> Iterator[StoredWindow]:
        """Rows of a view of aggregates."""
        rows = self._rows(_WINDOWS.replace("{view}", view), devices)
        return (StoredWindow(WindowKey(*row[:3]), Window(*row[3:])) for row in rows)

    def messages(self, devices: Collection[str]) -> Iterator[StoredMessage]:
        """Rows of the table, in the order of the log; of two with the same identity one may be gone."""
        return (StoredMessage(StoredReading(*row[:5]), *row[5:]) for row in self._rows(_MESSAGES, devices))

    def inserted_twice(self, devices: Collection[str]) -> list[InsertedTwice]:
        """Readings whose row was inserted more than once, as long as it is not merged away."""
        return [InsertedTwice(*row) for row in self._rows(_TWICE, devices)]

    def _rows(self, query: str, devices: Collection[str]) -> Iterator[Sequence[Any]]:
        parameters = {"first": min(devices), "last": max(devices)}
        with translating(self._settings):
            rows = self._client.query(query, parameters=parameters).result_rows
        return (row for row in rows if row[0] in devices)
