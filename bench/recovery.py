"""How long a killed worker takes to catch up, under live load, killed at the worst moment.

The worst moment is just before the last minute of an hour closes: a whole minute of readings must be read again to
rebuild its windows, and an hour of 1-minute rows to rebuild those of the hour.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.dataset import Dataset
from bench.harness import CpuMeter
from bench.live_load import LiveLoad, LoadPlan, Sent, live_load
from bench.measured_worker import MeasuredWorker, measured_worker
from bench.recovery_phases import Before, Look, caught_up, phases
from bench.stage_progress import ProgressReader
from bench.stored import ask
from bench.testbed import Testbed, fresh_namespace
from connectors.postgres.devices import register
from weir.errors import StackError
from weir.settings import Settings

MINUTE_SECONDS: Final = 60
HOUR_MS: Final = 3_600_000

BEFORE_CLOSING_SECONDS: Final = 1.0
"""The kill comes so long before the first flush that would close the minute."""

NORMAL_SECONDS: Final = 10.0
"""How long the age of the newest row is looked at before the kill, to know what is normal."""

LEAST_LAG: Final = 100
"""So many messages may always be on their way; else a second's worth of readings may."""

LOOK_SECONDS: Final = 0.1
CATCH_UP_SECONDS: Final = 180.0
SETTLE_SECONDS: Final = 120.0

_AGES = "SELECT now64(3) - max(append_ts) FROM raw_readings WHERE ts >= {since:DateTime64(3)} GROUP BY partition"
_EARLIER = "SELECT count() FROM readings WHERE ts < {until:DateTime64(3)}"
_CLOSED = "SELECT coalesce(sum(count), 0) FROM {view:Identifier} WHERE window_start < {until:DateTime64(3)}"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RecoveryShape:
    """Readings a second, minutes of history before them, and how long they come before the kill."""

    readings_per_second: int
    history_minutes: int
    live_seconds: float
    seed: int = 1


@dataclass(frozen=True, slots=True)
class RecoveryRun:
    """What one kill gave; times in seconds after the restart, which follows the kill at once.

    ``start_seconds`` until the worker's page answers, then ``session_seconds`` until the group gives it the dead
    member's partitions, ``replay_seconds`` until all open windows are rebuilt, ``backlog_seconds`` until it has caught
    up; ``minutes_replayed_seconds`` after the restart the hour's windows were rebuilt. Ages are those of the newest
    stored reading of the partition that is furthest behind. ``worker_cpu_seconds`` are those until it has caught up,
    ``others_cpu_share`` the part of the machine's CPU that nobody who belongs to the benchmark had in that time.
    """

    recovered_seconds: float
    start_seconds: float
    session_seconds: float
    replay_seconds: float
    backlog_seconds: float
    minutes_replayed_seconds: float
    replayed_readings: int
    replayed_minutes: int
    age_before_seconds: float
    age_worst_seconds: float
    worker_cpu_seconds: float
    others_cpu_share: float
    readings_per_second: float
    distinct: int
    stored: int
    minutes_differ: int
    hours_differ: int

    @property
    def complete(self) -> bool:
        """Whether every identity that was sent is stored once and counted once in both rollups."""
        return self.stored == self.distinct and not self.minutes_differ and not self.hours_differ


def measure(testbed: Testbed, shape: RecoveryShape, report: Report) -> RecoveryRun:
    """One kill on a fresh namespace; blocks for ``live_seconds`` and a minute or so.

    Raises :class:`~weir.errors.StackError` when a worker ends by itself or does not catch up.
    """
    report("migrating")
    with fresh_namespace(testbed) as settings:
        hour_end = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS
        plan = load_plan(shape, hour_end, settings.stream.lateness_seconds)
        register(settings.postgres.dsn.get_secret_value(), "bench", "fleet", Dataset(plan.history()).sensors())
        return _Recovery(testbed, settings, shape, plan, report).run(hour_end)


def load_plan(shape: RecoveryShape, hour_end: int, lateness_seconds: float) -> LoadPlan:
    """The load whose event time, after ``live_seconds``, is just before the hour that ends at ``hour_end`` closes."""
    closing_ms = hour_end + round((lateness_seconds - BEFORE_CLOSING_SECONDS) * 1_000)
    begin_ms = closing_ms - round(shape.live_seconds * 1_000)
    seconds = shape.live_seconds + CATCH_UP_SECONDS
    return LoadPlan(shape.readings_per_second, begin_ms, seconds, shape.history_minutes, shape.seed)


