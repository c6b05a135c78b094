"""The pauses of a worker's event loop, read from its metrics page."""

from __future__ import annotations

import http.client
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from weir.errors import StackError
from weir.settings import Settings

PAUSES: Final = "weir_loop_pause_seconds"
LONGEST: Final = "weir_loop_pause_longest_seconds"


@dataclass(frozen=True, slots=True)
class LoopPauses:
    """How many pauses were at most so long (seconds), for each bound of the histogram; and the longest."""

    counts: Mapping[float, float]
    longest: float

    def since(self, before: LoopPauses) -> LoopPauses:
        """Those that came after ``before``; the longest stays that since the start."""
        return LoopPauses({bound: at - before.counts.get(bound, 0) for bound, at in self.counts.items()}, self.longest)

    def percentile(self, percent: float) -> float:
        """Seconds that ``percent`` of the pauses do not exceed, between the bounds by a straight line; NaN of none."""
        bounds = sorted(self.counts)
        if not bounds or not self.counts[bounds[-1]]:
            return math.nan
        wanted = self.counts[bounds[-1]] * percent / 100
        below, low = 0.0, 0.0
        for bound in bounds:
            at, high = self.counts[bound], min(bound, max(self.longest, low))
            if at >= wanted:
                return low + (high - low) * (wanted - below) / max(at - below, 1e-9)
            below, low = at, bound
        return low


def read_pauses(settings: Settings) -> LoopPauses:
    """Ask a worker that runs; raises :class:`~weir.errors.StackError` when it does not answer."""
    connection = http.client.HTTPConnection(settings.worker.web_host, settings.worker.web_port, timeout=30.0)
    try:
        connection.request("GET", "/metrics")
        return parse(connection.getresponse().read().decode())
    except (OSError, http.client.HTTPException) as error:
        raise StackError(f"The worker's metrics cannot be read: {error!r}; look into its log.") from error
    finally:
        connection.close()


def parse(page: str) -> LoopPauses:
    """Find the histogram and the gauge on a metrics page; without them there was no pause."""
    counts, longest = {}, 0.0
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == f"{PAUSES}_bucket":
                counts[float(sample.labels["le"])] = sample.value
            elif sample.name == LONGEST:
                longest = sample.value
    return LoopPauses(counts, longest)
