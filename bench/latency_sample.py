"""Percentiles of what probes took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weir.probe.outcome import Outcome


@dataclass(frozen=True, slots=True)
class LatencySample:
    """Milliseconds from when a probe was due; ``latencies_ms`` is sorted.

    ``unseen`` probes failed: they count as having taken as long as was waited, so that percentiles do not look better
    the more is lost.
    """

    probes: int
    unseen: int
    acknowledged_p50_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    latencies_ms: tuple[float, ...]


def sample(outcomes: Sequence[Outcome], waited_ms: float) -> LatencySample:
    """The sample of ``outcomes``, of which there is one at least; an unseen one counts ``waited_ms``."""
    queryable = np.sort([_ms(each.queryable_seconds, waited_ms) for each in outcomes])
    acknowledged = [_ms(each.acknowledged_seconds, waited_ms) for each in outcomes]
    p50, p95, p99 = (float(each) for each in np.percentile(queryable, [50, 95, 99]))
    return LatencySample(
        probes=len(outcomes),
        unseen=sum(each.failure is not None for each in outcomes),
        acknowledged_p50_ms=float(np.median(acknowledged)),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=float(queryable[-1]),
        latencies_ms=tuple(round(float(each), 1) for each in queryable),
    )


def _ms(seconds: float | None, waited_ms: float) -> float:
    return waited_ms if seconds is None else seconds * 1_000
