"""What Weir shall reach, and whether it did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.aggregation import FLINK_CPU_SECONDS_PER_MILLION, TARGET_OF_FLINK
from bench.report.results import Results, Spread


@dataclass(frozen=True, slots=True)
class Target:
    """A bound of one figure: ``at_least``, or else at most. ``form`` prints it."""

    what: str
    benchmark: str
    figure: str
    bound: float
    at_least: bool = False
    form: str = "{:,.0f}"
    within: tuple[str, ...] = ()

    def found(self, results: Results) -> Spread | None:
        """What was measured; None where nothing was, or only tried out."""
        entry = results.get(self.benchmark)
        return entry.spread(self.figure, *self.within) if entry is not None and not entry.quick else None

    def reached(self, value: float) -> bool:
        """Whether one value is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound

    def verdict(self, found: Spread) -> str:
        """The median decides; a miss is told with its distance from the bound."""
        if not self.reached(found.median):
            return f"**missed by {abs(found.median / self.bound - 1):.1%}**"
        worst = found.min if self.at_least else found.max
        return "met" if self.reached(worst) else "met by the median, not in every run"


_READINGS = "readings_per_second"
_CPU = "cpu_seconds_per_million"

TARGETS: Final = (
    Target("readings/s, one worker, everything on", "pipeline", _READINGS, 280_000, True),
    Target("CPU s/million of that worker", "pipeline", _CPU, 3.0, form="{:.2f}"),
    Target(
        "the same, below Flink's that only aggregates", "pipeline", _CPU, FLINK_CPU_SECONDS_PER_MILLION, form="{:.2f}"
    ),
    Target(
        "aggregation only, times Flink's readings a CPU second",
        "aggregate",
        "of_flink",
        TARGET_OF_FLINK,
        True,
        "{:.2f}",
    ),
    Target(
        "packed readings a CPU second, from bytes to closed windows",
        "packed-path",
        "packed_readings_per_cpu_second",
        1_000_000,
        True,
    ),
    Target("times Bytewax", "peers", "weir_ratio", 5.0, True, "{:.1f}", ("peers", "bytewax")),
    Target("times Pathway", "peers", "weir_ratio", 3.0, True, "{:.1f}", ("peers", "pathway")),
    Target("times Quix Streams", "peers", "weir_ratio", 25.0, True, "{:.1f}", ("peers", "quix")),
    Target("post to query at 20,000 readings/s, p50, ms", "latency", "p50_ms", 400),
    Target("post to query at 20,000 readings/s, p95, ms", "latency", "p95_ms", 1_000),
    Target("readings/s acknowledged meanwhile", "latency", "readings_per_second", 19_400, True),
    Target("post to query at 80 % of the maximum, p95, ms", "saturation", "p95_ms", 5_000),
    Target("of these 80 %, acknowledged meanwhile", "saturation", "delivered_share", 0.97, True, "{:.2f}"),
    Target("throughput with 200,000 series, of that with 1,000", "growth", "throughput_ratio", 0.85, True, "{:.2f}"),
    Target("pause of the worker's loop with 200,000 series, p99, ms", "growth", "loop_pause_p99_ms", 250),
    Target(
        "posted in batches of 100, JSON, records/s",
        "gateway",
        "records_per_second",
        80_000,
        True,
        within=("loads", "batch JSON"),
    ),
    Target(
        "posted singly, JSON, requests/s",
        "gateway",
        "requests_per_second",
        8_000,
        True,
        within=("loads", "single JSON"),
    ),
    Target("batches at half of that, p99, ms", "gateway", "p99_ms", 50, within=("loads", "batch JSON at half")),
    Target(
        "single requests at half of that, p99, ms", "gateway", "p99_ms", 50, within=("loads", "single JSON at half")
    ),
    Target("caught up after a kill at 20,000 readings/s, s", "recovery", "recovered_seconds", 15, form="{:.1f}"),
)
