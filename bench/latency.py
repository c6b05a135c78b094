"""From posting a reading at the gateway to its being queryable in ClickHouse, under a constant load.

The prober that measures it is the one that runs in production (:mod:`weir.probe`), ten times as often.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from typing import Final

from bench.backlog import fill
from bench.dataset import Dataset, DatasetPlan
from bench.harness import CpuMeter
from bench.latency_load import Sent, Through, fleet, running_load
from bench.latency_sample import LatencySample, sample
from bench.latency_testbed import (
    Report,
    await_first_probe,
    registered,
    running_gateway,
    running_prober,
)
from bench.measured_worker import MeasuredWorker, measured_worker
from bench.stored import ask
from bench.testbed import Testbed, fresh_namespace
from weir.errors import StackError
from weir.probe.outcome import Outcome
from weir.settings import Settings

SATURATION_SHARE: Final = 0.8
SATURATING_DEVICES: Final = 1_000
"""The fleet of ``weir bench pipeline``."""

STALL_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class LatencyShape:
    """What to measure: ``rate`` readings a second for ``seconds``.

    With a ``backlog`` the rate is :data:`SATURATION_SHARE` of that at which one worker stores so many readings that
    wait for it, which is determined first; the same fleet sends both.
    """

    rate: int
    seconds: float
    through: Through = "gateway"
    backlog: int = 0

    @property
    def devices(self) -> int:
        """How many send; 0: as many as that takes at one reading a second and sensor."""
        return SATURATING_DEVICES if self.backlog else 0


@dataclass(frozen=True, slots=True)
class LatencyRun(LatencySample):
    """What one run gave beside the sample; cores are CPU seconds a second.

    ``readings_per_second`` were acknowledged; ``maximum_readings_per_second`` is 0 where it was not determined.
    ``failures`` counts requests of the load that were not answered well, by the first line of the answer; what became
    of those without an answer nobody knows, so more may be stored than was acknowledged. Rows of the prober are not
    counted.
    """

    maximum_readings_per_second: float
    asked_readings_per_second: float
    readings_per_second: float
    worker_cores: float
    gateway_cores: float
    clickhouse_cores: float
    broker_cores: float
    load_cores: float
    prober_cores: float
    others_cpu_share: float
    failures: dict[str, int]
    distinct: int
    stored: int

    @property
    def delivered_share(self) -> float:
        """The part of the load that was asked for which was acknowledged."""
        return self.readings_per_second / self.asked_readings_per_second

    @property
    def refused(self) -> int:
        """Requests of the load that were not answered well."""
        return sum(self.failures.values())

    @property
    def complete(self) -> bool:
        """Whether every reading that was acknowledged is stored once, and every probe was seen."""
        return self.stored == self.distinct and not self.unseen and not self.refused


def measure(testbed: Testbed, shape: LatencyShape, report: Report) -> LatencyRun:
    """One run on a fresh namespace; blocks for ``seconds`` and half a minute, with a backlog longer.

    Raises :class:`~weir.errors.StackError` when worker, gateway or load end, or the worker stands still.
    """
    report("migrating")
    with fresh_namespace(testbed) as bare:
        backlog = DatasetPlan(shape.backlog, end_ms=time.time_ns() // 1_000_000, devices=SATURATING_DEVICES)
        dataset = Dataset(backlog) if shape.backlog else None
        settings = registered(bare, dataset.sensors() if dataset else fleet(shape.rate))
        if dataset:
            fill(dataset, settings, lambda count: report(f"producing {count:,} of {shape.backlog:,}"))
            del dataset
        report("starting the worker")
        with measured_worker(testbed, settings) as worker:
            rate, maximum = shape.rate, 0.0
            if shape.backlog:
                maximum = _drained(worker, settings, shape.backlog, report)
                rate = round(SATURATION_SHARE * maximum)
            report("starting the gateway")
            with running_gateway(testbed, settings) as gateway:
                await_first_probe(settings)
                pids = {"worker": worker.child.pid, "gateway": gateway.pid, **testbed.pids()}
                loaded = _under_load(testbed, settings, shape, rate, pids, report)
            distinct = loaded.sent.distinct + (backlog.distinct if shape.backlog else 0)
            report("counting what is stored")
            return _run(loaded, maximum, rate, distinct, _stored(worker, settings, distinct))


@dataclass(frozen=True, slots=True)
class _Loaded:
    sent: Sent
    sample: LatencySample
    cores: dict[str, float]
    others_cpu_share: float


def _under_load(
    testbed: Testbed, settings: Settings, shape: LatencyShape, rate: int, pids: dict[str, int], report: Report
) -> _Loaded:
    """Send the load, with the prober beside it, until it is over and every probe is settled."""
    outcomes: list[Outcome] = []
    key = settings.probe.key.get_secret_value() if settings.probe.key is not None else ""
    with (
        running_load(testbed, settings, shape.through, rate, shape.seconds, key, shape.devices) as load,
        CpuMeter({**pids, "load": load.pid, "prober": os.getpid()}) as cpu,
        running_prober(settings, report, outcomes.append) as prober,
    ):

        def check() -> None:
            prober.check()
            report(f"{rate:,} readings/s through {shape.through}: {len(outcomes):,} probes")

        sent = load.finish(check)
        report("waiting for the last probes")
        prober.finish()
    measured = [each for each in outcomes if sent.began <= each.due < sent.ended]
    if not measured:
        raise StackError("No probe was due while the load ran; measure for more seconds.")
    return _Loaded(
        sent,
        sample(measured, settings.probe.timeout_seconds * 1_000),
        {
            name: cpu.cpu_seconds(name, sent.began, sent.ended) / (sent.ended - sent.began)
            for name in (*pids, "load", "prober")
        },
        cpu.others_share(sent.began, sent.ended),
    )


def _run(loaded: _Loaded, maximum: float, rate: int, distinct: int, stored: int) -> LatencyRun:
    return LatencyRun(
        **asdict(loaded.sample),
        maximum_readings_per_second=maximum,
        asked_readings_per_second=rate,
        readings_per_second=loaded.sent.readings_per_second,
        worker_cores=loaded.cores["worker"],
        gateway_cores=loaded.cores["gateway"],
        clickhouse_cores=loaded.cores["clickhouse"],
        broker_cores=loaded.cores["kafka"],
        load_cores=loaded.cores["load"],
        prober_cores=loaded.cores["prober"],
        others_cpu_share=loaded.others_cpu_share,
        failures=loaded.sent.failures,
        distinct=distinct,
        stored=stored,
    )


def _drained(worker: MeasuredWorker, settings: Settings, readings: int, report: Report) -> float:
    """Readings a second from the worker's first block until all are stored; as ``weir bench pipeline`` measures it."""
    stream = settings.groups.readings
    stored, moved = 0.0, time.monotonic() + STALL_SECONDS
    while True:
        metrics = worker.metrics()
        now = metrics.get(("weir_rows_stored_total", stream), 0.0)
        if now >= readings:
            return readings / (time.time() - metrics["weir_messages_created", stream])
        if now > stored:
            stored, moved = now, time.monotonic() + STALL_SECONDS
            report(f"the worker has stored {int(stored):,} of {readings:,}")
        if time.monotonic() > moved:
            raise StackError(f"The worker stands still; the last lines of its log:\n{worker.child.last_lines()}")
        time.sleep(LOOK_SECONDS / 10 if metrics.get(("weir_messages_total", stream), 0.0) >= readings else LOOK_SECONDS)


def _stored(worker: MeasuredWorker, settings: Settings, distinct: int) -> int:
    """Rows of the fleet, once they are as many, or have not become more for :data:`STALL_SECONDS`."""
    stored, moved = -1, time.monotonic()
    while stored < distinct and time.monotonic() < moved + STALL_SECONDS:
        worker.metrics()
        ((now,),) = ask(
            settings, "SELECT count() FROM readings WHERE device_id != {probe:String}", probe=settings.probe.device
        )
        if int(now) > stored:
            stored, moved = int(now), time.monotonic()
        time.sleep(LOOK_SECONDS)
    return stored
