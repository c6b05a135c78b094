"""What one process needs to know so many devices, as JSON on stdout: ``python -m bench.enrichment_probe DSN READINGS``.

A process of its own, so that its memory is that of the metadata alone.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Final, TypeVar

import numpy as np
import polars as pl
import psutil
import psycopg

from connectors.postgres.metadata import load_changes, load_metadata
from streams.telemetry.enrich import raw_rows
from streams.telemetry.registered import Registered
from streams.telemetry.series import ActiveSeries
from streams.telemetry.validate import judge

ACTIVE: Final = 1_000
"""Devices that send: the same number whatever is registered."""

FETCH: Final = 5_000
ROUNDS: Final = 5
RETENTION_DAYS: Final = 37
SKEW_MS: Final = 300_000

OTHERS: Final[dict[str, pl.DataType]] = {
    "str_value": pl.String(),
    "status_code": pl.Int64(),
    "unit": pl.String(),
    "seq": pl.Int64(),
    "quality": pl.String(),
    "battery_level": pl.Float32(),
    "fw_ver": pl.String(),
    "source": pl.String(),
}
"""Columns of a reading that the benchmark's devices leave out."""

Answer = TypeVar("Answer")


def probe(dsn: str, readings: int) -> dict[str, float]:
    """Load, look up, enrich, follow a change; times in seconds, memory in bytes."""
    process = psutil.Process()
    before = process.memory_info().rss
    load_seconds, metadata = timed(lambda: load_metadata(dsn))
    prepare_seconds, registered = timed(lambda: Registered(metadata, RETENTION_DAYS))
    series = ActiveSeries(registered)
    blocks = list(made(metadata.devices, readings))
    series.encode(blocks[0])
    memory = process.memory_info().rss - before
    per_reading = [timed(lambda: enrich_all(series, blocks))[0] / readings for _ in range(ROUNDS)]
    changes = [changed(dsn, series, str(metadata.devices[0]), number) for number in range(ROUNDS)]
    return {
        "load_seconds": load_seconds,
        "prepare_seconds": prepare_seconds,
        "memory_bytes": float(memory),
        "enrich_ns": median(per_reading) * 1e9,
        "change_seconds": median(changes),
    }


def made(devices: pl.Series, readings: int) -> list[pl.DataFrame]:
    """Blocks of readings of some of the devices, spread over all that are registered."""
    rng = np.random.default_rng(7)
    senders = devices.sort().gather(np.linspace(0, len(devices) - 1, min(ACTIVE, len(devices))).astype(np.int64))
    ts = time.time_ns() // 1_000_000
    return [
        pl.DataFrame(
            {
                "device_id": senders.gather(rng.integers(0, len(senders), FETCH)),
                "sensor": ["t"] * FETCH,
                "ts": np.full(FETCH, ts),
                "value": rng.normal(20, 2, FETCH),
                **{name: pl.Series([None] * FETCH, dtype=dtype) for name, dtype in OTHERS.items()},
            }
        )
        for _ in range(max(1, readings // FETCH))
    ]


def enrich_all(series: ActiveSeries, blocks: list[pl.DataFrame]) -> None:
    """Enrich one block after another."""
    for block in blocks:
        enrich(series, block)


def enrich(series: ActiveSeries, frame: pl.DataFrame) -> None:
    """What a worker does with a block between decoding and storing."""
    codes = series.encode(frame)
    ts = frame["ts"].to_numpy()
    verdicts = judge(frame, codes, ts, series, SKEW_MS)
    if verdicts.any():
        raise RuntimeError("a reading of the benchmark was refused")
    raw_rows(frame, series.dims_at(codes, ts), np.arange(len(frame)), ts, 0)


def changed(dsn: str, series: ActiveSeries, device: str, number: int) -> float:
    """Seconds from a committed change to its being in force."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("UPDATE entities SET name = %s WHERE kind = 'device' AND key = %s", [str(number), device])
    registered = series.registered
    seconds, newer = timed(lambda: registered.updated(load_changes(dsn, registered.metadata)))
    return seconds + timed(lambda: series.refresh(newer))[0]


def timed(work: Callable[[], Answer]) -> tuple[float, Answer]:
    """Seconds that ``work`` took, and what it gave."""
    began = time.perf_counter()
    answer = work()
    return time.perf_counter() - began, answer


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], int(sys.argv[2]))))
