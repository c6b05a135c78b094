"""Readings in the terms of their metrics: numbers in the base unit, values of the metric's type.

Most readings are floats in their base unit, and nothing is done with them. What has to be done with a series is read
off its dimensions once, when they change; what a block needs is done column by column.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.entities.units import LONGEST_UNIT
from streams.engine.key_index import Codes
from streams.telemetry.misfits import Misfits, Rows
from streams.telemetry.series import ActiveSeries
from streams.telemetry.unit_conversion import Floats, scales
from streams.telemetry.validate import NOTHING_SAID, Verdicts
from streams.telemetry.value_types import (
    BOOLEAN,
    ENUM,
    FLOAT,
    INTEGER,
    JSON,
    TYPES,
    TextRules,
    check_booleans,
    check_integers,
    check_texts,
)

WRONG_UNIT: Final = "wrong_unit"

MARKED: Final = "out_of_bounds"
"""Quality of a value out of bounds whose metric marks and does not refuse."""

WHOLE_WITHIN: Final = 1e-9
"""Share by which a converted number may miss a whole one: 1.001 m is 1001 mm, whatever binary fractions make of it."""

_Flags = npt.NDArray[np.bool_]


class Converted(NamedTuple):
    """``frame`` has the same rows; ``misfits`` says which do not fit their metric, None when all do."""

    frame: pl.DataFrame
    misfits: Misfits | None

    @property
    def verdicts(self) -> Verdicts | None:
        """One verdict a row, 0 for what fits; None when all do."""
        return None if self.misfits is None else self.misfits.verdicts

    @property
    def sentences(self) -> Mapping[int, str]:
        """What to say of each row that does not fit."""
        return NOTHING_SAID if self.misfits is None else self.misfits.sentences


@dataclass(frozen=True, slots=True)
class _Needs:
    """What readings of each active series need, by code; ``dims`` and ``metrics`` are what it was read off.

    Every change of the registry makes new ``dims``.
    """

    dims: pl.DataFrame
    metrics: pl.DataFrame
    bases: pl.Series
    sensor_units: pl.Series
    has_base: _Flags
    sends_other: _Flags
    types: npt.NDArray[np.int8]
    marks: _Flags
    texts: TextRules


class Converter:
    """Converts the readings of the active series."""

    def __init__(self, series: ActiveSeries) -> None:
        """Follow ``series`` and its registry of metrics."""
        self._series = series
        self._read_off: _Needs | None = None

    async def converted(self, frame: pl.DataFrame, codes: Codes) -> Converted:
        """As :meth:`convert`; JSON texts are judged in a thread, because one of them may take half a second."""
        types = self._needs().types
        if (types == JSON).any() and (types[np.maximum(codes, 0)] == JSON).any():
            return await asyncio.to_thread(self.convert, frame, codes)
        return self.convert(frame, codes)

    def convert(self, frame: pl.DataFrame, codes: Codes) -> Converted:
        """Return the readings in base units and of their types; rows of unknown series are left as they are.

        Columns in and out: those of a Reading. ``unit`` is the base unit afterwards, or null for it, unless the metric
        and the sensor have none.
        """
        needs = self._needs()
        other_units = bool(frame["unit"].null_count() < len(frame)) or bool(needs.sends_other.any())
        typed = bool(needs.types.any())
        if not len(needs.types) or not (other_units or typed):
            return Converted(frame, None)
        if (frame["unit"] == "").any():  # an empty text names no unit
            frame = frame.with_columns(pl.when(pl.col("unit") != "").then("unit"))
        known = codes >= 0
        safe = codes if known.all() else np.where(known, codes, 0)
        misfits = Misfits(len(frame))
        if other_units:
            frame = _in_base_units(frame, known, safe, needs, misfits)
        if typed:
            frame = self._typed(frame, known, safe, needs, misfits)
        return Converted(frame, misfits if misfits.verdicts.any() else None)

    def mark(self, frame: pl.DataFrame, codes: Codes) -> pl.DataFrame:
        """Return accepted readings with quality :data:`MARKED` where a metric marks what is out of its bounds."""
        needs = self._needs()
        if not needs.marks.any() or not len(frame):
            return frame
        value = frame["value"].to_numpy()
        low, high = (needs.dims[name].to_numpy()[codes] for name in ("min_value", "max_value"))
        outside = np.flatnonzero(needs.marks[codes] & ((value < low) | (value > high)))
        if not len(outside):
            return frame
        return frame.with_columns(frame["quality"].clone().scatter(pl.Series(outside), MARKED))

    def _needs(self) -> _Needs:
        dims, metrics = self._series.dims, self._series.registered.metadata.metrics
        known = self._read_off
        if known is None or known.dims is not dims:
            known = self._read_off = _needs_of(dims, metrics, known)
        return known

    def _typed(self, frame: pl.DataFrame, known: _Flags, codes: Codes, needs: _Needs, misfits: Misfits) -> pl.DataFrame:
        has_value = (frame["value"].is_not_null() | frame["str_value"].is_not_null()).to_numpy()
        types = np.where(known & has_value, needs.types[codes], FLOAT)
        for number in np.unique(types[types != FLOAT]).tolist():
            rows = misfits.fitting(np.flatnonzero(types == number))
            if number == INTEGER:
                frame = check_integers(frame, rows, misfits)
            elif number == BOOLEAN:
                frame = check_booleans(frame, rows, misfits)
            else:
                frame = check_texts(frame, rows, misfits)
                if number in (ENUM, JSON):
                    _check_by_metric(frame, misfits.fitting(rows), codes, needs, misfits)
        return frame


def _needs_of(dims: pl.DataFrame, metrics: pl.DataFrame, before: _Needs | None) -> _Needs:
    bases, stated = (dims[name].cast(pl.String).fill_null("") for name in ("unit", "sensor_unit"))
    sensor_units = stated.zip_with(stated != "", bases)
    types = (
        dims["value_type"]
        .cast(pl.String)
        .replace_strict({name: number for number, name in enumerate(TYPES)}, default=FLOAT, return_dtype=pl.Int8)
    )
    has_base = (bases != "").to_numpy()
    return _Needs(
        dims=dims,
        metrics=metrics,
        bases=bases,
        sensor_units=sensor_units,
        has_base=has_base,
        sends_other=has_base & (bases != sensor_units).to_numpy(),
        types=types.to_numpy(),
        marks=dims["mark_bounds"].fill_null(False).to_numpy(),
        texts=before.texts if before is not None and before.metrics.equals(metrics) else TextRules(metrics),
    )


def _in_base_units(frame: pl.DataFrame, known: _Flags, codes: Codes, needs: _Needs, misfits: Misfits) -> pl.DataFrame:
    """Convert the numbers that are not in their base unit; the unit of every reading that has a base is the base."""
    at = codes.astype(np.uint32)
    sent, bases = frame["unit"], needs.bases[at]
    units = sent
    if sent.null_count() and needs.sends_other.any():
        units = sent.zip_with(sent.is_not_null(), needs.sensor_units[at])
    other = units != bases  # null where no unit is named and every sensor sends in its base unit
    if not other.any():
        return frame
    differs = other.fill_null(False).to_numpy() & needs.has_base[codes] & known
    if not differs.any():
        return frame
    value = frame["value"]
    numeric = (needs.types[codes] <= INTEGER) & value.is_not_null().to_numpy()
    rows = np.flatnonzero(differs & numeric)
    if len(rows):
        after = _converted(value.gather(rows).to_numpy(), rows, units, bases, misfits)
        whole = needs.types[codes[rows]] == INTEGER
        after[whole] = _snapped(after[whole])
        frame = frame.with_columns(value.clone().scatter(pl.Series(rows), pl.Series(after)))
    # without a number there is nothing to convert, and the label is of no matter; what is too long stays to be judged
    relabelled = pl.Series(needs.has_base[codes]) & (units.str.len_bytes() <= LONGEST_UNIT).fill_null(True)
    return frame.with_columns(bases.zip_with(relabelled, sent).alias("unit"))


def _converted(values: Floats, rows: Rows, units: pl.Series, bases: pl.Series, misfits: Misfits) -> Floats:
    units, bases = units.gather(rows), bases.gather(rows)
    scale = scales(units, bases)
    if scale.known.all():
        return scale.apply(values)
    wrong = pl.Series(~scale.known)
    pairs = zip(units.filter(wrong), bases.filter(wrong), strict=True)
    misfits.add(
        WRONG_UNIT,
        rows[~scale.known],
        (f"unit {unit[:LONGEST_UNIT]!r} cannot be converted to {base}" for unit, base in pairs),
    )
    return np.where(scale.known, scale.apply(values), values)


def _snapped(values: Floats) -> Floats:
    """Whole numbers for what is whole but for its binary fractions."""
    nearest = np.rint(values)
    with np.errstate(invalid="ignore"):  # infinity is near nothing
        near = np.abs(values - nearest) <= WHOLE_WITHIN * np.maximum(1.0, np.abs(nearest))
    return np.where(near, nearest, values)


def _check_by_metric(frame: pl.DataFrame, rows: Rows, codes: Codes, needs: _Needs, misfits: Misfits) -> None:
    metric_of = needs.dims["metric"].to_physical().to_numpy()[codes[rows]]
    for metric in np.unique(metric_of):
        some = rows[metric_of == metric]
        needs.texts.check(frame, some, str(needs.dims["metric"][int(codes[some[0]])]), misfits)