class _Recovery:
    """One run: what it looks at, and with what."""

    def __init__(
        self, testbed: Testbed, settings: Settings, shape: RecoveryShape, plan: LoadPlan, report: Report
    ) -> None:
        self._testbed, self._settings, self._shape, self._plan, self._report = testbed, settings, shape, plan, report
        topics, groups = settings.topics, settings.groups
        self._readings = ProgressReader(settings, groups.readings, topics.readings)
        self._minutes = ProgressReader(settings, groups.aggregates_1m, topics.aggregates_1m)

    def run(self, hour_end: int) -> RecoveryRun:
        with self._killed() as (load, before, restarted):
            watched = {"worker": restarted.child.pid, "load": load.child.pid, "bench": os.getpid()}
            with CpuMeter(watched | self._testbed.pids()) as meter:
                looks = self._catch_up(load, restarted, before)
            assigned = restarted.assigned()
            sent = load.stop()
            self._report("counting what is stored")
            stored, minutes, hours = self._settled(sent, hour_end)
        topics = self._settings.topics
        given = max(assigned[topics.readings], assigned[topics.aggregates_1m])
        took = phases(looks, before, restarted.started, given)
        span = (restarted.started, restarted.started + took.recovered)
        return RecoveryRun(
            recovered_seconds=took.recovered,
            start_seconds=took.start,
            session_seconds=took.session,
            replay_seconds=took.replay,
            backlog_seconds=took.backlog,
            minutes_replayed_seconds=took.minutes_replayed,
            replayed_readings=before.readings.replay,
            replayed_minutes=before.minutes.replay,
            age_before_seconds=before.age,
            age_worst_seconds=max(look.age for look in looks),
            worker_cpu_seconds=meter.cpu_seconds("worker", *span),
            others_cpu_share=meter.others_share(*span),
            readings_per_second=(sent.messages - sent.history) / sent.seconds,
            distinct=sent.distinct,
            stored=stored,
            minutes_differ=minutes,
            hours_differ=hours,
        )

    @contextmanager
    def _killed(self) -> Iterator[tuple[LiveLoad, Before, MeasuredWorker]]:
        """Load, what was before the kill, and the worker that was started afterwards."""
        self._report("starting the worker")
        with measured_worker(self._testbed, self._settings) as first:
            first.wait_assigned()
            with live_load(self._testbed, self._settings, self._plan) as load:
                self._report(f"writing {self._shape.history_minutes} minutes of history")
                kill_at = load.wait_live() + self._shape.live_seconds
                age = self._normal_age(load, first, kill_at)
                first.kill()
                with measured_worker(self._testbed, self._settings) as second:
                    yield load, Before(age, self._readings.read(), self._minutes.read()), second

    def _normal_age(self, load: LiveLoad, worker: MeasuredWorker, until: float) -> float:
        """95th percentile of the newest row's age in the last seconds before ``until``; blocks till then."""
        ages = []
        while (left := until - time.time()) > 0:
            load.check()
            worker.metrics()
            self._report(f"{left:.0f} s to the kill; the worker is {self._readings.read().lag:,} readings behind")
            if left < NORMAL_SECONDS:
                ages.append(self._age())
            time.sleep(min(left, 0.5 if left < NORMAL_SECONDS else 1.0))
        finite = [age for age in ages if age < float("inf")]
        return float(np.percentile(finite or [self._age()], 95))

    def _catch_up(self, load: LiveLoad, worker: MeasuredWorker, before: Before) -> list[Look]:
        """Look until it has caught up."""
        most_lag = max(LEAST_LAG, self._shape.readings_per_second)
        looks: list[Look] = []
        while not caught_up(looks, before, most_lag=most_lag):
            load.check()
            look = self._look(worker)
            looks.append(look)
            since = look.at - worker.started
            self._report(f"{since:.0f} s after the restart: {look.readings_lag:,} behind, age {look.age:.1f} s")
            if since > CATCH_UP_SECONDS:
                raise StackError(f"The worker did not catch up in {CATCH_UP_SECONDS:.0f} s; see {worker.child.log}.")
            time.sleep(LOOK_SECONDS)
        return looks

    def _look(self, worker: MeasuredWorker) -> Look:
        groups = self._settings.groups
        metrics = worker.metrics()
        readings, minutes, age = self._readings.read(), self._minutes.read(), self._age()
        return Look(
            at=time.time(),
            answers=bool(metrics),
            readings_taken=metrics.get(("weir_messages_total", groups.readings), 0.0),
            minutes_taken=metrics.get(("weir_messages_total", groups.aggregates_1m), 0.0),
            readings_lag=readings.lag,
            minutes_lag=minutes.lag,
            age=age,
        )

    def _age(self) -> float:
        """Seconds since the broker took the newest stored reading of the partition that is furthest behind."""
        rows = ask(self._settings, _AGES, since=self._plan.begin_ms / 1_000)
        return max((float(row[0]) for row in rows), default=float("inf"))

    def _settled(self, sent: Sent, hour_end: int) -> tuple[int, int, int]:
        """Readings stored in the end, and by how many the closed minutes and hours differ from them; blocks."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            ((stored,),) = ask(self._settings, "SELECT count() FROM readings")
            ((early,),) = ask(self._settings, _EARLIER, until=hour_end / 1_000)
            ((minutes,),) = ask(self._settings, _CLOSED, view="aggregates_1m", until=time.time() + 3_600)
            ((hours,),) = ask(self._settings, _CLOSED, view="aggregates_1h", until=hour_end / 1_000)
            differ = (abs(sent.distinct - minutes), abs(early - hours))
            if (stored == sent.distinct and differ == (0, 0)) or time.monotonic() > deadline:
                return int(stored), int(differ[0]), int(differ[1])
            time.sleep(0.25)
