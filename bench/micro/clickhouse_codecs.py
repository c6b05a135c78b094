"""Which codec each column of raw_readings deserves: bytes a row and insert CPU, on realistic telemetry.

``python -m bench.micro.clickhouse_codecs`` prints one line a column and codec: CPU nanoseconds a row above the same
insert without compression, and bytes a row in a fresh insert of 100,000 rows (4,000 series, 25 readings each) and in a
merged part of 1,000,000 rows (250 readings each). Needs the ``embedded`` extra; takes about two minutes on one core.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import chdb
import numpy as np
import polars as pl
from chdb.state.sqlitelike import Connection

SERIES = 4_000
ROUNDS = 30
INTEGER_CODECS = (
    "LZ4",
    "ZSTD(1)",
    "Delta, LZ4",
    "Delta, ZSTD(1)",
    "DoubleDelta, LZ4",
    "DoubleDelta, ZSTD(1)",
    "DoubleDelta",
    "T64, LZ4",
    "T64, ZSTD(1)",
)
FLOAT_CODECS = (
    "LZ4",
    "ZSTD(1)",
    "ZSTD(3)",
    "Gorilla, LZ4",
    "Gorilla, ZSTD(1)",
    "Gorilla",
    "FPC, ZSTD(1)",
    "Delta, ZSTD(1)",
)
TEXT_CODECS = ("LZ4", "ZSTD(1)", "ZSTD(3)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One column of the raw table with the codecs it might have."""

    column: str
    type: str
    codecs: Sequence[str]


CANDIDATES = (
    Candidate("ts", "DateTime64(3, 'UTC')", INTEGER_CODECS),
    Candidate("append_ts", "DateTime64(3, 'UTC')", INTEGER_CODECS),
    Candidate("offset", "UInt64", INTEGER_CODECS),
    Candidate("seq", "Nullable(Int64)", INTEGER_CODECS),
    Candidate("steps", "Float64", FLOAT_CODECS),
    Candidate("noise", "Float64", FLOAT_CODECS),
    Candidate("battery_level", "Nullable(Float32)", FLOAT_CODECS),
    Candidate("device_id", "String", TEXT_CODECS),
    Candidate("device_id", "LowCardinality(String)", TEXT_CODECS),
    Candidate("sensor", "LowCardinality(String)", TEXT_CODECS),
    Candidate("is_number", "Bool", TEXT_CODECS),
    Candidate("str_value", "String", TEXT_CODECS),
    Candidate("status_code", "Nullable(Int64)", TEXT_CODECS),
    Candidate("retention_days", "UInt16", TEXT_CODECS),
)


def telemetry(readings: int) -> pl.DataFrame:
    """``readings`` of each of the 4,000 series, one a second, in the table's order.

    ``steps`` is a random walk as a sensor with a resolution of 0.01 sends it, ``noise`` one with all 52 bits.
    """
    random = np.random.default_rng(7)
    rows = SERIES * readings
    series = np.repeat(np.arange(SERIES), readings)
    second = np.tile(np.arange(readings), SERIES)
    ts = 1_760_000_000_000 + second * 1000 + random.integers(0, 40, rows)
    walk = 20 + np.cumsum(random.normal(0, 0.05, (SERIES, readings)), axis=1).ravel()
    return pl.DataFrame(
        {
            "ts": pl.Series(ts).cast(pl.Datetime("ms", "UTC")),
            "append_ts": pl.Series(ts + random.integers(5, 120, rows)).cast(pl.Datetime("ms", "UTC")),
            "offset": (second * SERIES + series + random.integers(0, 50, rows)).astype(np.uint64),
            "seq": second + 17 * (series % 400),
            "steps": np.round(walk, 2),
            "noise": walk,
            "battery_level": np.round(100 - second / 900 - series % 30, 1).astype(np.float32),
            "device_id": [f"dev-{number // 4:06d}" for number in series],
            "sensor": [("humidity", "pressure", "temperature", "voltage")[number % 4] for number in series],
            "is_number": np.ones(rows, dtype=bool),
            "str_value": [""] * rows,
            "status_code": pl.Series([None] * rows, dtype=pl.Int64),
            "retention_days": np.full(rows, 37, dtype=np.uint16),
        }
    )


def main() -> None:
    """Measure every candidate and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        engine = chdb.connect(f"{folder}/engine")
        for name, readings in (("fresh", 25), ("merged", 250)):
            path = f"{folder}/{name}.parquet"
            telemetry(readings).write_parquet(path)
            engine.query(f"CREATE TABLE {name} ENGINE = Memory AS SELECT * FROM file('{path}', Parquet)")  # noqa: S608
        print(f"{'column':<16}{'type':<24}{'codec':<22}{'ns/row':>8}{'fresh B/row':>13}{'merged B/row':>14}")
        for candidate in CANDIDATES:
            plain = _measure(engine, candidate, "NONE", "fresh")[0]
            for codec in candidate.codecs:
                cost, fresh = _measure(engine, candidate, codec, "fresh")
                merged = _measure(engine, candidate, codec, "merged", rounds=1)[1]
                print(
                    f"{candidate.column:<16}{candidate.type:<24}{codec:<22}"
                    f"{cost - plain:8.1f}{fresh:13.2f}{merged:14.2f}"
                )
                sys.stdout.flush()
        engine.close()


def _measure(
    engine: Connection, candidate: Candidate, codec: str, source: str, rounds: int = ROUNDS
) -> tuple[float, float]:
    """CPU nanoseconds a row (median insert) and bytes a row of ``rounds`` inserts."""
    column = candidate.column
    engine.query("DROP TABLE IF EXISTS target SYNC")
    engine.query(
        f"CREATE TABLE target (`{column}` {candidate.type} CODEC({codec})) ENGINE = MergeTree ORDER BY tuple() "
        "SETTINGS min_bytes_for_wide_part = 0"
    )
    engine.query("SYSTEM STOP MERGES target")
    insert = f"INSERT INTO target SELECT `{column}` FROM {source} SETTINGS max_threads = 1, max_insert_threads = 1"  # noqa: S608
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        engine.query(insert)
        spent.append(time.process_time() - began)
    found = engine.query(
        "SELECT sum(rows), sum(column_data_compressed_bytes) FROM system.parts_columns "
        "WHERE table = 'target' AND active",
        "CSV",
    )
    rows, size = (int(number) for number in found.bytes().decode().split(","))
    return statistics.median(spent) * rounds / rows * 1e9, size / rows


if __name__ == "__main__":
    main()
