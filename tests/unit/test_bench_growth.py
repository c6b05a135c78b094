"""The growth benchmark: when its readings are, and what it makes of its figures."""

from __future__ import annotations

import numpy as np
import pytest

from bench.dataset import Dataset
from bench.growth import Growth, GrowthSize, plan_of
from weir.cli.bench_growth import targets

NOW = 1_700_000_000_000


def size(series: int, ratio: float = 1.0, points: int = 0, peak_mb: float = 200.0, pause_ms: float = 1.0) -> GrowthSize:
    return GrowthSize(series, 1, 1.0, 1.0, 1.0, 1.0, peak_mb, points, 0, pause_ms, pause_ms, 0.0, 1, 1, ratio)


@pytest.mark.parametrize(
    ("series", "readings", "minutes"), [(1_000, 6_000_000, 100), (200_000, 6_000_000, 2), (4_000, 700_000, 3)]
)
def test_every_series_has_one_reading_a_second_for_whole_minutes(series: int, readings: int, minutes: int) -> None:
    plan = plan_of(series, readings, NOW)
    assert (plan.series, plan.interval_ms) == (series, 1_000.0)
    assert plan.distinct == minutes * 60 * series
    assert plan.end_ms % 60_000 == 0
    assert NOW - 60_000 < plan.end_ms <= NOW


def test_every_window_holds_sixty_readings() -> None:
    dataset = Dataset(plan_of(400, 20_000, NOW))
    identities = np.unique(dataset.series * 2**42 + dataset.ts)
    assert identities.size == 2 * 60 * 400
    _, readings = np.unique(identities // 2**42 * 2**26 + identities % 2**42 // 60_000, return_counts=True)
    assert set(readings.tolist()) == {60}
    assert dataset.ts.max() <= NOW


def test_targets_are_those_of_the_most_series_and_the_median_of_the_runs() -> None:
    runs = [
        Growth([size(1_000), size(8, ratio=0.1, pause_ms=900.0), size(200_000, ratio=ratio, pause_ms=pause)], 0.0, 48.0)
        for ratio, pause in ((0.80, 400.0), (0.86, 200.0), (0.90, 100.0))
    ]
    throughput, pause = targets(runs)
    assert (throughput.measured, throughput.met) == (0.86, True)
    assert (pause.measured, pause.met) == (200.0, True)
    assert [target.met for target in targets(runs[:1])] == [False, False]
