"""What a day's backlog of one device costs: how soon its aggregates are right, and what the others feel of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import polars as pl

from bench.backlog import Writer, readings_schema_id
from bench.dataset import Chunk, Dataset
from bench.freshness import FreshnessMeter, Latency
from bench.harness import CpuMeter
from bench.late_backlog import DEVICE, HOUR_MS, MINUTE_MS, SENSOR, LateBacklog
from bench.live_load import LiveLoad, LoadPlan, live_load
from bench.measured_worker import MeasuredWorker, measured_worker
from bench.stored import ask
from bench.testbed import Testbed, fresh_namespace
from connectors.postgres.devices import register
from weir.errors import StackError
from weir.settings import Settings

DRAWING_MS: Final = 3_000
"""Until the others' readings are drawn and the first may be sent at its own time."""

WARM_SECONDS: Final = 3.0
CLOSING_SECONDS: Final = 120.0
CORRECTED_SECONDS: Final = 300.0
SETTLE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.25

_TOTAL = "SELECT count(), coalesce(sum(count), 0) FROM {view:Identifier} WHERE device_id = {device:String}"
_WINDOWS = """
    SELECT toUnixTimestamp64Milli(window_start) AS start, toInt64(count) AS count, sum FROM {view:Identifier}
    WHERE device_id = {device:String} ORDER BY start
"""
_EVENTS = "SELECT event, value FROM system.events WHERE event IN ('SelectQuery', 'InsertQuery')"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LateShape:
    """How many late readings, how many a second the others send, and how long these are measured alone before."""

    late: int
    readings_per_second: int
    before_seconds: float
    seed: int = 1

    def load(self, begin_ms: int) -> LoadPlan:
        """What the others send."""
        seconds = DRAWING_MS / 1_000 + WARM_SECONDS + self.before_seconds + CORRECTED_SECONDS
        return LoadPlan(self.readings_per_second, begin_ms, seconds, seed=self.seed)


@dataclass(frozen=True, slots=True)
class LateRun:
    """What one upload gave; times in seconds.

    ``corrected_seconds`` run from the acknowledgement of the last late reading until every minute and hour of the
    device equals its recomputation in the views, the ``…_minutes_…`` until its minutes do. Latencies are those of the
    other devices' readings, before the upload, and from its begin until everything is corrected; so are the worker's
    CPU and the part of the machine's CPU that nobody who belongs to the benchmark had.
    """

    late: int
    corrected_seconds: float
    minutes_corrected_seconds: float
    upload_seconds: float
    minutes: int
    hours: int
    queries: int
    inserts: int
    late_windows: int
    corrections: int
    before_p50: float
    before_p95: float
    before_p99: float
    during_p50: float
    during_p95: float
    during_p99: float
    p95_ratio: float
    worker_cpu_seconds: float
    others_cpu_share: float
    readings_per_second: float
    distinct: int
    stored: int

    @property
    def complete(self) -> bool:
        """Whether every identity that was sent is stored, once."""
        return self.stored == self.distinct


class Statements(NamedTuple):
    """Statements that the server has answered."""

    selects: int
    inserts: int


def measure(testbed: Testbed, shape: LateShape, report: Report) -> LateRun:
    """One upload on a fresh namespace; blocks for ``before_seconds`` and a minute or so.

    Raises :class:`~weir.errors.StackError` when the worker ends, or the aggregates do not become right in time.
    """
    report("migrating")
    with fresh_namespace(testbed) as settings:
        backlog = LateBacklog(shape.late, time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS)
        dsn = settings.postgres.dsn.get_secret_value()
        register(dsn, "bench", "fleet", Dataset(shape.load(0).history()).sensors())
        register(dsn, "bench", "fleet", pl.DataFrame({"device_id": [DEVICE], "sensor": [SENSOR]}))
        report("starting the worker")
        with measured_worker(testbed, settings) as worker:
            worker.wait_assigned()
            return _Upload(testbed, settings, shape, backlog, worker, report).run()


