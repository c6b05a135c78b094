"""The whole pipeline in one worker, on a backlog, against ``consume()`` alone on the same topic."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench.backlog import fill
from bench.ceiling import Ceiling
from bench.dataset import Dataset, DatasetPlan
from bench.harness import CpuMeter, read_metrics
from bench.stored import ask
from bench.testbed import Testbed, fresh_namespace
from connectors.postgres.devices import register
from weir.errors import StackError
from weir.settings import Settings
from weir.stack.child import Child, last_lines

SPARSE_SECONDS = 7_200.0
"""Event time that ``--sparse`` spreads the readings over: 2.4 readings a window of a minute, with two million."""

START_SECONDS = 60.0
STALL_SECONDS = 60.0
CEILING_SECONDS = 300.0

Report = Callable[[str], None]
"""Says what is going on now."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What to measure."""

    readings: int
    sparse: bool = False
    seed: int = 1

    def dataset(self) -> DatasetPlan:
        """The readings, ending now."""
        plan = DatasetPlan(self.readings, end_ms=time.time_ns() // 1_000_000, seed=self.seed)
        return plan.spread_over(SPARSE_SECONDS) if self.sparse else plan


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """What one run gave; CPU in seconds a million readings, ``stored`` and ``distinct`` in rows.

    ``others_cpu_share`` is the part of the machine's CPU that neither worker, broker nor ClickHouse had.
    """

    readings: int
    readings_per_second: float
    cpu_seconds_per_million: float
    peak_rss_mb: float
    ceiling_readings_per_second: float
    ceiling_cpu_seconds_per_million: float
    ratio: float
    clickhouse_cpu_seconds_per_million: float
    broker_cpu_seconds_per_million: float
    others_cpu_share: float
    distinct: int
    stored: int

    @property
    def complete(self) -> bool:
        """Whether every identity that was sent is stored, once."""
        return self.stored == self.distinct


def measure(testbed: Testbed, shape: Shape, report: Report) -> PipelineRun:
    """One run on a fresh namespace: fill the topic, read it alone, let one worker store it; blocks for a minute or so.

    Raises :class:`~weir.errors.StackError` when the worker ends or stands still.
    """
    report("migrating")
    with fresh_namespace(testbed) as settings:
        plan = shape.dataset()
        dataset = Dataset(plan)
        register(settings.postgres.dsn.get_secret_value(), "bench", "fleet", dataset.sensors())
        fill(dataset, settings, lambda count: report(f"producing {count:,} of {plan.readings:,}"))
        report("reading the topic alone")
        ceiling = _ceiling(testbed, settings, plan.readings)
        report("starting the worker")
        cost = _run_worker(testbed, settings, plan.readings, report)
        report("counting what is stored")
        stored = _stored(settings)
    millions = plan.readings / 1e6
    return PipelineRun(
        readings=plan.readings,
        readings_per_second=plan.readings / cost.seconds,
        cpu_seconds_per_million=cost.worker / millions,
        peak_rss_mb=cost.peak_bytes / 1e6,
        ceiling_readings_per_second=ceiling.readings_per_second,
        ceiling_cpu_seconds_per_million=ceiling.cpu_seconds_per_million,
        ratio=ceiling.cpu_seconds_per_million / (cost.worker / millions),
        clickhouse_cpu_seconds_per_million=cost.clickhouse / millions,
        broker_cpu_seconds_per_million=cost.broker / millions,
        others_cpu_share=cost.others_share,
        distinct=plan.distinct,
        stored=stored,
    )


def _ceiling(testbed: Testbed, settings: Settings, readings: int) -> Ceiling:
    child = testbed.spawn("bench-ceiling", settings, "bench.ceiling", settings.topics.readings, str(readings))
    deadline = time.monotonic() + CEILING_SECONDS
    try:
        while child.exit_code() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        code = child.exit_code()
    finally:
        child.request_stop()
        child.wait_stopped()
    if code != 0:
        raise StackError(f"Reading the topic alone failed; the last lines of {child.log}:\n{child.last_lines()}")
    return Ceiling(**json.loads(_last_line(child.log)))


def _last_line(log: Path) -> str:
    return last_lines(log).splitlines()[-1]


class _Cost(NamedTuple):
    seconds: float
    worker: float
    clickhouse: float
    broker: float
    others_share: float
    peak_bytes: int


def _run_worker(testbed: Testbed, settings: Settings, readings: int, report: Report) -> _Cost:
    child = testbed.spawn("bench-worker", settings, "weir", "worker", "--log-level", "error")
    try:
        with CpuMeter({"worker": child.pid, **testbed.pids()}) as meter:
            begin, end = _watch(child, settings, readings, report)
        worker, clickhouse, broker = (meter.cpu_seconds(name, begin, end) for name in ("worker", "clickhouse", "kafka"))
        peak = meter.peak_bytes("worker")
    finally:
        child.request_stop()
        child.wait_stopped()
    return _Cost(end - begin, worker, clickhouse, broker, meter.others_share(begin, end), peak)


def _watch(child: Child, settings: Settings, readings: int, report: Report) -> tuple[float, float]:
    """When the worker took in its first block, and when ClickHouse had acknowledged the last row (``time.time()``).

    The first comes from the worker: a counter's own ``_created``. The second is seen from outside, within 20 ms.
    """
    stream = settings.groups.readings
    host, port = settings.worker.web_host, settings.worker.web_port
    stored, moved = 0.0, time.monotonic() + START_SECONDS
    while True:
        metrics = read_metrics(host, port) or {}
        now = metrics.get(("weir_rows_stored_total", stream), 0.0)
        done = now + metrics.get(("weir_dead_letters_total", stream), 0.0) >= readings
        if done:
            return metrics["weir_messages_created", stream], time.time()
        if now > stored:
            stored, moved = now, time.monotonic() + STALL_SECONDS
            report(f"the worker has stored {int(stored):,} of {readings:,}")
        if child.exit_code() is not None or time.monotonic() > moved:
            what = "ended" if child.exit_code() is not None else "stands still"
            raise StackError(f"The worker {what}; the last lines of {child.log}:\n{child.last_lines()}")
        taken = metrics.get(("weir_messages_total", stream), 0.0)
        time.sleep(0.02 if taken >= readings else 0.2)  # each look costs the worker a millisecond or two


def _stored(settings: Settings) -> int:
    ((stored,),) = ask(settings, "SELECT count() FROM readings")
    return int(stored)
