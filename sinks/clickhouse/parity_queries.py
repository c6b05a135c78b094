"""The SQL of :mod:`sinks.clickhouse.parity`: what a window should be, what is stored of it, and what differs.

Sums and spreads are taken in another order than the streams take them, so they are equal within :data:`RELATIVE`;
everything else must be equal to the last bit.
"""

from __future__ import annotations

from string import Template
from typing import Final, Literal

Level = Literal["1m", "1h"]
LEVELS: Final[tuple[Level, Level]] = ("1m", "1h")

DAY_MS: Final = 86_400_000

RELATIVE: Final = 1e-9
"""Two sums of the same numbers in another order differ by far less."""

CANCELLED: Final = 1e-12
"""Of the magnitude of the values: what is left when large numbers cancel out, as in the spread of equal values."""

EXACT: Final = ("count", "min", "max", "first", "last", "last_ts")
ROUNDED: Final = ("sum", "avg", "stddev")

IDENTITY: Final = ("project_id", "device_type", "metric", "unit", "fw_ver", "source")
"""What a window's row says of its series beside organisation, device and sensor."""

TABLES: Final[dict[Level, tuple[str, str, str]]] = {
    "1m": ("raw_readings", "ts", "agg_1m"),
    "1h": ("agg_1m", "window_start", "agg_1h"),
}
"""What each level is made of, that table's time, and where it is stored."""


def _sql(text: str, **parts: str) -> str:
    """Fill ``$name``; ``{name:Type}`` is left to the server."""
    return Template(text).substitute(parts)


def _within(time: str) -> str:
    """The rows of one organisation in a slice of time; written for the table's sorting key."""
    return _sql(
        "r.org_id = {org:String} AND r.$time >= fromUnixTimestamp64Milli({begin:Int64})"
        " AND r.$time < fromUnixTimestamp64Milli({end:Int64})",
        time=time,
    )


_MEASURES = (
    "Tuple(count Int64, sum Float64, min Float64, max Float64, avg Float64, first Float64, last Float64,"
    " last_ts Int64, stddev Float64)"
)
_IDENTITY = f"Tuple({', '.join(f'{name} String' for name in IDENTITY)})"
_IDENTITY_OF_ROW = ", ".join(f"r.{name}" for name in IDENTITY)

_FROM_READINGS = _sql(
    """
SELECT r.device_id AS device_id, toString(r.sensor) AS sensor,
       intDiv(toUnixTimestamp64Milli(r.ts), 60000) * 60000 AS start,
       CAST((count(), sum(r.value), min(r.value), max(r.value), sum(r.value) / count(), argMin(r.value, r.ts),
             argMax(r.value, r.ts), toUnixTimestamp64Milli(max(r.ts)), stddevPopStable(r.value)), '$measures') AS m,
       CAST(argMax(($identity_of_row), r.ts), '$identity') AS identity,
       toInt64(min(r.retention_days)) AS days, toInt64(0) AS revision
FROM raw_readings AS r FINAL
WHERE $within AND r.is_number
GROUP BY device_id, sensor, start
""",
    measures=_MEASURES,
    identity=_IDENTITY,
    identity_of_row=_IDENTITY_OF_ROW,
    within=_within("ts"),
)
"""1-minute windows as the newest row of each reading says; texts count nothing."""

_FROM_MINUTES = _sql(
    """
SELECT device_id, sensor, start,
       CAST((total, s, low, high, s / total, earliest, latest, latest_ts,
             sqrt(arraySum(p -> p.1 * (p.3 * p.3 + pow(p.2 - s / total, 2)), parts) / total)), '$measures') AS m,
       identity, days, toInt64(0) AS revision
FROM (
    SELECT r.device_id AS device_id, toString(r.sensor) AS sensor,
           intDiv(toUnixTimestamp64Milli(r.window_start), 3600000) * 3600000 AS start,
           toInt64(sum(r.count)) AS total, sum(r.sum) AS s, min(r.min) AS low, max(r.max) AS high,
           argMin(r.first, r.window_start) AS earliest, argMax(r.last, r.window_start) AS latest,
           toUnixTimestamp64Milli(max(r.last_ts)) AS latest_ts,
           groupArray((toFloat64(r.count), r.sum / r.count, r.stddev)) AS parts,
           CAST(argMax(($identity_of_row), r.window_start), '$identity') AS identity,
           toInt64(min(r.retention_days)) AS days
    FROM agg_1m AS r FINAL
    WHERE $within AND r.count > 0
    GROUP BY device_id, sensor, start
)
""",
    measures=_MEASURES,
    identity=_IDENTITY,
    identity_of_row=_IDENTITY_OF_ROW,
    within=_within("window_start"),
)
"""1-hour windows as the newest 1-minute rows say. Spreads as in Chan, Golub and LeVeque (1979), about the mean."""

_STORED = """
SELECT r.device_id AS device_id, toString(r.sensor) AS sensor, toUnixTimestamp64Milli(r.window_start) AS start,
       CAST((toInt64(r.count), r.sum, r.min, r.max, r.avg, r.first, r.last, toUnixTimestamp64Milli(r.last_ts),
             r.stddev), '$measures') AS m,
       CAST(($identity_of_row), '$identity') AS identity,
       toInt64(r.retention_days) AS days, r.revision AS revision
FROM $table AS r FINAL
WHERE $within
"""
"""The rows that the views show, and those of count 0, which say that a window is empty by now: their revision holds."""


