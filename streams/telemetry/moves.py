"""Which project a device belonged to when a reading was measured: relationships have validity in time."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streams.engine.key_index import Codes
from streams.engine.watermark import Int64s

PLACED: Final = ("project_id", "retention_days")
"""The dimensions that depend on the time of the reading."""


class Moves:
    """Projects of the series whose devices were not always in the one they are in."""

    def __init__(self, moves: pl.DataFrame, names: pl.DataFrame) -> None:
        """Take ``moves`` (device_id, project_id, from_ms, to_ms, retention_days) and the names of the codes."""
        lasting = moves.filter(pl.col("from_ms") < pl.col("to_ms"))  # not those that ended in their first millisecond
        coded = names.with_row_index("series").join(lasting, on="device_id", how="inner").sort("from_ms")
        self._moves = coded.select("series", "from_ms", "to_ms", *PLACED)
        self._moved = np.zeros(len(names), dtype=np.bool_)
        self._moved[coded["series"].to_numpy()] = True
        self._any = bool(len(coded))

    def among(self, codes: Codes | Int64s) -> npt.NDArray[np.bool_] | None:
        """Say of each code whether its project depends on the time; None when that holds of none."""
        if not self._any:
            return None
        moved = self._moved[codes]
        return moved if moved.any() else None

    def at(self, codes: Codes | Int64s, ts: Int64s) -> pl.DataFrame:
        """Return :data:`PLACED` of series that moved, at event times (ms); '' and null where in no project."""
        asked = pl.DataFrame({"series": pl.Series(codes, dtype=pl.UInt32), "ts": pl.Series(ts, dtype=pl.Int64)})
        ordered = asked.with_row_index("row").sort("ts")
        found = ordered.join_asof(self._moves, left_on="ts", right_on="from_ms", by="series", check_sortedness=False)
        within = pl.col("ts") < pl.col("to_ms")
        return found.sort("row").select(
            pl.when(within).then("project_id").otherwise(pl.lit("")).alias("project_id"),
            pl.when(within).then("retention_days").alias("retention_days"),
        )
