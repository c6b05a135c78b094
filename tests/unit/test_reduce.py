import math
import statistics

import numpy as np
import polars as pl
import pytest

from streams.engine.reduce import empty_windows, merge_aggregates, reduce_points, revision, revisions_of

APPEND = 1_700_000_000_000


def points(rows: list[tuple[int, int, float, int]], first_offset: int = 0) -> pl.DataFrame:
    schema = {"series": pl.Int32, "ts": pl.Int64, "value": pl.Float64, "append_ts": pl.Int64}
    offsets = pl.Series("offset", range(first_offset, first_offset + len(rows)), pl.Int64)
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(offsets)


def test_measures_of_two_series_are_those_a_person_computes() -> None:
    reduced, _ = reduce_points(
        points(
            [(7, 1_000, 2.0, APPEND), (3, 500, -1.0, APPEND + 1), (7, 3_000, 9.0, APPEND + 2), (7, 2_000, 4.0, APPEND)]
        )
    )
    assert reduced["series"].to_list() == [3, 7]
    assert reduced["row"].to_list() == [1, 2]
    seven = reduced.row(1, named=True)
    assert (seven["count"], seven["sum"], seven["min"], seven["max"], seven["avg"]) == (3, 15.0, 2.0, 9.0, 5.0)
    assert (seven["first"], seven["last"], seven["last_ts"]) == (2.0, 9.0, 3_000)
    assert seven["stddev"] == pytest.approx(math.sqrt((9 + 16 + 1) / 3), rel=1e-12)
    assert seven["revision"] == (APPEND + 2) * 4_194_304 + 2


def test_resend_counts_once_and_its_later_value_holds() -> None:
    reduced, _ = reduce_points(points([(0, 1_000, 2.0, APPEND), (0, 1_000, 8.0, APPEND + 5), (0, 2_000, 4.0, APPEND)]))
    row = reduced.row(0, named=True)
    assert (row["count"], row["sum"], row["first"]) == (2, 12.0, 8.0)
    assert row["revision"] == (APPEND + 5) * 4_194_304 + 1


def test_spread_of_large_close_values_keeps_its_digits() -> None:
    values = [1e9 + 0.1, 1e9 + 0.2, 1e9 + 0.3]
    reduced, _ = reduce_points(points([(0, i, value, APPEND) for i, value in enumerate(values)]))
    assert reduced["stddev"][0] == pytest.approx(statistics.pstdev(values), rel=1e-6)


def test_revision_grows_with_every_reading_of_the_log_also_within_a_millisecond() -> None:
    append = np.array([APPEND, APPEND, APPEND, APPEND + 1, APPEND + 1])
    offsets = np.arange(4_194_302, 4_194_307)  # past the bits that an append time leaves
    assert np.all(np.diff(revision(append, offsets)) > 0)


def test_a_value_that_is_replaced_in_its_own_millisecond_makes_its_window_newer() -> None:
    sent = [(0, 1_000, 2.0, APPEND), (0, 1_000, 3.0, APPEND)]
    before, after = (reduce_points(points(sent[:many])).rows.row(0, named=True) for many in (1, 2))
    assert (before["count"], after["count"], before["sum"], after["sum"]) == (1, 1, 2.0, 3.0)
    assert before["revision"] < after["revision"]
    hours = [merge_aggregates(pl.DataFrame([row]).with_columns(ts=pl.lit(0))) for row in (before, after)]
    assert hours[0]["revision"][0] < hours[1]["revision"][0]


def as_minutes(parts: list[list[tuple[int, int, float, int]]]) -> pl.DataFrame:
    """1-minute rows as the hour's reducer takes them: ts is the start of the minute."""
    before = [sum(map(len, parts[:minute])) for minute in range(len(parts))]
    return pl.concat(
        [
            reduce_points(points(part, before[minute])).rows.with_columns(ts=pl.lit(minute * 60_000, pl.Int64))
            for minute, part in enumerate(parts)
        ]
    )


