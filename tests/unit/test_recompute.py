"""The recomputation: every expected number here was worked out by hand."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest

from weir.verify.recompute import (
    HOUR_MS,
    MINUTE_MS,
    Acknowledged,
    Identity,
    Window,
    WindowKey,
    expected_readings,
    expected_windows,
)

APPEND = 1_700_000_000_000


def reading(ts: int, value: float | None, offset: int, sensor: str = "t", text: str | None = None) -> Acknowledged:
    return Acknowledged("d", sensor, ts, value, text, partition=0, offset=offset, append_ts=APPEND + offset)


def test_a_resend_with_the_later_offset_replaces_the_value() -> None:
    sent = [reading(60_500, 3.0, offset=3), reading(60_500, 2.0, offset=1)]
    held = expected_readings(sent)
    assert {identity: each.value for identity, each in held.items()} == {Identity("d", "t", 60_500): 3.0}


def test_what_holds_does_not_depend_on_the_order_of_the_input() -> None:
    sent = [reading(1, 1.0, 0), reading(1, 2.0, 1), reading(1, 3.0, 2), reading(2, 4.0, 3)]
    assert expected_readings(sent) == expected_readings(reversed(sent))


def test_a_window_has_the_measures_of_its_points_in_order_of_time() -> None:
    sent = [reading(61_000, 4.0, 0), reading(60_000, 1.0, 1), reading(60_500, 2.0, 2), reading(60_500, 3.0, 5)]
    windows = expected_windows(expected_readings(sent), MINUTE_MS)
    # 1, 3, 4: mean 8/3, squares of the deviations 25/9 + 1/9 + 16/9 = 42/9, over 3 = 14/9
    assert list(windows) == [WindowKey("d", "t", 60_000)]
    (window,) = windows.values()
    assert window.stddev == pytest.approx(math.sqrt(14) / 3, rel=1e-15)
    assert replace(window, stddev=0.0) == Window(
        count=3,
        sum=8.0,
        min=1.0,
        max=4.0,
        avg=8 / 3,
        first=1.0,
        last=4.0,
        last_ts=61_000,
        stddev=0.0,
        revision=(APPEND + 5) * 4_194_304 + 5,
    )


def test_the_last_instant_of_a_minute_belongs_to_it_and_the_next_does_not() -> None:
    held = expected_readings([reading(59_999, 1.0, 0), reading(60_000, 2.0, 1)])
    assert {key.start: window.sum for key, window in expected_windows(held, MINUTE_MS).items()} == {0: 1.0, 60_000: 2.0}


def test_an_hour_is_the_aggregate_of_all_its_readings() -> None:
    sent = [reading(HOUR_MS + minute * MINUTE_MS, float(minute), minute) for minute in range(60)]
    (window,) = expected_windows(expected_readings(sent), HOUR_MS).values()
    assert (window.count, window.sum, window.min, window.max, window.avg) == (60, 1770.0, 0.0, 59.0, 29.5)
    # the variance of 0..n-1 is (n**2 - 1) / 12
    assert window.stddev == pytest.approx(math.sqrt(3599 / 12), rel=1e-14)


def test_a_text_is_a_reading_but_makes_no_window() -> None:
    held = expected_readings([reading(60_000, None, 0, text="ok")])
    assert len(held) == 1
    assert expected_windows(held, MINUTE_MS) == {}


def test_a_text_that_replaces_a_number_takes_it_out_of_its_window() -> None:
    sent = [reading(60_000, 1.0, 0), reading(60_001, 5.0, 1), reading(60_001, None, 2, text="broken")]
    (window,) = expected_windows(expected_readings(sent), MINUTE_MS).values()
    assert (window.count, window.last, window.last_ts) == (1, 1.0, 60_000)


def test_series_do_not_mix() -> None:
    sent = [reading(60_000, 1.0, 0, sensor="a"), reading(60_000, 2.0, 1, sensor="b")]
    windows = expected_windows(expected_readings(sent), MINUTE_MS)
    assert {key.sensor: window.sum for key, window in windows.items()} == {"a": 1.0, "b": 2.0}


def test_without_an_append_time_there_is_no_revision_to_compare() -> None:
    sent = [reading(60_000, 1.0, 0), reading(60_001, 1.0, 1)._replace(append_ts=None)]
    (window,) = expected_windows(expected_readings(sent), MINUTE_MS).values()
    assert window.revision is None


def test_a_sum_that_cancels_out_is_exact() -> None:
    sent = [reading(60_000, 1e16, 0), reading(60_001, 1.0, 1), reading(60_002, -1e16, 2)]
    (window,) = expected_windows(expected_readings(sent), MINUTE_MS).values()
    assert window.sum == 1.0


def test_twenty_thousand_readings_take_a_few_microseconds_each() -> None:
    sent = [reading(n * 10, float(n % 97), n) for n in range(20_000)]
    began = time.process_time()
    windows = expected_windows(expected_readings(sent), MINUTE_MS)
    assert time.process_time() - began < 1.0  # 0.1 s on the machine it was written on
    assert sum(window.count for window in windows.values()) == 20_000
