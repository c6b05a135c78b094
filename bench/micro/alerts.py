"""What alerts cost, in nanoseconds a reading: ``POLARS_MAX_THREADS=1 python -m bench.micro.alerts [readings]``.

Prints one line a case: the fastest of several runs over one partition's readings in blocks of 5,000.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

import numpy as np
import polars as pl

from connectors.postgres.alert_rules import SILENCE_SCHEMA, THRESHOLD_SCHEMA, AlertRules
from connectors.postgres.metadata import SENSOR_SCHEMA, Metadata
from streams.telemetry.alerts.crossings import Readings
from streams.telemetry.alerts.partition_alerts import PartitionAlerts
from streams.telemetry.alerts.rules import Rules
from streams.telemetry.registered import Registered
from streams.telemetry.series import ActiveSeries

BLOCK: Final = 5_000
SERIES: Final = 1_000
RUNS: Final = 7
BEGIN_MS: Final = 1_700_000_000_000


def names() -> pl.DataFrame:
    """One sensor for each of a thousand devices."""
    return pl.DataFrame({"device_id": [f"dev-{number}" for number in range(SERIES)], "sensor": ["s"] * SERIES})


def active_series() -> ActiveSeries:
    """All of them registered, with their codes."""
    texts = ("org_id", "project_id", "device_type", "metric", "unit", "sensor_unit", "value_type")
    none = {name: pl.lit(None, dtype) for name, dtype in SENSOR_SCHEMA.items() if name not in names().columns}
    sensors = names().with_columns(**none).with_columns(pl.lit("x").alias(text) for text in texts)
    series = ActiveSeries(Registered(Metadata(1, sensors.select(list(SENSOR_SCHEMA))), 30))
    series.encode(names())
    return series


def rules(share: float, high: float, silent_ms: int | None = None) -> Rules:
    """Rules for a share of the series."""
    some = names().head(int(SERIES * share))
    thresholds = some.with_columns(low=pl.lit(0.0), high=pl.lit(high), hysteresis=pl.lit(0.0), for_ms=pl.lit(0))
    silences = some.select("device_id", org_id=pl.lit("x"), project_id=pl.lit("x"), silent_ms=pl.lit(silent_ms))
    none = pl.DataFrame(schema=SILENCE_SCHEMA)
    found = none if silent_ms is None else silences.cast(SILENCE_SCHEMA)
    return Rules(lambda _: AlertRules(thresholds.cast(THRESHOLD_SCHEMA), found, []))


def cost(count: int, made: Callable[[], Rules]) -> float:
    """Nanoseconds a reading, the fastest of several runs."""
    rng = np.random.default_rng(1)
    codes, values = rng.integers(0, SERIES, count).astype(np.int32), rng.normal(50.0, 10.0, count)
    times = BEGIN_MS + np.arange(count)
    series, best = active_series(), float("inf")
    for _ in range(RUNS):
        partition = PartitionAlerts(0, 0, series, made())
        began = time.perf_counter()
        for at in range(0, count, BLOCK):
            part = slice(at, at + BLOCK)
            offsets = np.arange(at, min(at + BLOCK, count))
            partition.judge(Readings(codes[part], times[part], values[part], offsets), times[part], at + len(offsets))
            partition.passed(int(times[part][-1]))
        best = min(best, time.perf_counter() - began)
    return best / count * 1e9


def main() -> None:
    """Measure each case."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    cases: dict[str, Callable[[], Rules]] = {
        "no rules": lambda: rules(0.0, 0.0),
        "rules on a tenth, all inside": lambda: rules(0.1, 1_000.0),
        "rules on all, all inside": lambda: rules(1.0, 1_000.0),
        "rules on all, and none may be silent": lambda: rules(1.0, 1_000.0, 60_000),
        "rules on all, 1 in 740 outside": lambda: rules(1.0, 80.0),
        "rules on all, half outside": lambda: rules(1.0, 50.0),
    }
    for name, made in cases.items():
        print(f"{name:40} {cost(count, made):8.1f} ns a reading")


if __name__ == "__main__":
    main()