class _Upload:
    """One run: what it looks at, and with what."""

    def __init__(
        self,
        testbed: Testbed,
        settings: Settings,
        shape: LateShape,
        backlog: LateBacklog,
        worker: MeasuredWorker,
        report: Report,
    ) -> None:
        self._testbed, self._settings, self._shape, self._backlog = testbed, settings, shape, backlog
        self._worker, self._report = worker, report
        self._schema_id = readings_schema_id(settings)
        self._asked = 0

    def run(self) -> LateRun:
        backlog, settings = self._backlog, self._settings
        self._write(backlog.seed(self._schema_id))
        self._report("closing the device's windows with one reading a minute")
        self._wait(backlog.expected_early, CLOSING_SECONDS)
        plan = self._shape.load(time.time_ns() // 1_000_000 + DRAWING_MS)
        with (
            live_load(self._testbed, settings, plan) as load,
            FreshnessMeter(settings, but=DEVICE) as meter,
            CpuMeter(self._pids(load)) as cpu,
        ):
            quiet = load.wait_live() + WARM_SECONDS
            self._report("measuring the others alone")
            time.sleep(max(0.0, quiet - time.time()))
            first = self._statements(meter)
            time.sleep(max(0.0, quiet + self._shape.before_seconds - time.time()))
            second, counters = self._statements(meter), self._counters()
            begin = time.time()
            self._report(f"uploading {self._shape.late:,} late readings")
            acknowledged = self._write(backlog.upload(self._schema_id))
            minutes, corrected = self._wait(backlog.expected, CORRECTED_SECONDS)
            third, counted = self._statements(meter), self._counters()
            load.check()
            sent = load.stop()
        distinct = sent.distinct + len(backlog.early_ts) + len(backlog.late_ts)
        before, during = meter.between(quiet, begin), meter.between(begin, corrected)
        return LateRun(
            late=self._shape.late,
            corrected_seconds=corrected - acknowledged,
            minutes_corrected_seconds=minutes - acknowledged,
            upload_seconds=acknowledged - begin,
            minutes=len(backlog.expected(MINUTE_MS)),
            hours=len(backlog.expected(HOUR_MS)),
            queries=extra_queries(first, second, third),
            inserts=third.inserts - second.inserts,
            late_windows=counted[0] - counters[0],
            corrections=counted[1] - counters[1],
            **_latencies(before, during),
            worker_cpu_seconds=cpu.cpu_seconds("worker", begin, corrected),
            others_cpu_share=cpu.others_share(begin, corrected),
            readings_per_second=sent.messages / sent.seconds,
            distinct=distinct,
            stored=self._stored(distinct),
        )

    def _pids(self, load: LiveLoad) -> dict[str, int]:
        own = {"worker": self._worker.child.pid, "load": load.child.pid, "bench": os.getpid()}
        return own | self._testbed.pids()

    def _write(self, chunk: Chunk) -> float:
        """Send, and return when all was acknowledged."""
        writer = Writer(self._settings)
        writer.write(chunk)
        writer.finish()
        return time.time()

    def _wait(self, expected: Callable[[int], pl.DataFrame], seconds: float) -> tuple[float, float]:
        """When the minutes, and when all windows of the device were as ``expected``; blocks."""
        deadline = time.monotonic() + seconds
        reached = []
        for view, size_ms in (("aggregates_1m", MINUTE_MS), ("aggregates_1h", HOUR_MS)):
            wanted = expected(size_ms)
            while not self._equal(view, wanted):
                self._worker.metrics()
                if time.monotonic() > deadline:
                    raise StackError(f"{view} of {DEVICE} did not become right in {seconds:.0f} s.")
                time.sleep(LOOK_SECONDS)
            reached.append(time.time())
        return reached[0], reached[1]

    def _equal(self, view: str, wanted: pl.DataFrame) -> bool:
        (found,) = self._ask(_TOTAL, view=view, device=DEVICE)
        self._report(f"{view}: {found[1]:,} of {wanted['count'].sum():,} readings are in their windows")
        if found != (len(wanted), wanted["count"].sum()):
            return False
        return self._ask(_WINDOWS, view=view, device=DEVICE) == wanted.rows()

    def _ask(self, query: str, **parameters: object) -> list[tuple[Any, ...]]:
        self._asked += 1
        return ask(self._settings, query, **parameters)

    def _statements(self, meter: FreshnessMeter) -> Statements:
        """What the server has answered so far, without what this benchmark asked."""
        values = dict(self._ask(_EVENTS))
        selects = int(values.get("SelectQuery", 0)) - self._asked - meter.looks
        return Statements(selects, int(values.get("InsertQuery", 0)))

    def _counters(self) -> tuple[int, int]:
        """Late windows and corrections of both rollups so far, by the worker's metrics."""
        metrics, groups = self._worker.metrics(), self._settings.groups
        names = ("weir_late_windows_total", "weir_corrections_published_total")
        late, corrections = (
            round(sum(metrics.get((name, group), 0.0) for group in (groups.readings, groups.aggregates_1m)))
            for name in names
        )
        return late, corrections

    def _stored(self, distinct: int) -> int:
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            ((stored,),) = ask(self._settings, "SELECT count() FROM readings")
            if stored == distinct or time.monotonic() > deadline:
                return int(stored)
            time.sleep(LOOK_SECONDS)


def extra_queries(first: Statements, second: Statements, third: Statements) -> int:
    """Queries between ``second`` and ``third`` that are not part of storing, going by what it took before.

    An insert may count as a query, too: the embedded server stages it in a table.
    """
    inserts = second.inserts - first.inserts
    each = (second.selects - first.selects) / inserts if inserts else 0.0
    return max(0, round(third.selects - second.selects - each * (third.inserts - second.inserts)))


def _latencies(before: Latency, during: Latency) -> dict[str, float]:
    named = {"before": before, "during": during}
    each = {f"{when}_{name}": getattr(of, name) for when, of in named.items() for name in ("p50", "p95", "p99")}
    return each | {"p95_ratio": during.p95 / before.p95}
