"""What one window says of each series: count, sum, min, max, avg, first, last, last_ts, stddev, revision.

Two reducers with the same output: from points, and from rows that are already aggregates of smaller windows. Both
depend only on the set of their input: it is sorted by series and time, and of several rows of one identity one holds.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

REVISION_SHIFT: Final = 22
"""A revision is the broker append time (ms) of a reading times 2**22, plus its offset: it fits an int64 until 2039."""

REDUCED: Final = pl.Schema(
    {
        name: pl.Int64 if name in ("row", "series", "count", "last_ts", "revision") else pl.Float64
        for name in (
            "row",
            "series",
            "count",
            "sum",
            "min",
            "max",
            "avg",
            "first",
            "last",
            "last_ts",
            "stddev",
            "revision",
        )
    }
)
"""Columns that both reducers give."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]


def revision(append_ts: Ints, offset: Ints) -> Ints:
    """Number readings by their place in the log: append times (ms) of a partition never fall, and offsets rise.

    A window's revision is that of its newest reading. So it is the same on every replay, and whatever changes a window
    that was published gives it a higher one, also within one millisecond.
    """
    result: Ints = (append_ts << REVISION_SHIFT) + offset
    return result


def revisions_of(points: pl.DataFrame) -> Ints:
    """The revision of each point, from its columns ``append_ts`` and ``offset``."""
    return revision(_ints(points, "append_ts"), _ints(points, "offset"))


class Reduction(NamedTuple):
    """``rows`` as in :data:`REDUCED`; ``conflicts``, places in the input of points that replaced another value."""

    rows: pl.DataFrame
    conflicts: Positions


def reduce_points(points: pl.DataFrame) -> Reduction:
    """Reduce points of one window.

    Columns in: ``series`` int, ``ts`` int64 ms, ``value`` float64, ``append_ts`` int64 ms, ``offset`` int64, in order
    of arrival. Of several points with the same series and ts the last arrival holds; if its value is NaN, it is no
    number (a text that was measured) and counts nothing. Gives one row a series that has numbers, with ``row``
    (position of the series' latest point in the input) and the measures; stddev is of the population.
    """
    series, ts, value = _ints(points, "series"), _ints(points, "ts"), _floats(points, "value")
    order = _by_identity(series, ts)
    latest = _latest(series[order], ts[order])
    conflicts = _conflicts(order, latest, value)
    order = order if latest.all() else order[latest]
    held_series, held_revision = series[order], revisions_of(points)[order]
    number = ~np.isnan(value[order])
    if not number.any():
        return Reduction(pl.DataFrame(schema=REDUCED), conflicts)
    order = order[number]
    series, ts, value = series[order], ts[order], value[order]
    starts = _group_starts(series)
    count = np.diff(np.append(starts, len(series)))
    total = np.add.reduceat(value, starts)
    mean = total / count
    squares = np.add.reduceat(np.square(value - np.repeat(mean, count)), starts)
    ends = starts + count - 1
    rows = pl.DataFrame(
        {
            "row": order[ends],
            "series": series[starts],
            "count": count.astype(np.int64),
            "sum": total,
            "min": np.minimum.reduceat(value, starts),
            "max": np.maximum.reduceat(value, starts),
            "avg": mean,
            "first": value[starts],
            "last": value[ends],
            "last_ts": ts[ends],
            "stddev": np.sqrt(squares / count),
            "revision": _newest(held_series, held_revision, series[starts]),
        }
    )
    return Reduction(rows, conflicts)