def test_hour_of_minutes_equals_the_hour_of_readings() -> None:
    first = [(1, 100, 3.0, APPEND), (1, 200, 5.5, APPEND), (2, 300, -4.0, APPEND)]
    second = [(1, 60_100, 1.25, APPEND + 9), (2, 60_200, 8.0, APPEND + 1), (2, 60_300, 8.5, APPEND + 1)]
    merged, direct = merge_aggregates(as_minutes([first, second])), reduce_points(points(first + second)).rows
    for measure in ("series", "count", "sum", "min", "max", "first", "last", "last_ts", "revision"):
        assert merged[measure].to_list() == direct[measure].to_list(), measure
    assert merged["avg"].to_list() == pytest.approx(direct["avg"].to_list(), rel=1e-12)
    assert merged["stddev"].to_list() == pytest.approx(direct["stddev"].to_list(), rel=1e-12)


def test_corrected_minute_replaces_its_first_revision_in_the_hour() -> None:
    minute = [(1, 100, 3.0, APPEND)]
    corrected = [(1, 100, 3.0, APPEND), (1, 200, 5.0, APPEND + 70)]
    rows = pl.concat([as_minutes([corrected]), as_minutes([minute])])  # the correction came first
    assert merge_aggregates(rows)["count"].to_list() == [2]


def test_text_that_repeats_a_number_takes_it_out_of_the_window() -> None:
    nan = float("nan")
    reduced, _ = reduce_points(
        points([(0, 1_000, 2.0, APPEND), (0, 2_000, 4.0, APPEND), (0, 1_000, nan, APPEND + 1), (1, 1_000, nan, APPEND)])
    )
    assert reduced.select("series", "count", "sum").rows() == [(0, 1, 4.0)]
    assert reduced["revision"][0] == (APPEND + 1) * 4_194_304 + 2  # more than the two numbers had


def test_window_of_texts_alone_gives_no_rows() -> None:
    reduced, _ = reduce_points(points([(0, 1_000, float("nan"), APPEND)]))
    assert reduced.height == 0
    assert reduced.schema == reduce_points(points([(0, 1_000, 1.0, APPEND)])).rows.schema


def test_conflicts_are_points_that_replace_another_value_not_mere_resends() -> None:
    nan = float("nan")
    rows = [
        (0, 1_000, 1.0, APPEND),
        (0, 1_000, 1.0, APPEND),  # a resend
        (0, 1_000, 2.0, APPEND),  # a conflict
        (0, 1_000, 1.0, APPEND),  # and another
        (1, 1_000, nan, APPEND),
        (1, 1_000, nan, APPEND),  # a text again
        (1, 1_000, 5.0, APPEND),  # a number for a text
    ]
    assert sorted(reduce_points(points(rows)).conflicts.tolist()) == [2, 3, 6]


def test_a_minute_that_was_taken_back_does_not_count_in_its_hour_but_makes_it_newer() -> None:
    minute = reduce_points(points([(0, 1_000, 2.0, APPEND)])).rows.with_columns(ts=pl.lit(0, pl.Int64))
    other = reduce_points(points([(0, 61_000, 4.0, APPEND)])).rows.with_columns(ts=pl.lit(60_000, pl.Int64))
    number = minute.select("series", "last_ts").to_numpy()
    empty = empty_windows(number[:, 0], number[:, 1], number[:, 0] + (APPEND + 9) * 4_194_304 + 1, minute.clear())
    taken_back = empty.with_columns(ts=pl.lit(0, pl.Int64))
    hour = merge_aggregates(pl.concat([minute, other, taken_back])).row(0, named=True)
    assert (hour["count"], hour["sum"], hour["revision"]) == (1, 4.0, (APPEND + 9) * 4_194_304 + 1)
    assert len(merge_aggregates(pl.concat([minute, taken_back]))) == 0


def test_windows_without_a_number_are_emptied_and_others_left_alone() -> None:
    nan = float("nan")
    late = points([(0, 1_000, nan, APPEND), (0, 2_000, nan, APPEND + 7), (1, 1_000, 3.0, APPEND)])
    series, ts = late["series"].to_numpy(), late["ts"].to_numpy()
    (row,) = empty_windows(series, ts, revisions_of(late), reduce_points(late).rows).iter_rows(named=True)
    assert (row["series"], row["row"], row["count"], row["sum"], row["last_ts"]) == (0, 1, 0, 0.0, 2_000)
    assert row["revision"] == (APPEND + 7) * 4_194_304 + 1
