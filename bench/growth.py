"""What more and more active series cost: throughput, memory, pauses of the event loop; and a worker that has nothing.

Held constant are one reading a second of every series, whole minutes of them, disorder, resends and partitions: so a
window holds sixty readings whatever the number of series. The readings asked for are rounded to whole minutes, two at
least, so that windows of all series close while readings come.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from bench.backlog import fill
from bench.ceiling import Ceiling
from bench.dataset import SENSORS, Dataset, DatasetPlan
from bench.fleet import register_fleet
from bench.harness import CpuMeter
from bench.loop_pauses import LoopPauses, read_pauses
from bench.measured_worker import MeasuredWorker, measured_worker
from bench.pipeline import Report, measure_ceiling
from bench.stored import ask
from bench.testbed import Testbed, fresh_namespace
from weir.errors import StackError
from weir.settings import Settings

MINUTE_MS: Final = 60_000
FEWEST_MINUTES: Final = 2
SETTLE_SECONDS: Final = 5.0
"""A worker that has just begun to read is not idle yet."""

STALL_SECONDS: Final = 60.0
COUNTED: Final = ("messages", "rows_stored", "dead_letters", "window_rows_published")
HOUR_SECONDS: Final = 3_600


@dataclass(frozen=True, slots=True)
class GrowthSize:
    """Figures of so many active series; CPU in seconds a million readings, ``stored`` and ``distinct`` in rows.

    Readings a second and CPU are until the last reading is stored, pauses until the 1-minute rows of all are
    ``published``, too. ``open_points`` is the most that open windows held, ``others_cpu_share`` the part of the CPU
    that neither worker, broker nor ClickHouse had.
    """

    series: int
    readings: int
    readings_per_second: float
    cpu_seconds_per_million: float
    ceiling_cpu_seconds_per_million: float
    ratio: float
    peak_rss_mb: float
    open_points: int
    published: int
    loop_pause_p99_ms: float
    loop_pause_max_ms: float
    others_cpu_share: float
    distinct: int
    stored: int
    ratio_to_first: float = 1.0

    @property
    def complete(self) -> bool:
        """Whether every identity that was sent is stored, once."""
        return self.stored == self.distinct


@dataclass(frozen=True, slots=True)
class Growth:
    """The figures of all sizes, the CPU of a worker with nothing to read (s an hour), and the memory of a point.

    The last is that of :mod:`bench.open_points`: the peak of a worker holds blocks under way as well.
    """

    sizes: list[GrowthSize]
    idle_cpu_seconds_an_hour: float
    bytes_an_open_point: float

    @property
    def throughput_ratio(self) -> float:
        """Readings a second with the most series, of those with the first."""
        return self.largest.ratio_to_first

    @property
    def loop_pause_p99_ms(self) -> float:
        """With the most series."""
        return self.largest.loop_pause_p99_ms

    @property
    def largest(self) -> GrowthSize:
        """The size with the most series."""
        return max(self.sizes, key=lambda size: size.series)


def measure(testbed: Testbed, series: Sequence[int], readings: int, idle_seconds: float, report: Report) -> Growth:
    """Measure each number of series on a fresh namespace, then a worker with nothing to read; blocks for minutes.

    Raises :class:`~weir.errors.StackError` when a worker ends or stands still.
    """
    sizes = [_measure_size(testbed, each, readings, _about(each, report)) for each in series]
    report("a worker with nothing to read")
    idle = _idle_cpu(testbed, idle_seconds)
    report("what a point of an open window takes")
    a_point = _bytes_a_point()
    first = sizes[0].readings_per_second
    return Growth([replace(size, ratio_to_first=size.readings_per_second / first) for size in sizes], idle, a_point)


def plan_of(series: int, readings: int, now_ms: int) -> DatasetPlan:
    """One reading a second and series, for the whole minutes before ``now_ms`` that hold about ``readings``."""
    a_minute = MINUTE_MS // 1_000 * series
    distinct = max(FEWEST_MINUTES, round(readings / a_minute)) * a_minute
    plan = DatasetPlan(distinct, now_ms // MINUTE_MS * MINUTE_MS, devices=series // len(SENSORS))
    return replace(plan, readings=distinct + round(distinct * plan.resent / (1 - plan.resent)))


def _about(series: int, report: Report) -> Report:
    return lambda step: report(f"{series:,} series: {step}")


def _measure_size(testbed: Testbed, series: int, readings: int, report: Report) -> GrowthSize:
    report("migrating")
    with fresh_namespace(testbed) as settings:
        plan = plan_of(series, readings, time.time_ns() // 1_000_000)
        dataset = Dataset(plan)
        register_fleet(settings, dataset.sensors())
        fill(dataset, settings, lambda count: report(f"producing {count:,} of {plan.readings:,}"))
        windows = len(np.unique(dataset.series * 2**32 + dataset.ts // MINUTE_MS))
        del dataset
        report("reading the topic alone")
        ceiling = measure_ceiling(testbed, settings, settings.topics.readings, plan.readings)
        report("starting the worker")
        return _run(testbed, settings, plan, windows, ceiling, report)


def _run(
    testbed: Testbed, settings: Settings, plan: DatasetPlan, windows: int, ceiling: Ceiling, report: Report
) -> GrowthSize:
    with (
        measured_worker(testbed, settings) as worker,
        CpuMeter({"worker": worker.child.pid, **testbed.pids()}) as meter,
    ):
        seen = _watch(worker, plan.readings, windows, report)
    used = meter.cpu_seconds("worker", seen.begin, seen.stored)
    millions = plan.readings / 1e6
    ((stored,),) = ask(settings, "SELECT count() FROM readings")
    return GrowthSize(
        series=plan.series,
        readings=plan.readings,
        readings_per_second=plan.readings / (seen.stored - seen.begin),
        cpu_seconds_per_million=used / millions,
        ceiling_cpu_seconds_per_million=ceiling.cpu_seconds_per_million,
        ratio=ceiling.cpu_seconds_per_million / (used / millions),
        peak_rss_mb=meter.peak_bytes("worker") / 1e6,
        open_points=seen.open_points,
        published=windows,
        loop_pause_p99_ms=seen.pauses.percentile(99) * 1e3,
        loop_pause_max_ms=seen.pauses.longest * 1e3,
        others_cpu_share=meter.others_share(seen.begin, seen.stored),
        distinct=plan.distinct,
        stored=int(stored),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """When the worker began and had stored everything (``time.time()``), and its metrics until all was published."""

    begin: float
    stored: float
    open_points: int
    pauses: LoopPauses


def _watch(worker: MeasuredWorker, readings: int, windows: int, report: Report) -> _Seen:
    """Wait until all is stored and published. Each look takes milliseconds of the worker's loop, so there are few."""
    stream, before, stored_at = worker.settings.groups.readings, None, 0.0
    points, done, moved = 0, 0.0, time.monotonic() + STALL_SECONDS
    while True:
        page = worker.metrics()
        taken, stored, refused, published = (page.get((f"weir_{name}_total", stream), 0.0) for name in COUNTED)
        before = before or (read_pauses(worker.settings) if taken else None)
        points = max(
            points, round(sum(value for (name, _), value in page.items() if name == "weir_open_window_points"))
        )
        if stored + refused >= readings:
            stored_at = stored_at or time.time()
        if stored_at and published >= windows:
            pauses = read_pauses(worker.settings)
            since = pauses.since(before) if before is not None else pauses
            return _Seen(page["weir_messages_created", stream], stored_at, points, since)
        if stored + published > done:
            done, moved = stored + published, time.monotonic() + STALL_SECONDS
            report(f"{int(stored):,} of {readings:,} are stored, {int(published):,} of {windows:,} 1m rows published")
        if time.monotonic() > moved:
            raise StackError(f"The worker stands still; the last lines of its log:\n{worker.child.last_lines()}")
        time.sleep(0.05 if taken >= readings and not stored_at else 0.5)


def _idle_cpu(testbed: Testbed, seconds: float) -> float:
    """CPU seconds an hour of a worker whose topics are empty."""
    with fresh_namespace(testbed) as settings, measured_worker(testbed, settings) as worker:
        worker.wait_assigned()
        time.sleep(SETTLE_SECONDS)
        with CpuMeter({"worker": worker.child.pid}) as meter:
            begin = time.time()
            time.sleep(seconds)
            end = time.time()
        return meter.cpu_seconds("worker", begin, end) / (end - begin) * HOUR_SECONDS


def _bytes_a_point() -> float:
    environment = os.environ | {"POLARS_MAX_THREADS": "1"}
    told = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "bench.open_points"], env=environment, capture_output=True, text=True, check=False
    )
    if told.returncode:
        raise StackError(f"What a point takes cannot be measured: {told.stderr.strip().splitlines()[-1:]}.")
    return float(json.loads(told.stdout)["bytes_a_point"])
