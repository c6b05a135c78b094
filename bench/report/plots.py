"""The plots, as PNG files that stay readable in grey: lines differ by marker, bars by label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from bench.report.results import Entry, Results, Spread
from weir.errors import StackError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK: Final = "0.15"
PALE: Final = "0.6"
INCHES: Final = (6.4, 3.4)
DOTS_PER_INCH: Final = 100

SEEN: Final = 0.5
"""Nanoseconds a reading below which a stage would print as nothing."""

MOST_BARS: Final = 16
"""More names than this touch each other."""


class Plot(NamedTuple):
    """A file, what it shows, and what draws it: False when the results have nothing to draw."""

    name: str
    file: str
    caption: str
    draw: Callable[[Results, Axes], bool]


def cardinality(results: Results, axes: Axes) -> bool:
    """Throughput against the number of active series."""
    entry = results.get("growth")
    if entry is None:
        return False
    sizes = [(size["series"], Entry("", 0.0, size).spread("readings_per_second")) for size in entry.result["sizes"]]
    known = [(series, found) for series, found in sizes if found is not None]
    _spreads(axes, [series for series, _ in known], [found for _, found in known])
    axes.set_xscale("log")
    axes.set_xticks([series for series, _ in known], [f"{series:,}" for series, _ in known])
    axes.minorticks_off()
    axes.set_xlabel("active series")
    _thousands(axes, "readings/s")
    return True


def workers(results: Results, axes: Axes) -> bool:
    """Throughput against the number of workers, beside what as many times the first would be."""
    entries = [results.get(name) for name in ("pipeline", "workers")]
    found = [entry.spread("readings_per_second") if entry is not None else None for entry in entries]
    one, two = found
    if one is None or two is None:
        return False
    counts = [1, 2]
    axes.plot(counts, [one.median * count for count in counts], color=PALE, linestyle="--", label="as many times one")
    _spreads(axes, counts, [one, two])
    axes.set_xticks(counts)
    axes.set_xlabel("workers on the same cores as broker and ClickHouse")
    _thousands(axes, "readings/s")
    axes.legend(frameon=False)
    return True


def latency(results: Results, axes: Axes) -> bool:
    """The share of probes that were queryable within a time."""
    drawn = False
    for name, label, line in (("latency", "20,000 readings/s", "-"), ("saturation", "80 % of the maximum", "--")):
        entry = results.get(name)
        samples = sorted(entry.result.get("latencies_ms", ())) if entry is not None else []
        if samples:
            shares = [(number + 1) / len(samples) for number in range(len(samples))]
            axes.step(samples, shares, where="post", color=INK, linestyle=line, label=label)
            drawn = True
    if drawn:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("post to query, ms")
        axes.set_ylabel("share of the probes")
        axes.legend(frameon=False)
    return drawn


def stages(results: Results, axes: Axes) -> bool:
    """What each stage costs the worker, the dearest on top."""
    entry = results.get("profile")
    if entry is None:
        return False
    costs = sorted((float(stage["ns_per_reading"]), str(stage["stage"])) for stage in entry.result["stages"])
    costs = [(cost, name) for cost, name in costs if cost >= SEEN][-MOST_BARS:]
    bars = axes.barh([name for _, name in costs], [cost for cost, _ in costs], color=PALE, edgecolor=INK)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.margins(x=0.12)
    axes.set_xlabel("CPU, ns a reading")
    return True


PLOTS: Final = (
    Plot("series", "series.png", "Readings a second by the number of active series", cardinality),
    Plot("workers", "workers.png", "Readings a second by the number of workers", workers),
    Plot("latency", "latency.png", "How many probes were queryable within a time", latency),
    Plot("stages", "stages.png", "CPU of each stage, in ns a reading", stages),
)


def require_matplotlib() -> None:
    """Raise :class:`~weir.errors.StackError` when the extra ``bench`` is not installed."""
    if find_spec("matplotlib") is None:
        raise StackError("Plots need matplotlib; install it with `pip install weir[bench]`.")


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Write the plots that the results suffice for; returns their files.

    Raises :class:`~weir.errors.StackError` when the extra ``bench`` is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for plot in PLOTS:
        figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color="0.9")
        axes.set_axisbelow(True)
        if _drawn(plot, results, axes):
            file = folder / plot.file
            # without the program's version in it, the same figures give the same file
            figure.savefig(file, format="png", metadata={"Software": None})
            made.append(file)
    return made


def _drawn(plot: Plot, results: Results, axes: Axes) -> bool:
    """Whether there is something to see; of a result of another form the page's table says so."""
    try:
        return plot.draw(results, axes)
    except (KeyError, TypeError, ValueError):
        return False


def _spreads(axes: Axes, at: Sequence[int], found: Sequence[Spread]) -> None:
    """Medians, with a bar from the minimum to the maximum."""
    below = [each.median - each.min for each in found]
    above = [each.max - each.median for each in found]
    middle = [each.median for each in found]
    axes.errorbar(at, middle, (below, above), color=INK, marker="o", capsize=3, label="measured")


def _thousands(axes: Axes, label: str) -> None:
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    axes.set_ylabel(label)
    axes.yaxis.set_major_formatter("{x:,.0f}")