def merge_aggregates(rows: pl.DataFrame) -> pl.DataFrame:
    """Reduce aggregate rows of smaller windows that lie in one larger window.

    Columns in: ``series``, ``ts`` (start of the smaller window), the measures, ``revision``. Of several rows with the
    same series and ts the highest revision holds. Spreads are merged as in Chan,
    Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
    """
    series, ts = _ints(rows, "series"), _ints(rows, "ts")
    order = np.lexsort((_ints(rows, "revision"), ts, series))
    order = order[_latest(series[order], ts[order])]
    held_series, held_revision = series[order], _ints(rows, "revision")[order]
    order = order[_ints(rows, "count")[order] > 0]
    if not len(order):
        return pl.DataFrame(schema=REDUCED)
    rows_sorted = rows[order]
    series = _ints(rows_sorted, "series")
    starts = _group_starts(series)
    size = np.diff(np.append(starts, len(series)))
    ends = starts + size - 1
    part_count, part_sum = _ints(rows_sorted, "count"), _floats(rows_sorted, "sum")
    count, total = np.add.reduceat(part_count, starts), np.add.reduceat(part_sum, starts)
    mean = total / count
    shift = part_sum / part_count - np.repeat(mean, size)
    squares = np.add.reduceat(part_count * (np.square(_floats(rows_sorted, "stddev")) + np.square(shift)), starts)
    return pl.DataFrame(
        {
            "row": order[ends],
            "series": series[starts],
            "count": count,
            "sum": total,
            "min": np.minimum.reduceat(_floats(rows_sorted, "min"), starts),
            "max": np.maximum.reduceat(_floats(rows_sorted, "max"), starts),
            "avg": mean,
            "first": _floats(rows_sorted, "first")[starts],
            "last": _floats(rows_sorted, "last")[ends],
            "last_ts": _ints(rows_sorted, "last_ts")[ends],
            "stddev": np.sqrt(squares / count),
            "revision": _newest(held_series, held_revision, series[starts]),
        }
    )


def empty_windows(series: Ints, last_ts: Ints, revisions: Ints, reduced: pl.DataFrame) -> pl.DataFrame:
    """Rows of count 0 for series that have points and no number, so that what was published of them is taken back.

    The arguments are columns of points that are all of one window; ``reduced`` is what has numbers. Output as in
    :data:`REDUCED`.
    """
    points = pl.DataFrame({"series": series, "last_ts": last_ts, "revision": revisions}).with_row_index("row")
    empty = points.join(reduced.select("series"), on="series", how="anti").group_by("series", maintain_order=True)
    last = empty.agg(pl.col("row", "last_ts").sort_by("last_ts").last(), pl.col("revision").max())
    zero = {name: pl.lit(0) for name in REDUCED if name not in ("row", "series", "last_ts", "revision")}
    return last.with_columns(**zero).select(REDUCED.names()).cast(REDUCED)


def _by_identity(series: Ints, ts: Ints) -> Positions:
    """Order by series and ts, equal ones by arrival."""
    low = int(ts.min())
    span = int(ts.max()) - low + 1
    order: Positions = np.argsort(series * span + (ts - low), kind="stable")
    return order


def _latest(series: Ints, ts: Ints) -> npt.NDArray[np.bool_]:
    """Which rows, ordered by series and ts, are the last of their identity."""
    last = np.ones(len(series), dtype=np.bool_)
    last[:-1] = (series[1:] != series[:-1]) | (ts[1:] != ts[:-1])
    return last


def _conflicts(order: Positions, latest: npt.NDArray[np.bool_], value: Floats) -> Positions:
    """Places of points whose value differs from the point of the same identity that came before; texts are equal."""
    repeated = np.flatnonzero(~latest)
    before, after = value[order[repeated]], value[order[repeated + 1]]
    differs = (before != after) & ~(np.isnan(before) & np.isnan(after))
    conflicts: Positions = order[repeated[differs] + 1]
    return conflicts


def _newest(held_series: Ints, held_revision: Ints, of: Ints) -> Ints:
    """Largest revision of each series ``of``: a text that took a number's place is newer data, too."""
    starts = _group_starts(held_series)
    result: Ints = np.maximum.reduceat(held_revision, starts)[np.isin(held_series[starts], of)]
    return result


def _group_starts(series: Ints) -> npt.NDArray[np.intp]:
    return np.concatenate(([0], np.flatnonzero(series[1:] != series[:-1]) + 1))


def _ints(frame: pl.DataFrame, name: str) -> Ints:
    return frame[name].to_numpy().astype(np.int64, copy=False)


def _floats(frame: pl.DataFrame, name: str) -> Floats:
    return frame[name].to_numpy().astype(np.float64, copy=False)
