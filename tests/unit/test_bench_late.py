"""The late benchmark: the backlog, what must come of it, and the latency it reports."""

from __future__ import annotations

import io
import math

import fastavro
import numpy as np

from bench.freshness import latency
from bench.late import Statements, extra_queries
from bench.late_backlog import DEVICE, HOUR_MS, MINUTE_MS, LateBacklog
from schemas import load_schema

END = 1_700_002_800_000
SCHEMA = fastavro.parse_schema(load_schema("Reading") | {"name": "LateReading"})


def test_a_days_backlog_is_one_reading_a_second_and_touches_1440_minutes_and_24_hours() -> None:
    backlog = LateBacklog(86_400, END)
    assert set(np.diff(backlog.late_ts)) == {1_000}
    assert (backlog.late_ts[0], backlog.late_ts[-1]) == (END - 86_400_000, END - 1_000)
    assert backlog.expected(MINUTE_MS)["count"].to_list() == [61] * 1_440
    assert backlog.expected(HOUR_MS)["count"].to_list() == [3_660] * 24


def test_each_minute_is_closed_with_one_early_reading_that_is_none_of_the_late_ones() -> None:
    backlog = LateBacklog(3_600, END)
    early = backlog.expected_early(MINUTE_MS)
    assert early["count"].to_list() == [1] * 60
    assert early["start"].equals(backlog.expected(MINUTE_MS)["start"])
    assert not set(backlog.early_ts) & set(backlog.late_ts)


def test_what_is_expected_is_the_sum_of_what_is_sent() -> None:
    backlog = LateBacklog(130, END)
    sums: dict[int, list[float]] = {}
    for chunk in (backlog.seed(3), backlog.upload(3)):
        for key, value in zip(chunk.keys, chunk.values, strict=True):
            record = fastavro.schemaless_reader(io.BytesIO(value[5:]), SCHEMA, None)
            assert isinstance(record, dict)
            assert (key, record["device_id"]) == (DEVICE.encode(), DEVICE)
            start = int(record["ts"].timestamp()) // 60 * MINUTE_MS
            sums.setdefault(start, []).append(record["value"])
    expected = [(start, len(values), math.fsum(values)) for start, values in sorted(sums.items())]
    assert backlog.expected(MINUTE_MS).rows() == expected
    assert [count for _, count, _ in expected] == [11, 61, 61]


def test_every_reading_counts_in_the_percentiles_not_every_look() -> None:
    seen = latency(np.array([0.1, 5.0]), np.array([99, 1]))
    assert (seen.readings, seen.p50, seen.p95) == (100, 0.1, 0.1)
    assert 0.1 < seen.p99 < 5.0


def test_no_readings_have_no_latency() -> None:
    seen = latency(np.array([]), np.array([], dtype=np.int64))
    assert seen.readings == 0
    assert math.isnan(seen.p95)


def test_queries_that_inserts_cause_are_not_counted_as_corrections() -> None:
    # before: 20 inserts and 10 queries of theirs; meanwhile 40 inserts, so 20 of the 27 queries are theirs
    assert extra_queries(Statements(100, 50), Statements(110, 70), Statements(137, 110)) == 7
    assert extra_queries(Statements(0, 0), Statements(0, 10), Statements(7, 30)) == 7
    assert extra_queries(Statements(0, 0), Statements(0, 0), Statements(7, 0)) == 7
