"""What ClickHouse holds of a run, asked as an analyst would ask: through the views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sinks.clickhouse.client import connect, translating
from weir.settings import ClickHouseSettings
from weir.verify.compare import StoredReading, StoredWindow
from weir.verify.recompute import Window, WindowKey
from weir.verify.stored import READING, WINDOW, StoredMessage

_MINE = "org_id = {org:String} AND {time} >= fromUnixTimestamp64Milli({since:Int64})"

_READINGS = f"""
SELECT {READING} FROM readings WHERE {_MINE.replace("{time}", "ts")}
"""  # noqa: S608 - our own text

_MESSAGES = f"""
SELECT {READING}, partition, offset, toUnixTimestamp64Milli(append_ts) FROM raw_readings
WHERE {_MINE.replace("{time}", "ts")} ORDER BY partition, offset
"""  # noqa: S608 - our own text

_WINDOWS = f"""
SELECT {WINDOW} FROM {{table}} WHERE {_MINE.replace("{time}", "window_start")}
"""  # noqa: S608 - our own text

_INSERTED_TWICE = f"""
SELECT count() - uniqExact(partition, offset) FROM raw_readings WHERE {_MINE.replace("{time}", "ts")}
"""  # noqa: S608 - our own text

_SERIES_SINCE = f"""
SELECT DISTINCT device_id, toString(sensor) FROM readings WHERE is_number AND {_MINE.replace("{time}", "ts")}
"""  # noqa: S608 - our own text

_LATEST = """
SELECT toString(sensor) AS name, toString(unit), formatDateTime(window_start, '%H:%i', 'UTC'), count, avg, min, max,
       last, stddev
FROM aggregates_1m WHERE org_id = {org:String} AND device_id = {device:String}
  AND window_end > fromUnixTimestamp64Milli({since:Int64})
ORDER BY name, window_start DESC LIMIT 1 BY name
"""


@dataclass(frozen=True)
class LatestMinute:
    """The newest 1-minute aggregate of one sensor; ``minute`` is HH:MM in UTC."""

    sensor: str
    unit: str
    minute: str
    count: int
    avg: float
    min: float
    max: float
    last: float
    stddev: float


class StoredRun:
    """Everything stored of one organisation since an event time; close it."""

    def __init__(self, settings: ClickHouseSettings, organisation: str) -> None:
        """Connect; raises :class:`~weir.errors.TransientError` when ClickHouse is away."""
        self._settings = settings
        self._organisation = organisation
        self._client = connect(settings)

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def readings(self, since_ms: int) -> Iterator[StoredReading]:
        """Rows of the view readings."""
        return (StoredReading(*row) for row in self._ask(_READINGS, since=since_ms))

    def messages(self, since_ms: int) -> Iterator[StoredMessage]:
        """Rows of the table, in the order of the log; of two with the same identity one may be gone."""
        return (StoredMessage(StoredReading(*row[:5]), *row[5:]) for row in self._ask(_MESSAGES, since=since_ms))

    def windows(self, view: str, since_ms: int) -> Iterator[StoredWindow]:
        """Rows of a view of aggregates."""
        rows = self._ask(_WINDOWS.replace("{table}", view), since=since_ms)
        return (StoredWindow(WindowKey(*row[:3]), Window(*row[3:])) for row in rows)

    def inserted_twice(self, since_ms: int) -> int:
        """Messages whose row was inserted more than once (and not yet merged away)."""
        return int(self._ask(_INSERTED_TWICE, since=since_ms)[0][0])

    def series_since(self, since_ms: int) -> set[tuple[str, str]]:
        """(device_id, sensor) of every series with a numeric reading since then."""
        return {(device, sensor) for device, sensor in self._ask(_SERIES_SINCE, since=since_ms)}

    def devices_seen(self, sensor: str, since_ms: int) -> set[str]:
        """Devices with a reading of ``sensor`` since then."""
        query = f"SELECT DISTINCT device_id FROM readings WHERE sensor = {{sensor:String}} AND {_MINE}"  # noqa: S608
        return {row[0] for row in self._ask(query.replace("{time}", "ts"), since=since_ms, sensor=sensor)}

    def latest_minutes(self, device_id: str, since_ms: int) -> list[LatestMinute]:
        """The newest 1-minute aggregate of each sensor of a device."""
        return [LatestMinute(*row) for row in self._ask(_LATEST, since=since_ms, device=device_id)]

    def rows_since(self, since_ms: int) -> dict[str, int]:
        """Rows of each view that are of the organisation, with event times (or windows that end) after ``since_ms``."""
        rows = {}
        for view, time in (("readings", "ts"), ("aggregates_1m", "window_end"), ("aggregates_1h", "window_end")):
            query = f"SELECT count() FROM {view} WHERE {_MINE.replace('{time}', time)}"  # noqa: S608 - our own names
            rows[view] = int(self._ask(query, since=since_ms)[0][0])
        return rows

    def rows_in_all(self) -> dict[str, int]:
        """Rows of each view, of all organisations and times."""
        views = ("readings", "aggregates_1m", "aggregates_1h")
        return {view: int(self._ask(f"SELECT count() FROM {view}")[0][0]) for view in views}  # noqa: S608 - our own names

    def _ask(self, query: str, **parameters: Any) -> Sequence[Sequence[Any]]:  # noqa: ANN401 - query parameters
        with translating(self._settings):
            return self._client.query(query, parameters={"org": self._organisation, **parameters}).result_rows
