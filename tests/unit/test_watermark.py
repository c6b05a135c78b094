import numpy as np

from streams.engine.checkpoint import NO_WATERMARK
from streams.engine.watermark import Watermark

MINUTE = 60_000


def observe(watermark: Watermark, event: list[int], append: list[int], offsets: list[int] | None = None) -> list[bool]:
    ts = np.array(event, dtype=np.int64)
    ends = ts - ts % MINUTE + MINUTE
    places = np.arange(len(ts)) if offsets is None else np.array(offsets)
    return [bool(late) for late in watermark.observe(ts, np.array(append, dtype=np.int64), ends, places)]


def test_watermark_trails_the_largest_event_time_by_the_lateness() -> None:
    watermark = Watermark(5_000)
    assert observe(watermark, [10_000, 70_000, 65_000], [80_000, 80_000, 80_000]) == [False, False, False]
    assert watermark.value == 65_000


def test_device_with_a_fast_clock_closes_nothing_before_the_brokers_clock_gets_there() -> None:
    watermark = Watermark(0)
    observe(watermark, [3_600_000], [61_000])
    assert watermark.value == 61_000
    assert observe(watermark, [62_000], [62_000]) == [False]


def test_row_is_late_when_its_window_was_closed_by_the_rows_before_it() -> None:
    watermark = Watermark(5_000)
    # 65,000 moves the watermark to 60,000 and closes the first minute; the same row before it was not late
    assert observe(watermark, [59_000, 65_000, 59_500], [99_000] * 3) == [False, False, True]


def test_rows_of_one_message_do_not_make_each_other_late() -> None:
    watermark = Watermark(5_000)
    event = [59_000, 65_000, 59_500, 59_600, 130_000, 59_700]
    assert observe(watermark, event, [200_000] * 6, [7, 8, 8, 9, 9, 9]) == [False, False, False, True, False, True]


def test_verdict_does_not_depend_on_the_cut_into_blocks() -> None:
    event, append = [59_000, 65_000, 59_500, 130_000, 64_000, 119_000], [200_000] * 6
    whole = observe(Watermark(5_000), event, append)
    one_by_one = Watermark(5_000)
    assert [observe(one_by_one, [ts], [200_000])[0] for ts in event] == whole
    assert whole == [False, False, True, False, True, True]


def test_watermark_never_goes_back() -> None:
    watermark = Watermark(0, start=500_000)
    observe(watermark, [1_000], [2_000])
    watermark.advance(400_000)
    assert watermark.value == 500_000


def test_no_rows_leave_it_alone() -> None:
    watermark = Watermark(0)
    assert observe(watermark, [], []) == []
    assert watermark.value == NO_WATERMARK


def test_a_partition_whose_records_are_all_refused_follows_the_clock_of_the_log() -> None:
    watermark = Watermark(lateness_ms=5_000, idle_ms=2_000)
    observe(watermark, [100_000], [100_000])
    watermark.passed(101_000)
    assert watermark.value == 95_000
    watermark.passed(160_000)
    assert watermark.value == 160_000 - 5_000 - 2_000


def test_event_times_that_move_keep_the_watermark_with_them_however_old() -> None:
    watermark = Watermark(lateness_ms=5_000, idle_ms=2_000)
    for second in range(10):
        observe(watermark, [second * 1_000], [10_000_000 + second * 1_900])
        watermark.passed(10_000_000 + second * 1_900)
    assert watermark.value == 9_000 - 5_000
