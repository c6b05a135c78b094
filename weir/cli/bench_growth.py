"""``weir bench growth``: what more and more active series cost."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median
from typing import Final, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from bench.growth import Growth, GrowthSize, measure
from weir.cli.bench_options import Bench, bench_options
from weir.cli.figures import spread_json, tell_json, verdict, warn_when_busy

SERIES: Final = "1000,10000,50000,200000"

COLUMNS: Final = (
    ("series", "series", "{:,.0f}"),
    ("readings_per_second", "readings/s", "{:,.0f}"),
    ("ratio_to_first", "of the first", "{:.2f}"),
    ("cpu_seconds_per_million", "CPU s/million", "{:.2f}"),
    ("ratio", "ratio", "{:.3f}"),
    ("peak_rss_mb", "peak MB", "{:,.0f}"),
    ("open_points", "open points", "{:,.0f}"),
    ("published", "1m rows", "{:,.0f}"),
    ("loop_pause_p99_ms", "loop pause p99, ms", "{:,.0f}"),
    ("loop_pause_max_ms", "longest, ms", "{:,.0f}"),
)


class Target(NamedTuple):
    """What a figure shall be, and what it was: the median of all runs."""

    name: str
    bound: float
    measured: float
    at_least: bool

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


class SeriesList(click.ParamType):
    """Numbers of series, parted by commas; each device has four."""

    name = "numbers"

    def convert(self, value: str | list[int], param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Numbers as they stand; fails on what is no multiple of four."""
        if isinstance(value, list):
            return value
        try:
            numbers = [int(each) for each in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as {SERIES}.", param, ctx)
        if any(number < 4 or number % 4 for number in numbers):
            self.fail("every device has four series: give multiples of 4.", param, ctx)
        return numbers


@click.command(name="growth")
@click.option(
    "--series",
    type=SeriesList(),
    default=SERIES,
    show_default=True,
    help="How many are active: a run each, the first is what the others are compared with.",
)
@click.option(
    "--readings",
    type=click.IntRange(min=10_000),
    default=6_000_000,
    show_default=True,
    help="About how many, in each run: whole minutes, two at least.",
)
@click.option(
    "--idle-seconds",
    type=click.FloatRange(min=1),
    default=20.0,
    show_default=True,
    help="How long a worker with nothing to read is watched.",
)
@bench_options()
@click.pass_context
def growth(ctx: click.Context, bench: Bench, series: list[int], readings: int, idle_seconds: float) -> None:
    """Store readings of more and more series with one worker, everything on.

    Every series has one reading a second for whole minutes, whatever their number; when a minute ends, the windows of
    all series close at once, while readings come. Tells throughput, memory, by how much it grows with the points of
    open windows, the pauses of the worker's event loop, and what a worker costs that has nothing to read. A target that
    is missed is told and changes no exit code.

    \b
    Example:
      weir bench growth
      weir bench growth --series 1000,200000 --readings 3000000 --json

    \b
    Exit codes:
      0    measured, and every reading that was sent is stored once
      1    the stack or the worker failed, or readings are missing
      2    wrong usage or settings
      130  interrupted
    """
    measured = bench.repeat(lambda testbed, view: measure(testbed, series, readings, idle_seconds, view))
    sizes = [list(size) for size in zip(*(run.sizes for run in measured), strict=True)]
    if bench.as_json:
        tell_json(to_dict(measured, sizes))
    else:
        _print(measured, sizes)
    everything = [size for run in measured for size in run.sizes]
    warn_when_busy(max(size.others_cpu_share for size in everything))
    ctx.exit(verdict(everything))


def to_dict(measured: list[Growth], sizes: list[list[GrowthSize]]) -> dict[str, object]:
    """For scripts: the figures of all runs, then ``sizes`` with those of each."""
    return {
        **spread_json([_of_all(run) for run in measured]),
        "sizes": [{"series": size[0].series} | spread_json([_of_size(run) for run in size]) for size in sizes],
        "targets": [target._asdict() | {"met": target.met} for target in targets(measured)],
        "distinct": [size[0].distinct for size in sizes],
        "stored": [[size.stored for size in run.sizes] for run in measured],
    }


def targets(measured: list[Growth]) -> list[Target]:
    """What is aimed at, from the first size to the one with the most series."""
    return [
        Target("throughput_ratio", 0.85, median(run.throughput_ratio for run in measured), True),
        Target("loop_pause_p99_ms", 250.0, median(run.loop_pause_p99_ms for run in measured), False),
    ]


def _of_all(run: Growth) -> dict[str, float]:
    return {
        "throughput_ratio": run.throughput_ratio,
        "loop_pause_p99_ms": run.loop_pause_p99_ms,
        "idle_cpu_seconds_an_hour": run.idle_cpu_seconds_an_hour,
        "others_cpu_share": max(size.others_cpu_share for size in run.sizes),
        "bytes_an_open_point": run.bytes_an_open_point,
    }


def _of_size(size: GrowthSize) -> dict[str, float]:
    return {name: value for name, value in asdict(size).items() if name not in ("series", "distinct", "stored")}


def _print(measured: list[Growth], sizes: list[list[GrowthSize]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for _, label, _ in COLUMNS:
        table.add_column(label, justify="right")
    for size in sizes:
        table.add_row(*(form.format(median(getattr(run, field) for run in size)) for field, _, form in COLUMNS))
    console = Console(highlight=False)
    console.print(table)
    a_point = median(run.bytes_an_open_point for run in measured)
    console.print(f"A point of an open window takes {a_point:,.0f} bytes.")
    idle = median(run.idle_cpu_seconds_an_hour for run in measured)
    console.print(f"A worker with nothing to read uses {idle:,.0f} CPU seconds an hour.")
    for target in targets(measured):
        word = "at least" if target.at_least else "at most"
        found = f"{target.name} is {target.measured:,.2f}, {word} {target.bound:,.2f} is aimed at"
        console.print(f"{found}: {'met' if target.met else 'missed'}.")
