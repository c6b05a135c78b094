"""Parity without servers: what is closed, how a range is cut, and what a correction looks like."""

from __future__ import annotations

import polars as pl
import pytest

from sinks.clickhouse.parity import HOUR_MS, SLICE_ROWS, Slice, Tally, cut, whole_windows
from sinks.clickhouse.parity_queries import Level
from streams.engine.checkpoint import Checkpoint
from streams.engine.group_progress import closed_by_all
from streams.telemetry.repair import outbidding, taken_back

STEP = 4_194_304
DAY_MS = 24 * HOUR_MS


@pytest.mark.parametrize(
    ("level", "begin", "end", "whole"),
    [
        ("1m", 0, 120_000, (0, 120_000)),
        ("1m", 1, 119_999, (60_000, 60_000)),
        ("1m", 59_999, 180_001, (60_000, 180_000)),
        ("1h", 1, 3 * HOUR_MS - 1, (HOUR_MS, 2 * HOUR_MS)),
        ("1h", 1, 2, (HOUR_MS, HOUR_MS)),
    ],
)
def test_only_whole_windows_count(level: Level, begin: int, end: int, whole: tuple[int, int]) -> None:
    assert whole_windows(level, begin, end) == whole


def test_windows_are_closed_when_every_partition_has_closed_them() -> None:
    assert closed_by_all({0: Checkpoint(5, 5, 5, 9_000), 3: Checkpoint(1, 1, 1, 7_000)}) == 7_000


def test_nothing_is_closed_while_one_partition_has_closed_nothing() -> None:
    assert closed_by_all({0: Checkpoint(5, 5, 5, 9_000), 1: Checkpoint(0, 0, 4)}) is None
    assert closed_by_all({}) is None


def pieces(begin: int, end: int, *rows: tuple[int, int]) -> list[tuple[int, int]]:
    return [(each.begin, each.end) for each in cut(Slice("1m", "acme", begin, end), rows)]


def test_a_slice_is_no_longer_than_a_day() -> None:
    rows = [(hour * HOUR_MS, 10) for hour in range(30)]
    assert pieces(0, 30 * HOUR_MS, *rows) == [(0, DAY_MS), (DAY_MS, 30 * HOUR_MS)]


def test_a_slice_has_no_more_rows_than_allowed_unless_it_is_one_hour() -> None:
    rows = [(0, SLICE_ROWS), (HOUR_MS, 1), (2 * HOUR_MS, 5 * SLICE_ROWS)]
    assert pieces(0, DAY_MS, *rows) == [(0, HOUR_MS), (HOUR_MS, 2 * HOUR_MS), (2 * HOUR_MS, 3 * HOUR_MS)]


def test_the_first_and_last_hour_are_cut_where_the_range_is() -> None:
    assert pieces(90_000, HOUR_MS + 60_000, (0, 1), (HOUR_MS, 1)) == [(90_000, HOUR_MS + 60_000)]


def test_hours_without_rows_are_left_out() -> None:
    assert pieces(0, 100 * DAY_MS, (0, 1), (90 * DAY_MS, 1)) == [(0, HOUR_MS), (90 * DAY_MS, 90 * DAY_MS + HOUR_MS)]


def test_left_out_windows_are_neither_checked_nor_faults() -> None:
    tally = Tally(equal=5, missing=1, left_out=9) + Tally(different=2, phantom=3)
    assert (tally.checked, tally.faults, tally.left_out) == (11, 6, 9)


def row(revision: int, count: int = 7) -> pl.DataFrame:
    return pl.DataFrame({"device_id": "d", "sensor": "t", "window_start": 60_000, "count": count, "revision": revision})


def fault(revision: int) -> pl.DataFrame:
    return pl.DataFrame({"device_id": "d", "sensor": "t", "start": 60_000, "revision": revision})


def test_a_correction_with_a_higher_revision_keeps_it() -> None:
    assert outbidding(row(101 * STEP + 7), fault(100 * STEP + 9))["revision"].to_list() == [101 * STEP + 7]


@pytest.mark.parametrize("stored", [101 * STEP + 7, 101 * STEP + 8, 500 * STEP])
def test_a_correction_that_would_be_ignored_takes_the_next_milliseconds_revision(stored: int) -> None:
    (found,) = outbidding(row(101 * STEP + 7), fault(stored))["revision"].to_list()
    assert found > stored
    assert found == stored + STEP


def test_a_phantom_is_taken_back_by_a_row_of_count_0_that_outbids_it() -> None:
    names = ("project_id", "device_type", "metric", "unit", "fw_ver", "source")
    phantom = pl.DataFrame(
        {"device_id": "d", "sensor": "t", "start": 60_000, "revision": 100 * STEP + 9, "got_last_ts": 61_000}
        | dict.fromkeys(names, "x")
    )
    (found,) = taken_back(Slice("1m", "acme", 0, HOUR_MS), phantom).to_dicts()
    assert (found["org_id"], found["window_start"], found["window_end"]) == ("acme", 60_000, 120_000)
    assert (found["count"], found["sum"], found["last_ts"], found["revision"]) == (0, 0.0, 61_000, 101 * STEP + 9)
