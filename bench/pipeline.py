"""The whole pipeline in one worker or several, on a backlog, against ``consume()`` alone on the same topic."""

from __future__ import annotations

import json
import math
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from bench.backlog import fill
from bench.ceiling import Ceiling
from bench.dataset import SENSORS, Dataset, DatasetPlan
from bench.fleet import register_fleet
from bench.harness import CpuMeter, read_metrics
from bench.stored import ask
from bench.testbed import Testbed, fresh_namespace
from connectors.kafka.client import kafka_client_config
from streams.engine.group_progress import GroupProgress
from weir.errors import StackError
from weir.settings import Settings
from weir.stack.child import Child, last_lines

SPARSE_READINGS = 2.4
"""Readings of a series in each minute of ``--sparse``: 0.4 aggregates to publish and store for each reading."""

START_SECONDS = 60.0
QUIET_SECONDS = 1.0
"""When so long nothing more was published, all that is closed is: an idle partition closes its last windows later."""

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
    workers: int = 1
    registered: int = 0
    """Sensors in the registry; those beyond the fleet's send nothing."""
    packed: int = 0
    """Readings a message; 0 for single ones."""

    def dataset(self) -> DatasetPlan:
        """The readings, ending now."""
        plan = DatasetPlan(self.readings, end_ms=time.time_ns() // 1_000_000, seed=self.seed, packed=self.packed)
        return plan.spread_over(self.readings / plan.series / SPARSE_READINGS * 60.0) if self.sparse else plan


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """What one run gave; CPU in seconds a million readings, of all workers; ``stored`` and ``distinct`` in rows.

    ``worker_cores`` is the CPU time that the workers got in a second: below their number, something else was the limit.
    ``others_cpu_share`` is the part of the machine's CPU that neither worker, broker nor ClickHouse had.
    """

    readings: int
    readings_per_second: float
    cpu_seconds_per_million: float
    worker_cores: float
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
    """One run on a fresh namespace: fill the topic, read it alone, let workers store it; blocks for a minute or so.

    Raises :class:`~weir.errors.StackError` when a worker ends or all stand still.
    """
    report("migrating")
    with fresh_namespace(testbed) as settings:
        plan = shape.dataset()
        dataset = Dataset(plan)
        report("registering")
        _register(settings, dataset.sensors(), shape.registered)
        fill(dataset, settings, lambda count: report(f"producing {count:,} of {plan.readings:,}"))
        report("reading the topic alone")
        messages = _messages(settings)
        ceiling = measure_ceiling(testbed, settings, settings.topics.readings, messages)
        report("starting the worker" if shape.workers == 1 else f"starting {shape.workers} workers")
        cost = _run_workers(testbed, settings, shape.workers, _Backlog(messages, dataset.rows()), report)
        report("counting what is stored")
        stored = _stored(settings)
    millions = plan.readings / 1e6
    ceiling_cpu = ceiling.cpu_seconds_per_million * messages / plan.readings
    return PipelineRun(
        readings=plan.readings,
        readings_per_second=plan.readings / cost.seconds,
        cpu_seconds_per_million=cost.worker / millions,
        worker_cores=cost.worker / cost.seconds,
        peak_rss_mb=cost.peak_bytes / 1e6,
        ceiling_readings_per_second=ceiling.readings_per_second * plan.readings / messages,
        ceiling_cpu_seconds_per_million=ceiling_cpu,
        ratio=ceiling_cpu / (cost.worker / millions),
        clickhouse_cpu_seconds_per_million=cost.clickhouse / millions,
        broker_cpu_seconds_per_million=cost.broker / millions,
        others_cpu_share=cost.others_share,
        distinct=plan.distinct,
        stored=stored,
    )


def _messages(settings: Settings) -> int:
    groups = GroupProgress(kafka_client_config(settings.kafka))
    return sum(groups.ends(settings.groups.readings, settings.topics.readings).values())


def _register(settings: Settings, fleet: pl.DataFrame, sensors: int) -> None:
    """Register the fleet, and devices that send nothing until there are so many sensors; 150 s a million."""
    register_fleet(settings, fleet)
    idle, each = np.arange(max(0, sensors - len(fleet))), len(SENSORS)
    if len(idle):
        devices = [f"idle-{number:07d}" for number in idle // each]
        register_fleet(settings, pl.DataFrame({"device_id": devices, "sensor": [f"s{n}" for n in idle % each]}))


def measure_ceiling(testbed: Testbed, settings: Settings, topic: str, messages: int) -> Ceiling:
    """Read ``topic`` alone with a tuned ``consume()``; raises :class:`~weir.errors.StackError` when that fails."""
    child = testbed.spawn("bench-ceiling", settings, "bench.ceiling", topic, str(messages))
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


class _Backlog(NamedTuple):
    messages: int
    rows: int


class _Cost(NamedTuple):
    seconds: float
    worker: float
    clickhouse: float
    broker: float
    others_share: float
    peak_bytes: int


def _run_workers(testbed: Testbed, settings: Settings, number: int, backlog: _Backlog, report: Report) -> _Cost:
    names = ["bench-worker", *(f"bench-worker-{each}" for each in range(2, number + 1))]
    with ExitStack() as cleaning:
        workers = []
        for name, own in zip(names, _settings_of_each(settings, number), strict=True):
            workers.append((testbed.spawn(name, own, "weir", "worker", "--log-level", "error"), own))
            cleaning.callback(_stop, workers[-1][0])
        pids = {name: child.pid for name, (child, _) in zip(names, workers, strict=True)}
        with CpuMeter(pids | testbed.pids()) as meter:
            begin, end = _watch(workers, settings.groups.readings, backlog, report)
        used = sum(meter.cpu_seconds(name, begin, end) for name in names)
        clickhouse, broker = (meter.cpu_seconds(name, begin, end) for name in ("clickhouse", "kafka"))
        peak = max(meter.peak_bytes(name) for name in names)
    return _Cost(end - begin, used, clickhouse, broker, meter.others_share(begin, end), peak)


def _settings_of_each(settings: Settings, workers: int) -> Iterator[Settings]:
    """The first has the testbed's port, every other a free one, and a folder of its own."""
    yield settings
    for number in range(2, workers + 1):
        with socket.socket() as probe:
            probe.bind((settings.worker.web_host, 0))
            port = probe.getsockname()[1]
        folder = settings.worker.data_dir.with_name(f"{settings.worker.data_dir.name}-{number}")
        own = settings.worker.model_copy(update={"web_port": port, "data_dir": folder})
        yield settings.model_copy(update={"worker": own})


def _stop(child: Child) -> None:
    child.request_stop()
    child.wait_stopped()


def _watch(
    workers: list[tuple[Child, Settings]], stream: str, backlog: _Backlog, report: Report
) -> tuple[float, float]:
    """When the first block was taken in, and when the last row and window were stored (``time.time()``).

    The first comes from the workers: a counter's own ``_created``. The second is seen from outside, within 50 ms: every
    reading is stored, and so is every 1-minute window that they closed.
    """
    stored, moved = 0.0, time.monotonic() + START_SECONDS
    windows, ended_at = (-1.0, -1.0), 0.0
    while True:
        pages = [read_metrics(own.worker.web_host, own.worker.web_port) or {} for _, own in workers]
        now, refused, taken = (
            sum(page.get((name, stream), 0.0) for page in pages)
            for name in ("weir_rows_stored_total", "weir_dead_letters_total", "weir_messages_total")
        )
        if now + refused >= backlog.rows:
            before, windows = windows, _windows(pages, workers[0][1])
            ended_at = time.time() if windows != before else ended_at
            if windows[1] >= windows[0] and time.time() - ended_at > QUIET_SECONDS:
                return min(page.get(("weir_messages_created", stream), math.inf) for page in pages), ended_at
        if now > stored:
            stored, moved = now, time.monotonic() + STALL_SECONDS
            report(f"{int(stored):,} of {backlog.rows:,} are stored")
        ended = [child for child, _ in workers if child.exit_code() is not None]
        if ended or time.monotonic() > moved:
            child, what = (ended[0], "ended") if ended else (workers[0][0], "stands still")
            raise StackError(f"The worker {what}; the last lines of {child.log}:\n{child.last_lines()}")
        time.sleep(0.05 if taken >= backlog.messages else 0.2)  # each look costs a worker 5 to 10 ms


def _windows(pages: list[dict[tuple[str, str], float]], settings: Settings) -> tuple[float, float]:
    """1-minute rows that are published, and those of them, or of their corrections, that are stored."""
    groups = settings.groups
    names = ("weir_window_rows_published_total", groups.readings), ("weir_rows_stored_total", groups.aggregates_1m)
    published, stored = (sum(page.get(name, 0.0) for page in pages) for name in names)
    return published, stored


def _stored(settings: Settings) -> int:
    ((stored,),) = ask(settings, "SELECT count() FROM readings")
    return int(stored)
