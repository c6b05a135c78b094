from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.entities.units import conversion
from streams.telemetry.convert import Converter
from streams.telemetry.validate import judge
from tests.typed_sensors import NOW, SENSORS, readings, series_of

SAME_DIMENSION = (
    ("celsius", "degF", "K", "°C", "F"),
    ("kPa", "hPa", "psi", "mmHg", "bar", "Pa"),
    ("1", "%", "ppm", "ppb", "‰"),
    ("m/s", "km/h", "mph", "knot"),
    ("m³/h", "l/min", "gpm", "cfm"),
    ("degree", "rad", "turn"),
    ("kWh", "J", "BTU"),
)
UNITS = [unit for group in SAME_DIMENSION for unit in group]

values = st.none() | st.sampled_from([0.0, 1.0, 2.0, 0.5, -40.0, 1300.0]) | st.floats()
texts = (
    st.none() | st.sampled_from(["on", "FALSE", "idle", "hot", "{", '{"flour": 1}', "[1]", "x" * 65_537]) | st.text()
)
sent = st.fixed_dictionaries(
    {
        "sensor": st.sampled_from([*SENSORS, "unheard of"]),
        "value": values,
        "str_value": texts,
        "status_code": st.none() | st.just(7),
        "unit": st.none() | st.sampled_from([*UNITS, "furlong", "mm", "x" * 300]) | st.text(max_size=8),
        "quality": st.none() | st.just("good"),
    }
)


def outcome(frame: pl.DataFrame) -> tuple[pl.DataFrame, np.ndarray[Any, Any]]:
    """What is stored, and the verdicts, of one block."""
    series = series_of()
    codes = series.encode(frame)
    converter = Converter(series)
    converted = converter.convert(frame, codes)
    verdicts = judge(converted.frame, codes, np.full(len(frame), NOW), series, 0, converted.verdicts)
    kept = np.flatnonzero(verdicts == 0)
    bases = series.dims_at(codes[kept], np.full(len(kept), NOW))["unit"].cast(pl.String)
    stored = converter.mark(converted.frame[kept], codes[kept])
    return stored.with_columns(stored["unit"].fill_null(bases)), verdicts


@settings(deadline=None)  # the units are loaded once
@given(st.sampled_from(SAME_DIMENSION), st.data(), st.floats(-1e6, 1e6))
def test_there_and_back_is_the_same_value(group: tuple[str, ...], data: st.DataObject, value: float) -> None:
    there, back = data.draw(st.sampled_from(group)), data.draw(st.sampled_from(group))
    first, second = conversion(there, back), conversion(back, there)
    assert first is not None
    assert second is not None
    assert second.apply(first.apply(value)) == pytest.approx(value, rel=1e-12, abs=1e-9)


@settings(deadline=None)
@given(st.sampled_from(UNITS), st.sampled_from(UNITS))
def test_units_convert_within_their_dimension_and_nowhere_else(unit: str, base: str) -> None:
    together = any(unit in group and base in group for group in SAME_DIMENSION)
    assert (conversion(unit, base) is not None) == together


@settings(deadline=None)
@given(st.text(max_size=80) | st.text(alphabet="m/s*^-9 %°C1kg·²⁻", max_size=80), st.sampled_from(UNITS))
def test_whatever_a_device_calls_a_unit_nothing_fails(unit: str, base: str) -> None:
    found = conversion(unit, base)
    assert found is None or (all(math.isfinite(number) for number in found) and found.divisor > 0 and found.factor > 0)


@settings(deadline=None)
@given(st.lists(sent, max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_a_block_cut_elsewhere_gives_the_same_verdicts_and_rows(block: list[dict[str, Any]], cuts: list[int]) -> None:
    frame = readings(*block)
    whole, verdicts = outcome(frame)
    bounds = [0, *sorted(min(cut, len(frame)) for cut in cuts), len(frame)]
    parts = [outcome(frame[begin:end]) for begin, end in pairwise(bounds)]
    assert np.concatenate([part[1] for part in parts]).tolist() == verdicts.tolist()
    assert pl.concat([part[0] for part in parts]).equals(whole)


@settings(deadline=None)
@given(st.lists(sent, min_size=1, max_size=12))
def test_what_is_stored_is_a_number_or_a_text_of_its_metrics_type(block: list[dict[str, Any]]) -> None:
    stored, _ = outcome(readings(*block))
    for row in stored.iter_rows(named=True):
        kind, value, text = SENSORS[row["sensor"]].get("value_type", "float"), row["value"], row["str_value"]
        if value is None and text is None:
            assert row["status_code"] is not None
        elif kind == "float":
            assert value is None or math.isfinite(value)
        elif kind == "integer":
            assert value == int(value)
        elif kind == "boolean":
            assert value in (0.0, 1.0)
        else:
            assert value is None
