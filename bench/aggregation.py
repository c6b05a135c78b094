"""Weir's engine doing what benchmarks of stream processors ask for: decoding and 1-minute windows, nothing else."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers.measure import WEIR, prepared, run_program
from bench.pipeline import Report, measure_ceiling
from bench.testbed import Testbed, fresh_namespace

FLINK_CPU_SECONDS_PER_MILLION: Final = 3.5
"""Flink 2.2 at the same work, warm, heap state, no checkpoints, measured elsewhere on such a machine of two cores."""

TARGET_OF_FLINK: Final = 1.5
"""So many times Flink's readings a CPU second are wanted."""


@dataclass(frozen=True, slots=True)
class AggregationRun:
    """What one run gave; CPU in seconds a million readings. Its windows were compared with a recomputation."""

    readings: int
    readings_per_second: float
    cpu_seconds_per_million: float
    ceiling_readings_per_second: float
    ceiling_cpu_seconds_per_million: float
    ratio: float
    of_flink: float
    windows: int
    others_cpu_share: float


def measure_aggregation(testbed: Testbed, readings: int, report: Report) -> AggregationRun:
    """One run on a topic of its own, which is read alone first; blocks for some seconds a million readings.

    Raises :class:`~weir.errors.StackError` when the program fails or any window is not right.
    """
    report(f"producing {readings:,}")
    with fresh_namespace(testbed) as settings, prepared(settings, WEIR, readings) as (job, wanted):
        report("reading the topic alone")
        ceiling = measure_ceiling(testbed, settings, job.topic, job.messages)
        report(f"aggregating {readings:,}")
        run = run_program(testbed, WEIR, Path(sys.executable), job, wanted)
    return AggregationRun(
        readings=run.readings,
        readings_per_second=run.readings_per_second,
        cpu_seconds_per_million=run.cpu_seconds_per_million,
        ceiling_readings_per_second=ceiling.readings_per_second,
        ceiling_cpu_seconds_per_million=ceiling.cpu_seconds_per_million,
        ratio=ceiling.cpu_seconds_per_million / run.cpu_seconds_per_million,
        of_flink=FLINK_CPU_SECONDS_PER_MILLION / run.cpu_seconds_per_million,
        windows=run.windows,
        others_cpu_share=run.others_cpu_share,
    )
