"""How much memory a point of an open window takes: ``python -m bench.open_points``, bytes a point as JSON on stdout.

A process of its own that keeps points as the stage of the readings does, block by block, and looks at its resident
memory before and after; strings of firmware and source are as short as a fleet's.
"""

from __future__ import annotations

import json
import time

import numpy as np
import psutil

from bench.dataset import Dataset, DatasetPlan
from streams.engine.windows import TumblingWindows, window_starts
from streams.telemetry.enrich import points_of

BLOCK = 20_000
FIRST = 1_000_000
MORE = 4_000_000
"""Points that are there already, so that what the process needs anyway is not counted, and points that come then."""

MINUTE_MS = 60_000


def measure() -> float:
    """Bytes that each of :data:`MORE` points adds to the resident memory."""
    windows, process = TumblingWindows(MINUTE_MS), psutil.Process()
    dataset = Dataset(DatasetPlan(FIRST + MORE, time.time_ns() // 1_000_000))
    before = 0
    for begin in range(0, FIRST + MORE, BLOCK):
        if begin == FIRST:
            before = process.memory_info().rss
        frame = dataset.frame(begin, begin + BLOCK)
        offsets = np.arange(begin, begin + BLOCK, dtype=np.int64)
        codes = dataset.series[begin : begin + BLOCK].astype(np.int32)
        ts = frame["ts"].to_numpy()
        windows.add(points_of(frame, codes, offsets, ts).frame, window_starts(ts, MINUTE_MS), offsets)
    return (process.memory_info().rss - before) / MORE


if __name__ == "__main__":
    print(json.dumps({"bytes_a_point": measure()}))
