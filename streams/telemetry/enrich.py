"""From accepted readings to rows of ``raw_readings`` and points for the windows."""

from __future__ import annotations

import polars as pl

from sinks.clickhouse.writer import ORDER
from streams.engine.key_index import Codes
from streams.engine.outcome import Points
from streams.engine.watermark import Int64s
from streams.telemetry.series import PLACE

TIME = pl.Datetime("ms", "UTC")


def raw_rows(
    frame: pl.DataFrame, dims: pl.DataFrame, offsets: Int64s, append_ts: Int64s, partition: int
) -> pl.DataFrame:
    """Return ``raw_readings`` rows of readings whose dimensions stand beside them in ``dims``, row for row.

    :data:`~sinks.clickhouse.writer.ORDER` puts them in the order of the table when they are stored.
    """
    number = frame["value"].is_not_null()
    return pl.DataFrame(
        [
            dims["org_id"],
            dims["project_id"],
            frame["device_id"],
            dims["device_type"],
            dims["sensor"],
            dims["metric"],
            _text_or(frame["unit"], dims["unit"]),
            _text(frame["fw_ver"]),
            _text(frame["source"]),
            frame["ts"].cast(TIME),
            frame["value"].fill_null(0.0),
            number.alias("is_number"),
            _text(frame["str_value"]),
            frame["status_code"],
            frame["seq"],
            _text(frame["quality"]),
            frame["battery_level"],
            pl.Series("append_ts", append_ts).cast(TIME),
            pl.repeat(partition, len(frame), dtype=pl.UInt16, eager=True).alias("partition"),
            pl.Series("offset", offsets).cast(pl.UInt64),
            dims["retention_days"].cast(pl.UInt16),
            dims[PLACE].alias(ORDER),
        ]
    )


def points_of(frame: pl.DataFrame, codes: Codes, offsets: Int64s, append_ts: Int64s) -> Points:
    """Return the points of accepted readings.

    Text and status readings are NaN: they are not aggregated, but one may replace a number of the same identity.
    """
    points = pl.DataFrame(
        [
            pl.Series("series", codes),
            frame["ts"],
            frame["value"].fill_null(float("nan")),
            pl.Series("append_ts", append_ts),
            pl.Series("offset", offsets),
            _text(frame["fw_ver"]),
            _text(frame["source"]),
        ]
    )
    return Points(points, offsets, append_ts)


def _text(column: pl.Series) -> pl.Series:
    """Return the column with '' for null."""
    if column.null_count() == len(column):
        return pl.repeat("", len(column), eager=True).alias(column.name)
    return column.fill_null("")


def _text_or(column: pl.Series, default: pl.Series) -> pl.Series:
    """Return the column as String with ``default`` for null: always one dtype, so that blocks can be joined."""
    texts = default.cast(pl.String).alias(column.name)
    if column.null_count() == len(column):
        return texts
    return column if not column.null_count() else texts.zip_with(column.is_null(), column)
