"""How soon a reading that the broker has is seen by a query, sampled while a benchmark runs."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sinks.clickhouse.client import connect, translating
from weir.settings import Settings

SAMPLE_SECONDS: Final = 0.1
"""Between two looks; a reading's latency is too long by half of it in the mean."""

SPAN_SECONDS: Final = 300
"""Older readings by event time are not looked for: a look must stay cheap."""

_NEW: Final = """
    SELECT partition, toUnixTimestamp64Milli(append_ts) AS ms, count() AS rows, max(offset) AS last
    FROM raw_readings
    WHERE ts >= now64(3) - INTERVAL {span:UInt32} SECOND AND device_id != {but:String}
      AND offset >= arrayElement({seen:Array(UInt64)}, partition + 1)
    GROUP BY partition, ms
"""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from the broker's append time to the answer of the first query that has the reading."""

    readings: int
    p50: float
    p95: float
    p99: float


@dataclass
class _Samples:
    seen_at: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


class FreshnessMeter:
    """Looks ten times a second at what is new in ``raw_readings``, but not at device ``but``; a context manager."""

    def __init__(self, settings: Settings, but: str) -> None:
        """Connect when entered; readings with event times of the last minutes are looked at."""
        self._settings = settings
        self._but = but
        self._samples = _Samples()
        self._seen = [0] * settings.kafka.partitions
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="freshness-meter", daemon=True)
        self._failure: Exception | None = None
        self.looks = 0

    def __enter__(self) -> FreshnessMeter:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop looking; raises what a look failed with."""
        self._stopping.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def between(self, begin: float, end: float) -> Latency:
        """Latency of the readings first seen between two times of ``time.time()``."""
        at = np.array(self._samples.seen_at)
        chosen = (at >= begin) & (at < end)
        rows = np.array(self._samples.rows, dtype=np.int64)[chosen]
        return latency(np.array(self._samples.seconds)[chosen], rows)

    def _run(self) -> None:
        try:
            client = connect(self._settings.clickhouse)
            with translating(self._settings.clickhouse):
                while not self._stopping.wait(SAMPLE_SECONDS):
                    parameters = {"span": SPAN_SECONDS, "but": self._but, "seen": self._seen}
                    new = client.query(_NEW, parameters=parameters).result_rows
                    self._take([(int(row[0]), int(row[1]), int(row[2]), int(row[3])) for row in new])
            client.close()
        except Exception as error:
            self._failure = error

    def _take(self, new: list[tuple[int, int, int, int]]) -> None:
        now = time.time()
        self.looks += 1
        for partition, append_ms, rows, last in new:
            self._seen[partition] = max(self._seen[partition], last + 1)
            self._samples.seen_at.append(now)
            self._samples.seconds.append(now - append_ms / 1_000)
            self._samples.rows.append(rows)


def latency(seconds: NDArray[np.float64], rows: NDArray[np.int64]) -> Latency:
    """Percentiles over readings, of ``rows`` readings each ``seconds``; NaN when there are none."""
    if not rows.sum():
        return Latency(0, float("nan"), float("nan"), float("nan"))
    p50, p95, p99 = np.percentile(np.repeat(seconds, rows), [50, 95, 99])
    return Latency(int(rows.sum()), float(p50), float(p95), float(p99))