def _differs(name: str) -> str:
    """The name of a measure when it differs, else an empty text."""
    if name in EXACT:
        return f"if(want.{name} != got.{name}, '{name}', '')"
    magnitude = "greatest(abs(want.min), abs(want.max))" + (" * want.count" if name == "sum" else "")
    allowed = f"greatest({RELATIVE} * greatest(abs(want.{name}), abs(got.{name})), {CANCELLED} * {magnitude})"
    return f"if(abs(want.{name} - got.{name}) <= {allowed}, '', '{name}')"


_COMPARED = """
SELECT device_id, sensor, start, anyIf(m, wanted) AS want, anyIf(m, NOT wanted) AS got,
       anyIf(identity, wanted) AS want_identity, anyIf(identity, NOT wanted) AS got_identity,
       max(revision) AS stored_revision,
       arrayFilter(name -> name != '', [$differences]) AS fields,
       multiIf(start < {now:Int64} - least(min(days), {days:Int64}) * $day, 'left_out', got.count = 0, 'missing',
               want.count = 0, 'phantom', notEmpty(fields), 'different', 'equal') AS verdict
FROM (
    SELECT *, true AS wanted FROM ($source)
    UNION ALL
    SELECT *, false AS wanted FROM ($stored)
)
GROUP BY device_id, sensor, start
HAVING want.count > 0 OR got.count > 0
"""
"""One row a window. Not a join: a grouping can go to disk."""


def _compared(level: Level) -> str:
    stored = _sql(
        _STORED,
        measures=_MEASURES,
        identity=_IDENTITY,
        identity_of_row=_IDENTITY_OF_ROW,
        table=TABLES[level][2],
        within=_within("window_start"),
    )
    return _sql(
        _COMPARED,
        differences=", ".join(map(_differs, (*EXACT, *ROUNDED))),
        day=str(DAY_MS),
        source=_FROM_READINGS if level == "1m" else _FROM_MINUTES,
        stored=stored,
    )


TALLY: Final[dict[Level, str]] = {
    level: f"SELECT verdict, toInt64(count()) FROM ({_compared(level)}) GROUP BY verdict"  # noqa: S608 - our own text
    for level in LEVELS
}
"""Windows by verdict."""

_FAULTS = """
SELECT device_id, sensor, start, verdict, fields, stored_revision AS revision,
       want_or_got.1 AS project_id, want_or_got.2 AS device_type, want_or_got.3 AS metric, want_or_got.4 AS unit,
       want_or_got.5 AS fw_ver, want_or_got.6 AS source,
       $want, $got
FROM (SELECT *, if(want.count > 0, want_identity, got_identity) AS want_or_got FROM ($compared))
WHERE verdict IN ('missing', 'different', 'phantom')
ORDER BY start, device_id, sensor
LIMIT {most:UInt64}
"""

FAULTS: Final[dict[Level, str]] = {
    level: _sql(
        _FAULTS,
        compared=_compared(level),
        want=", ".join(f"want.{name} AS want_{name}" for name in (*EXACT, *ROUNDED)),
        got=", ".join(f"got.{name} AS got_{name}" for name in (*EXACT, *ROUNDED)),
    )
    for level in LEVELS
}
"""The windows that are not equal, oldest first."""

_ROWS_BY_HOUR = """
SELECT hour, toInt64(sum(rows)) FROM (
    SELECT intDiv(toUnixTimestamp64Milli(r.$time), 3600000) * 3600000 AS hour, count() AS rows
    FROM $made_of AS r WHERE $within_source GROUP BY hour
    UNION ALL
    SELECT intDiv(toUnixTimestamp64Milli(r.window_start), 3600000) * 3600000 AS hour, count() AS rows
    FROM $stored AS r WHERE $within_stored GROUP BY hour
) GROUP BY hour ORDER BY hour
"""

ROWS_BY_HOUR: Final[dict[Level, str]] = {
    level: _sql(
        _ROWS_BY_HOUR,
        made_of=made_of,
        time=time,
        stored=stored,
        within_source=_within(time),
        within_stored=_within("window_start"),
    )
    for level, (made_of, time, stored) in TABLES.items()
}
"""Rows that a comparison of each hour reads, on both sides."""

ORGANISATIONS: Final = " UNION DISTINCT ".join(
    _sql(
        "SELECT DISTINCT toString(r.org_id) AS org FROM $table AS r"
        " WHERE r.$time >= fromUnixTimestamp64Milli({begin:Int64}) AND r.$time < fromUnixTimestamp64Milli({end:Int64})",
        table=table,
        time=time,
    )
    for table, time in (("raw_readings", "ts"), ("agg_1m", "window_start"), ("agg_1h", "window_start"))
)
"""Organisations with a row of any kind in a range."""

OLDEST_HOUR: Final = """
SELECT toUnixTimestamp64Milli(min(window_start)), count() FROM agg_1h
WHERE org_id = {org:String} AND window_start >= fromUnixTimestamp64Milli({begin:Int64})
"""

PARTITIONS: Final = """
SELECT device_id, toInt64(argMax(partition, append_ts)) AS partition FROM raw_readings
WHERE org_id = {org:String} AND device_id IN {devices:Array(String)} GROUP BY device_id
"""
"""Where the newest reading of each device came from."""
