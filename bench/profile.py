"""Where a worker's CPU goes: the backlog of :mod:`bench.pipeline`, stored by one worker that py-spy looks into.

A sample says what a thread was doing, the kernel says how much CPU each thread had: a thread's CPU is divided among the
stages of its samples (:mod:`bench.stage_table`), so a thread that only seemed to run counts what it really used.
Threads without Python are librdkafka's and Polars', by name.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.backlog import fill
from bench.dataset import Dataset
from bench.fleet import register_fleet
from bench.measured_worker import MeasuredWorker, measured_worker
from bench.pipeline import Report, Shape
from bench.sampler import Sampler, Stacks, ThreadTimes, thread_times
from bench.stage_table import OTHER, STAGES, stage_of, stage_of_thread
from bench.testbed import Testbed, fresh_namespace
from weir.errors import StackError

START_SECONDS: Final = 60.0
STALL_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.2

LEAST_SECONDS: Final = 2.0
"""py-spy takes part of a second to begin, and a small backlog is stored before that."""


class StageCost(NamedTuple):
    """What one stage used: nanoseconds of CPU a reading, and its share of the process' CPU."""

    stage: str
    ns_per_reading: float
    share: float


@dataclass(frozen=True, slots=True)
class Profile:
    """One run, or several together, while it was sampled: ``readings`` taken in and the seconds of CPU that it took.

    ``stage_seconds`` add up to ``cpu_seconds``, the process' by the kernel. ``sampled_seconds`` is how long threads
    seemed to run, ``unaccounted_seconds`` the CPU of threads that ended meanwhile, part of :data:`OTHER`.
    """

    readings: int
    cpu_seconds: float
    sampled_seconds: float
    unaccounted_seconds: float
    stage_seconds: Mapping[str, float]
    stacks: Stacks

    @property
    def stages(self) -> list[StageCost]:
        """Every stage, in the order of the way of a reading."""
        seconds = self.stage_seconds
        return [
            StageCost(stage, seconds[stage] / self.readings * 1e9, seconds[stage] / self.cpu_seconds)
            for stage in STAGES
        ]

    @property
    def cpu_seconds_per_million(self) -> float:
        """CPU seconds of the worker a million readings, while it was looked into."""
        return self.cpu_seconds / self.readings * 1e6

    @property
    def unaccounted_share(self) -> float:
        """Part of the CPU of which nothing is known."""
        return self.unaccounted_seconds / self.cpu_seconds

    @property
    def samples(self) -> int:
        """How often a thread was seen."""
        return sum(self.stacks.values())

    def and_(self, other: Profile) -> Profile:
        """Both runs as one."""
        return Profile(
            self.readings + other.readings,
            self.cpu_seconds + other.cpu_seconds,
            self.sampled_seconds + other.sampled_seconds,
            self.unaccounted_seconds + other.unaccounted_seconds,
            {stage: seconds + other.stage_seconds[stage] for stage, seconds in self.stage_seconds.items()},
            Counter(self.stacks) + Counter(other.stacks),
        )


def measure(testbed: Testbed, shape: Shape, report: Report, *, native: bool = False) -> Profile:
    """Profile one worker on a backlog in a fresh namespace; blocks for a minute or so.

    Raises :class:`~weir.errors.StackError` when the worker ends or stands still, or py-spy cannot look into it.
    """
    report("migrating")
    with fresh_namespace(testbed) as settings:
        plan = shape.dataset()
        dataset = Dataset(plan)
        register_fleet(settings, dataset.sensors())
        fill(dataset, settings, lambda count: report(f"producing {count:,} of {plan.readings:,}"))
        report("starting the worker")
        with measured_worker(testbed, settings) as worker:
            return _profiled(worker, plan.readings, report, native)


def _profiled(worker: MeasuredWorker, readings: int, report: Report, native: bool) -> Profile:
    taken = _taken_in(worker)
    pid = worker.child.pid
    with Sampler(pid, native=native) as sampler:
        before, begun = thread_times(pid), time.monotonic()
        _wait_stored(worker, readings, report)
        time.sleep(max(0.0, begun + LEAST_SECONDS - time.monotonic()))
        after = thread_times(pid)
    stage_seconds, unaccounted = attributed(sampler.stacks, before, after)
    return Profile(
        readings=max(readings - taken, 0) or readings,  # one block may have been all of them
        cpu_seconds=after.process - before.process,
        sampled_seconds=_running(sampler.stacks) / sampler.rate,
        unaccounted_seconds=unaccounted,
        stage_seconds=stage_seconds,
        stacks=sampler.stacks,
    )


def _taken_in(worker: MeasuredWorker) -> int:
    """Wait for the first block, so that starting is not profiled; readings that were taken in by then."""
    stream, deadline = worker.settings.groups.readings, time.monotonic() + START_SECONDS
    while True:
        taken = worker.metrics().get(("weir_messages_total", stream), 0.0)
        if taken:
            return int(taken)
        if time.monotonic() > deadline:
            raise StackError(f"The worker reads nothing; the last lines of its log:\n{worker.child.last_lines()}")
        time.sleep(0.02)


def _wait_stored(worker: MeasuredWorker, readings: int, report: Report) -> None:
    stream = worker.settings.groups.readings
    stored, moved = 0.0, time.monotonic()
    while True:
        metrics = worker.metrics()
        now = metrics.get(("weir_rows_stored_total", stream), 0.0)
        if now + metrics.get(("weir_dead_letters_total", stream), 0.0) >= readings:
            return
        if now > stored:
            stored, moved = now, time.monotonic()
            report(f"the worker has stored {int(stored):,} of {readings:,}")
        elif time.monotonic() - moved > STALL_SECONDS:
            raise StackError(f"The worker stands still; the last lines of its log:\n{worker.child.last_lines()}")
        time.sleep(LOOK_SECONDS)


def attributed(stacks: Stacks, before: ThreadTimes, after: ThreadTimes) -> tuple[Mapping[str, float], float]:
    """CPU seconds of each stage between two moments, and those of threads that ended in between."""
    by_thread: dict[int, Counter[str]] = {}
    for (thread, stack), count in stacks.items():
        stage = stage_of(stack)
        if stage is not None:
            by_thread.setdefault(thread, Counter())[stage] += count
    seconds = dict.fromkeys(STAGES, 0.0)
    unaccounted = after.process - before.process
    for thread, end in after.threads.items():
        used = end - before.threads.get(thread, 0.0)
        unaccounted -= used
        samples = by_thread.get(thread) or Counter({stage_of_thread(after.names[thread]): 1})
        for stage, count in samples.items():
            seconds[stage] += used * count / samples.total()
    seconds[OTHER] += unaccounted
    return seconds, unaccounted


def _running(stacks: Stacks) -> int:
    """Samples of threads that did something."""
    return sum(count for (_, stack), count in stacks.items() if stage_of(stack) is not None)
