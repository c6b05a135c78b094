"""The readings that one device uploads late, and what its windows must hold afterwards."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bench.dataset import Chunk
from schemas import load_schema
from streams.engine.encoder import Encoder

DEVICE: Final = "bench-late"
SENSOR: Final = "temperature"

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000

EARLY_MS: Final = 500
"""The early reading of each minute lies between two of the late ones, so that it is none of them sent again."""


class LateBacklog:
    """The late device's readings: early ones, one a minute, and ``late`` ones, one a second, up to ``end_ms``."""

    def __init__(self, late: int, end_ms: int) -> None:
        """``end_ms`` is the end of a minute."""
        self.late_ts = end_ms - SECOND_MS * np.arange(late, 0, -1, dtype=np.int64)
        self.early_ts = np.unique(self.late_ts // MINUTE_MS) * MINUTE_MS + EARLY_MS

    def seed(self, schema_id: int) -> Chunk:
        """Messages of the early readings."""
        return _messages(self.early_ts, schema_id)

    def upload(self, schema_id: int) -> Chunk:
        """Messages of the late readings."""
        return _messages(self.late_ts, schema_id)

    def expected(self, size_ms: int) -> pl.DataFrame:
        """Columns start (ms), count and sum of every window once all is stored."""
        return _windows(np.concatenate((self.early_ts, self.late_ts)), size_ms)

    def expected_early(self, size_ms: int) -> pl.DataFrame:
        """The same before the upload."""
        return _windows(self.early_ts, size_ms)


def values(ts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The value that was measured at each time: quarters, whose sums are exact."""
    return (ts // 500 % 389) / 4.0


def _windows(ts: NDArray[np.int64], size_ms: int) -> pl.DataFrame:
    frame = pl.DataFrame({"start": ts // size_ms * size_ms, "value": values(ts)})
    measures = (pl.len().cast(pl.Int64).alias("count"), pl.col("value").sum().alias("sum"))
    return frame.group_by("start").agg(measures).sort("start")


def _messages(ts: NDArray[np.int64], schema_id: int) -> Chunk:
    schema = load_schema("Reading")
    frame = pl.DataFrame({"device_id": DEVICE, "sensor": SENSOR, "ts": ts, "value": values(ts)})
    absent = [pl.lit(None).alias(field["name"]) for field in schema["fields"] if field["name"] not in frame.columns]
    encoded = Encoder(schema, schema_id).encode(frame.with_columns(absent))
    return Chunk([DEVICE.encode()] * len(ts), encoded)
