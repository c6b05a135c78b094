"""The comparison finds every fault that is put in, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weir.verify.compare import (
    StoredReading,
    StoredWindow,
    compare_readings,
    compare_windows,
)
from weir.verify.recompute import MINUTE_MS, Acknowledged, Window, WindowKey, expected_readings, expected_windows

SENT = [
    Acknowledged("d", "t", 60_000 + n, 20.0 + n / 10, None, partition=1, offset=n, append_ts=1_000 + n)
    for n in range(50)
] + [Acknowledged("d", "state", 60_000, None, "ok", partition=1, offset=50, append_ts=1_050)]
EXPECTED = expected_readings(SENT)
WINDOWS = expected_windows(EXPECTED, MINUTE_MS)
KEY = WindowKey("d", "t", 60_000)


@pytest.fixture
def rows() -> list[StoredReading]:
    return [StoredReading(each.device_id, each.sensor, each.ts, each.value, each.text or "") for each in SENT]


def faults(rows: list[StoredReading]) -> list[tuple[str, str]]:
    return [(each.fault, each.field) for each in compare_readings(EXPECTED, rows)]


def window_faults(*stored: Window) -> list[tuple[str, str]]:
    found = compare_windows("agg", WINDOWS, [StoredWindow(KEY, each) for each in stored])
    return [(each.fault, each.field) for each in found]


def test_the_rows_that_were_sent_have_no_difference(rows: list[StoredReading]) -> None:
    assert faults(rows) == []


def test_a_dropped_row_is_lost(rows: list[StoredReading]) -> None:
    gone = rows.pop(7)
    (difference,) = compare_readings(EXPECTED, rows)
    assert difference.fault == "lost"
    assert difference.where == f"d/t at 1970-01-01 00:01:00.{gone.ts - 60_000:03d}"


def test_a_row_that_is_there_twice_is_doubled(rows: list[StoredReading]) -> None:
    assert faults([*rows, rows[3]]) == [("doubled", "")]


def test_a_value_that_differs_in_its_last_bit_is_different(rows: list[StoredReading]) -> None:
    rows[9] = rows[9]._replace(value=20.900000000000002)
    (difference,) = compare_readings(EXPECTED, rows)
    assert (difference.fault, difference.field) == ("different", "value")
    assert (difference.expected, difference.stored) == ("20.9", "20.900000000000002")


def test_a_text_that_was_stored_as_the_number_zero_is_different(rows: list[StoredReading]) -> None:
    rows[-1] = rows[-1]._replace(value=0.0)
    assert faults(rows) == [("different", "value")]


def test_a_text_that_lost_its_words_is_different(rows: list[StoredReading]) -> None:
    rows[-1] = rows[-1]._replace(text="")
    assert faults(rows) == [("different", "text")]


def test_a_row_that_nobody_sent_is_reported(rows: list[StoredReading]) -> None:
    assert faults([*rows, StoredReading("stranger", "t", 1, 1.0, "")]) == [("never sent", "value")]


def test_windows_that_are_equal_have_no_difference() -> None:
    assert window_faults(WINDOWS[KEY]) == []


def test_a_missing_window_is_lost() -> None:
    assert window_faults() == [("lost", "")]


def test_a_window_that_is_there_twice_is_doubled() -> None:
    assert window_faults(WINDOWS[KEY], WINDOWS[KEY]) == [("doubled", "")]


def test_a_window_that_should_not_be_there_is_reported() -> None:
    stranger = StoredWindow(WindowKey("d", "t", 120_000), WINDOWS[KEY])
    found = compare_windows("agg", WINDOWS, [StoredWindow(KEY, WINDOWS[KEY]), stranger])
    assert [(each.fault, each.where) for each in found] == [("never sent", "d/t at 1970-01-01 00:02:00.000")]


@pytest.mark.parametrize("name", ["count", "min", "max", "first", "last", "last_ts", "revision"])
def test_a_measure_that_must_be_exact_may_not_differ_at_all(name: str) -> None:
    stored = WINDOWS[KEY]
    nudged = replace(
        stored, **{name: getattr(stored, name) + (1 if name in ("count", "last_ts", "revision") else 1e-12)}
    )
    assert window_faults(nudged) == [("different", name)]


@pytest.mark.parametrize("name", ["sum", "avg", "stddev"])
def test_a_rounded_measure_may_differ_by_rounding_only(name: str) -> None:
    stored = WINDOWS[KEY]
    value = getattr(stored, name)
    assert window_faults(replace(stored, **{name: value * (1 + 1e-11)})) == []
    assert window_faults(replace(stored, **{name: value * (1 + 1e-7)})) == [("different", name)]


def test_a_spread_of_equal_values_may_be_a_little_more_than_zero() -> None:
    equal = [Acknowledged("d", "t", 60_000 + n, 0.1, None, 0, n, n) for n in range(3)]
    expected = expected_windows(expected_readings(equal), MINUTE_MS)
    stored = replace(expected[KEY], stddev=1.4e-17)
    assert compare_windows("agg", expected, [StoredWindow(KEY, stored)]) == []


def test_a_revision_that_cannot_be_known_is_not_compared() -> None:
    expected = {KEY: replace(WINDOWS[KEY], revision=None)}
    assert compare_windows("agg", expected, [StoredWindow(KEY, WINDOWS[KEY])]) == []
