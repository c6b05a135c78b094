"""Which readings may be stored, and why not. Pure functions on columns; the clock is the broker's append time.

=================== ==========================================================================================
reason              the reading …
=================== ==========================================================================================
unknown_device      is of a device that is not registered, or is no longer active
unknown_sensor      is of a sensor that its device does not have
too_old             was measured longer ago than its project or Weir keeps raw readings
too_far_in_future   was measured further ahead of the broker's clock than the allowed skew
not_finite          has a value that is NaN or infinite
no_value            has neither a value nor a text nor a status code
out_of_bounds       has a value outside the bounds of its sensor, or else of its metric, or beyond 1e150
too_long            has a unit, quality, firmware or source of over 256 bytes, or a text of over 65,536
=================== ==========================================================================================

All verdicts compare with the time at which the broker took the reading, so a replay years later gives the same ones.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from streams.engine.key_index import Codes
from streams.engine.watermark import Int64s
from streams.telemetry.series import ActiveSeries

DAY_MS: Final = 86_400_000

LARGEST_VALUE: Final = 1e150
"""Squares of larger numbers overflow, and with them a window's spread and sum."""

MOST_BYTES: Final = {"unit": 256, "quality": 256, "fw_ver": 256, "source": 256, "str_value": 65_536}
"""Bytes of each text: labels travel on with every aggregate."""

ACCEPTED: Final = 0
REASONS: Final = (
    "accepted",
    "unknown_device",
    "unknown_sensor",
    "too_old",
    "too_far_in_future",
    "not_finite",
    "no_value",
    "out_of_bounds",
    "too_long",
)
"""The verdict's number is its place here; of several that hold, the lowest is given."""

Verdicts = npt.NDArray[np.int8]


def judge(frame: pl.DataFrame, codes: Codes, append_ts: Int64s, series: ActiveSeries, future_skew_ms: int) -> Verdicts:
    """Return one verdict a reading: 0 to store it, else an index into :data:`REASONS`."""
    verdicts = np.zeros(len(frame), dtype=np.int8)
    if not len(frame):
        return verdicts
    ts = frame["ts"].to_numpy()
    known = codes >= 0
    numeric = frame["value"].is_not_null().to_numpy()
    value = frame["value"].to_numpy()
    dims = series.dims
    safe = codes if known.all() else np.where(known, codes, 0)
    _mark(verdicts, _too_long(frame), 8)
    _mark(verdicts, np.abs(value) > LARGEST_VALUE, 7, over=(8,))
    if len(dims):
        low, high = dims["min_value"].to_numpy()[safe], dims["max_value"].to_numpy()[safe]
        keeps_ms = dims["retention_days"].to_numpy().astype(np.int64)[safe] * DAY_MS
        _mark(verdicts, (value < low) | (value > high), 7, over=(8,))  # a missing bound is NaN, which compares false
        _mark(verdicts, known & (ts < append_ts - keeps_ms), 3, over=(7, 8))
    _mark(verdicts, ~numeric & _empty(frame), 6, over=(7, 8))
    _mark(verdicts, numeric & ~np.isfinite(value), 5, over=(6, 7, 8))
    _mark(verdicts, ts > append_ts + future_skew_ms, 4, over=(5, 6, 7, 8))
    if not known.all():
        _mark_unregistered(verdicts, frame, known, series)
    return verdicts


def explain(frame: pl.DataFrame, rows: npt.NDArray[np.intp], verdicts: Verdicts, append_ts: Int64s) -> list[str]:
    """Return a sentence for each refused row: which series, when, what was wrong."""
    sentences = []
    for row, reading in zip(rows.tolist(), frame[rows].iter_rows(named=True), strict=True):
        where = f"{reading['device_id']}/{reading['sensor']} at {_time(reading['ts'])}"
        sentences.append(
            _SENTENCES[int(verdicts[row])].format(where=where, taken=_time(int(append_ts[row])), **reading)
        )
    return sentences


_SENTENCES: Final = (
    "",
    "{where}: device {device_id!r} is not registered or not active",
    "{where}: device {device_id!r} has no sensor {sensor!r}",
    "{where}: older than its retention when it came at {taken}",
    "{where}: too far ahead of the broker's clock, {taken}",
    "{where}: value {value} is not a finite number",
    "{where}: has neither value, str_value nor status_code",
    "{where}: value {value} is outside the bounds of its sensor",
    "{where}: has a unit, quality, firmware, source or text that is too long",
)


def _mark(verdicts: Verdicts, wrong: npt.NDArray[np.bool_], verdict: int, over: tuple[int, ...] = ()) -> None:
    """Set ``verdict`` where ``wrong`` holds and nothing was set yet but what ``over`` names."""
    if wrong.any():
        free = verdicts == ACCEPTED
        for other in over:
            free |= verdicts == other
        verdicts[wrong & free] = verdict


def _mark_unregistered(
    verdicts: Verdicts, frame: pl.DataFrame, known: npt.NDArray[np.bool_], series: ActiveSeries
) -> None:
    missing = np.flatnonzero(~known)
    has_device = series.registered.knows_device(frame["device_id"][missing])
    verdicts[missing] = np.where(has_device, 2, 1)


def _too_long(frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
    long = np.zeros(len(frame), dtype=np.bool_)
    for name, most in MOST_BYTES.items():
        column = frame[name]
        if column.null_count() < len(column):
            long |= (column.str.len_bytes() > most).fill_null(False).to_numpy()
    return long


def _empty(frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
    empty: npt.NDArray[np.bool_] = (frame["str_value"].is_null() & frame["status_code"].is_null()).to_numpy()
    return empty


def _time(ms: int) -> str:
    """Write a time for people; years that no calendar has are given as they came."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms since 1970"
