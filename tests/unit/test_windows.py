import numpy as np
import polars as pl

from streams.engine.windows import TumblingWindows, window_starts


def add(windows: TumblingWindows, ts: list[int], first_offset: int) -> None:
    times = np.array(ts, dtype=np.int64)
    points = pl.DataFrame({"series": np.zeros(len(ts), dtype=np.int32), "ts": times})
    offsets = np.arange(first_offset, first_offset + len(ts), dtype=np.int64)
    windows.add(points, window_starts(times, windows.size_ms), offsets)


def test_instant_on_the_boundary_opens_the_next_window() -> None:
    assert window_starts(np.array([0, 59_999, 60_000, -1], dtype=np.int64), 60_000).tolist() == [0, 0, 60_000, -60_000]


def test_watermark_closes_the_windows_that_end_by_it_oldest_first() -> None:
    windows = TumblingWindows(60_000)
    add(windows, [130_000, 61_000, 5_000, 62_000], 10)
    closed = [(start, pl.concat(chunks)["ts"].to_list()) for start, chunks, _ in windows.close(120_000)]
    assert closed == [(0, [5_000]), (60_000, [61_000, 62_000])]
    assert len(windows) == 1
    assert windows.points == 1


def test_window_stays_open_while_the_watermark_is_before_its_end() -> None:
    windows = TumblingWindows(60_000)
    add(windows, [5_000], 0)
    assert windows.close(59_999) == []


def test_replay_begins_at_the_first_offset_that_an_open_window_needs() -> None:
    windows = TumblingWindows(60_000)
    assert windows.first_offset is None
    add(windows, [5_000, 61_000], 100)
    add(windows, [6_000], 102)
    assert windows.first_offset == 100
    windows.close(60_000)
    assert windows.first_offset == 101


def test_points_centuries_apart_do_not_fill_the_memory() -> None:
    windows = TumblingWindows(60_000)
    add(windows, [-(2**60), 0, 2**60], 0)
    assert len(windows) == 3
