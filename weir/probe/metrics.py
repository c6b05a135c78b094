"""Every metric of the prober, declared once with its meaning."""

from __future__ import annotations

import time
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from weir.probe.outcome import REASONS, Outcome

SECONDS: Final = Histogram(
    "weir_probe_seconds",
    "Time from when a probe was due until the gateway acknowledged it, and until a query showed it.",
    ["stage"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 30),
)
FAILURES: Final = Counter("weir_probe_failures", "Probes that failed, by reason.", ["reason"])
SUCCESS_AGE: Final = Gauge(
    "weir_probe_success_age_seconds", "Seconds since a probe was last seen, or since the prober began."
)


class ProbeMetrics:
    """Keeps the metrics; every label is there from the start, so that a first failure is an increase."""

    def __init__(self) -> None:
        """Begin to count the age of the last success."""
        self._seen = time.monotonic()
        SUCCESS_AGE.set_function(lambda: time.monotonic() - self._seen)
        for stage in ("acknowledged", "queryable"):
            SECONDS.labels(stage)
        for reason in REASONS:
            FAILURES.labels(reason)

    def note(self, outcome: Outcome) -> None:
        """Count one probe; threads may share it."""
        if outcome.acknowledged_seconds is not None:
            SECONDS.labels("acknowledged").observe(outcome.acknowledged_seconds)
        if outcome.queryable_seconds is not None:
            SECONDS.labels("queryable").observe(outcome.queryable_seconds)
        if outcome.failure is None:
            self._seen = time.monotonic()
        else:
            FAILURES.labels(outcome.failure.reason).inc()
