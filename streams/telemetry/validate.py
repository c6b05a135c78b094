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
wrong_unit          has a number in a unit that cannot be converted to the base unit of its metric
wrong_type          has a value of another type than its metric's
not_in_enum         has a text that is none of those its metric lists
bad_json            has a text that is no JSON, where its metric asks for JSON
schema_mismatch     has JSON that does not fit the schema of its metric
=================== ==========================================================================================

The last five are found by :mod:`streams.telemetry.convert`, before the others; bounds are compared in the base unit,
and only where the value fits its metric. All verdicts compare with the time at which the broker took the reading, so a
replay years later gives the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

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
    "wrong_unit",
    "wrong_type",
    "not_in_enum",
    "bad_json",
    "schema_mismatch",
)
"""The verdict's number is its place here; of several that hold, the lowest is given."""

Verdicts = npt.NDArray[np.int8]

NOTHING_SAID: Final[Mapping[int, str]] = MappingProxyType({})


def judge(
    frame: pl.DataFrame,
    codes: Codes,
    append_ts: Int64s,
    series: ActiveSeries,
    future_skew_ms: int,
    misfits: Verdicts | None = None,
) -> Verdicts:
    """Return one verdict a reading: 0 to store it, else an index into :data:`REASONS`.

    ``frame`` is in base units; ``misfits`` says which of its rows do not fit their metric, None when all do.
    """
    verdicts = np.zeros(len(frame), dtype=np.int8) if misfits is None else misfits.copy()
    if not len(frame):
        return verdicts
    ts = frame["ts"].to_numpy()
    known = codes >= 0
    numeric = frame["value"].is_not_null().to_numpy()
    value = frame["value"].to_numpy()
    safe = codes if known.all() else np.where(known, codes, 0)
    if len(series.dims):
        _mark(verdicts, _outside(value, safe, series) & (verdicts == ACCEPTED), 7)
        keeps_ms = series.retention_days(safe, ts) * DAY_MS
        _mark(verdicts, known & (ts < append_ts - keeps_ms), 3)
    _mark(verdicts, _too_long(frame), 8)
    _mark(verdicts, np.abs(value) > LARGEST_VALUE, 7)
    _mark(verdicts, ~numeric & _empty(frame), 6)
    _mark(verdicts, numeric & ~np.isfinite(value), 5)
    _mark(verdicts, ts > append_ts + future_skew_ms, 4)
    if not known.all():
        _mark_unregistered(verdicts, frame, known, series)
    return verdicts


def explain(
    frame: pl.DataFrame,
    rows: npt.NDArray[np.intp],
    verdicts: Verdicts,
    append_ts: Int64s,
    converted: pl.DataFrame | None = None,
    misfits: Mapping[int, str] = NOTHING_SAID,
) -> list[str]:
    """Return a sentence for each refused row: which series, when, what was wrong.

    ``frame`` is as sent, ``converted`` the same in base units where they differ; ``misfits`` says of rows what does not
    fit their metric.
    """
    stored = (frame if converted is None else converted)["value"].gather(rows)
    sentences = []
    for row, reading, value in zip(rows.tolist(), frame[rows].iter_rows(named=True), stored, strict=True):
        where = f"{reading['device_id']}/{reading['sensor']} at {_time(reading['ts'])}"
        words = {"taken": _time(int(append_ts[row])), "measured": _measured(reading, value), "misfit": misfits.get(row)}
        sentences.append(_SENTENCES[int(verdicts[row])].format(where=where, **words, **reading))
    return sentences


def _measured(reading: Mapping[str, Any], value: float | None) -> str:
    """The value as sent, and in its base unit when that is another number."""
    sent = reading["value"]
    return f"{sent}" if value in (None, sent) else f"{sent} ({value:.6g} in the base unit)"


_SENTENCES: Final = (
    "",
    "{where}: device {device_id!r} is not registered or not active",
    "{where}: device {device_id!r} has no sensor {sensor!r}",
    "{where}: older than its retention when it came at {taken}",
    "{where}: too far ahead of the broker's clock, {taken}",
    "{where}: value {value} is not a finite number",
    "{where}: has neither value, str_value nor status_code",
    "{where}: value {measured} is outside the bounds of its sensor",
    "{where}: has a unit, quality, firmware, source or text that is too long",
    *["{where}: {misfit}"] * 5,
)


def _mark(verdicts: Verdicts, wrong: npt.NDArray[np.bool_], verdict: int) -> None:
    """Set ``verdict`` where ``wrong`` holds, unless a lower one was set."""
    if wrong.any():
        verdicts[wrong & ((verdicts == ACCEPTED) | (verdicts > verdict))] = verdict


def _outside(value: npt.NDArray[np.float64], codes: Codes, series: ActiveSeries) -> npt.NDArray[np.bool_]:
    """Which values are out of bounds and to be refused for it, not marked."""
    low, high = series.low[codes], series.high[codes]
    outside: npt.NDArray[np.bool_] = (value < low) | (value > high)  # a missing bound is NaN, which compares false
    if outside.any() and series.dims["mark_bounds"].any():
        outside &= ~series.dims["mark_bounds"].fill_null(False).to_numpy()[codes]
    return outside


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
        if column.null_count() == len(column):
            continue
        size = column.str.len_bytes()
        if (size.max() or 0) > most:  # type: ignore[operator]  # of a column of numbers
            long |= (size > most).fill_null(False).to_numpy()
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
