"""What runs of Weir and of its peers say about each other: ratios within one run, and the targets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, NamedTuple

import polars as pl

from bench.dataset import Dataset
from bench.peers.program import WINDOW_MS
from bench.pipeline import PipelineRun

TARGETS: Final = {"bytewax": 5.0, "pathway": 3.0, "quix": 25.0}
"""So many times a peer's readings a second Weir must reach."""

MEASURED_SECONDS: Final = 20.0
"""A measured run of a peer shall take about as long."""

SUM_TOLERANCE: Final = 1e-9
"""Sums of the same numbers in another order differ by less, relatively."""


class Totals(NamedTuple):
    """Windows and the sums of their aggregates: two results with the same totals are the same for a benchmark."""

    windows: int
    sum_of_readings: int
    sum_of_total: float
    sum_of_lowest: float
    sum_of_highest: float

    def difference(self, wanted: Totals) -> str | None:
        """What is wrong with these totals; None when they are as ``wanted``."""
        for name, found, expected in zip(self._fields, self, wanted, strict=True):
            if abs(found - expected) > SUM_TOLERANCE * abs(expected):
                return f"gave {name.replace('_', ' ')} {found:,.10g} where {expected:,.10g} is right"
        return None


def expected(dataset: Dataset, resends: bool = True) -> Totals:
    """The totals of the windows of ``dataset``; ``resends`` count each time, unless they are removed: no peer does."""
    frame = pl.DataFrame(
        {
            "series": dataset.series,
            "ts": dataset.ts,
            "minute": dataset.ts // WINDOW_MS,
            "value": dataset.frame(0, dataset.plan.readings)["value"],
        }
    )
    if not resends:
        frame = frame.unique(["series", "ts"])
    value = pl.col("value")
    windows = frame.group_by("series", "minute").agg(
        readings=pl.len(), total=value.sum(), lowest=value.min(), highest=value.max()
    )
    sums = windows.select(pl.col("readings", "total", "lowest", "highest").sum()).row(0)
    return Totals(windows.height, int(sums[0]), *(float(each) for each in sums[1:]))


def affordable(messages: int, seconds: float, at_least: int, at_most: int) -> int:
    """How many messages a peer can do in :data:`MEASURED_SECONDS`, after ``messages`` took it ``seconds``."""
    return max(min(at_least, at_most), min(at_most, round(messages / max(seconds, 1e-3) * MEASURED_SECONDS)))


@dataclass(frozen=True, slots=True)
class PeerRun:
    """What one run of a peer gave; CPU in seconds a million readings, of all its processes."""

    readings: int
    readings_per_second: float
    cpu_seconds_per_million: float
    windows: int
    expected_windows: int
    others_cpu_share: float


class Spread(NamedTuple):
    """A figure of several runs."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of at least one value."""
        found = list(values)
        return cls(min(found), median(found), max(found))


@dataclass(frozen=True, slots=True)
class Standing:
    """One program beside Weir. Ratios are within one run: how many times its rate Weir's (the ceiling's) is.

    ``weir_cpu_ratio`` is how many times Weir's CPU seconds a million it takes; ``reason`` is why there are no figures.
    """

    name: str
    runs: int = 0
    reason: str | None = None
    readings: int = 0
    windows: int = 0
    expected_windows: int = 0
    readings_per_second: Spread | None = None
    cpu_seconds_per_million: Spread | None = None
    weir_ratio: Spread | None = None
    weir_cpu_ratio: Spread | None = None
    ceiling_ratio: Spread | None = None
    others_cpu_share: Spread | None = None

    @property
    def target(self) -> float | None:
        """What :attr:`weir_ratio` must reach, if anything is asked."""
        return TARGETS.get(self.name)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None where there is no target or no figure."""
        if self.target is None or self.weir_ratio is None:
            return None
        return self.weir_ratio.median >= self.target


def standing(name: str, runs: Sequence[PeerRun | str], weir: Sequence[PipelineRun]) -> Standing:
    """Set a peer's runs beside Weir's, run by run; a text instead of a run is why that one failed.

    A peer that failed once has no figures: a median of those that went well would hide it.
    """
    measured = [run for run in runs if isinstance(run, PeerRun)]
    failures = [run for run in runs if isinstance(run, str)]
    if failures or not measured:
        return Standing(name, runs=len(runs), reason=failures[0] if failures else "was not run")
    pairs = list(zip(measured, weir, strict=True))
    return Standing(
        name,
        runs=len(runs),
        readings=measured[-1].readings,
        windows=measured[-1].windows,
        expected_windows=measured[-1].expected_windows,
        readings_per_second=Spread.of(run.readings_per_second for run in measured),
        cpu_seconds_per_million=Spread.of(run.cpu_seconds_per_million for run in measured),
        weir_ratio=Spread.of(own.readings_per_second / run.readings_per_second for run, own in pairs),
        weir_cpu_ratio=Spread.of(run.cpu_seconds_per_million / own.cpu_seconds_per_million for run, own in pairs),
        ceiling_ratio=Spread.of(own.ceiling_readings_per_second / run.readings_per_second for run, own in pairs),
        others_cpu_share=Spread.of(run.others_cpu_share for run in measured),
    )
