"""``weir bench``: the benchmarks."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from statistics import median
from types import TracebackType

import click
from rich.console import Console
from rich.table import Table

from bench.pipeline import PipelineRun, Shape, measure
from bench.testbed import running_testbed
from weir.settings import PORT_BASE

FIGURES = (
    ("readings_per_second", "readings/s, one worker", "{:,.0f}"),
    ("cpu_seconds_per_million", "CPU s/million, worker", "{:.2f}"),
    ("peak_rss_mb", "peak memory of the worker, MB", "{:,.0f}"),
    ("ceiling_readings_per_second", "readings/s, consume() alone", "{:,.0f}"),
    ("ceiling_cpu_seconds_per_million", "CPU s/million, consume() alone", "{:.2f}"),
    ("ratio", "ratio (CPU of consume() / CPU of the worker)", "{:.3f}"),
    ("clickhouse_cpu_seconds_per_million", "CPU s/million, ClickHouse", "{:.2f}"),
    ("broker_cpu_seconds_per_million", "CPU s/million, broker", "{:.2f}"),
    ("others_cpu_share", "part of the CPU that others took", "{:.0%}"),
)
"""Field of :class:`~bench.pipeline.PipelineRun`, its name for a person, its format."""

LINE_SECONDS = 2.0
"""Where there is no terminal, progress is not told more often."""

BUSY_SHARE = 0.1
"""More than this in other hands, and the rates say little."""


@click.group(name="bench")
def command() -> None:
    """Measure Weir on this machine; every figure stands beside a ceiling from the same run."""


@command.command(name="pipeline")
@click.option("--readings", type=click.IntRange(min=10_000), default=2_000_000, show_default=True, help="How many.")
@click.option("--sparse", is_flag=True, help="Spread them over two hours instead of one a second and sensor.")
@click.option(
    "--runs", type=click.IntRange(min=1), default=1, show_default=True, help="Repeat; tells min, median, max."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout; progress goes to stderr.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the stack. Default: a temporary one.")
@click.option("--port-base", type=int, default=PORT_BASE + 200, show_default=True, help="First port of its block.")
@click.pass_context
def pipeline(
    ctx: click.Context,
    readings: int,
    sparse: bool,
    runs: int,
    as_json: bool,
    data_dir: Path | None,
    port_base: int,
) -> None:
    """Store a backlog with one worker: decode, validate, enrich, raw rows, 1m and 1h windows, checkpoints, all on.

    A fleet of 1,000 devices with 4 sensors each, one reading a second and sensor, 5 % up to 3 s out of order, 1 %
    resends, one reading a message, 4 partitions. The same topic is first read by consume() alone: the ceiling. Runs on
    an embedded stack of its own, or on the one that runs on --data-dir.

    \b
    Example:
      weir bench pipeline
      weir bench pipeline --sparse --runs 3 --json

    \b
    Exit codes:
      0    measured, and every reading that was sent is stored once
      1    the stack or the worker failed, or readings are missing
      2    wrong usage or settings
      130  interrupted
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    console = Console(stderr=True, highlight=False)
    measured: list[PipelineRun] = []
    with running_testbed(data_dir, port_base, console) as testbed, _StepView(console) as view:
        for number in range(1, runs + 1):
            view.prefix = f"run {number} of {runs}: " if runs > 1 else ""
            measured.append(measure(testbed, Shape(readings, sparse), view))
    if as_json:
        click.echo(json.dumps(_as_json(measured)))
    else:
        _print(measured)
    ctx.exit(_verdict(measured))


class _StepView:
    """What is going on now: one changing line on a terminal, else a line every few seconds."""

    def __init__(self, console: Console) -> None:
        self.prefix = ""
        self._console = console
        self._status = console.status("starting")
        self._said = float("-inf")

    def __call__(self, what: str) -> None:
        if self._console.is_terminal:
            self._status.update(self.prefix + what)
        elif time.monotonic() - self._said >= LINE_SECONDS:
            self._console.print(self.prefix + what)
            self._said = time.monotonic()

    def __enter__(self) -> _StepView:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()


def _as_json(measured: list[PipelineRun]) -> dict[str, object]:
    """One run's figures; of several runs the medians, and min, median and max of each beside them."""
    values = {name: [round(getattr(run, name), 4) for run in measured] for name, _, _ in FIGURES}
    result: dict[str, object] = {"readings": measured[0].readings}
    result |= {name: median(runs) for name, runs in values.items()}
    result |= {"distinct": measured[0].distinct, "stored": [run.stored for run in measured]}
    if len(measured) > 1:
        result["runs"] = len(measured)
        for statistic, of in (("min", min), ("median", median), ("max", max)):
            result[statistic] = {name: of(runs) for name, runs in values.items()}
    return result


def _print(measured: list[PipelineRun]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(f"{measured[0].readings:,} readings")
    columns = ("",) if len(measured) == 1 else ("min", "median", "max")
    for name in columns:
        table.add_column(name, justify="right")
    for field, label, form in FIGURES:
        values = [getattr(run, field) for run in measured]
        shown = values if len(values) == 1 else [min(values), median(values), max(values)]
        table.add_row(label, *(form.format(value) for value in shown))
    Console(highlight=False).print(table)


def _verdict(measured: list[PipelineRun]) -> int:
    busy = max(run.others_cpu_share for run in measured)
    if busy > BUSY_SHARE:
        click.echo(f"Other programs took up to {busy:.0%} of the CPU: the rates are too low, compare ratios.", err=True)
    for run in measured:
        if not run.complete:
            click.echo(f"weir: {run.distinct:,} readings were sent, and {run.stored:,} are stored.", err=True)
            return 1
    click.echo(f"All {measured[0].distinct:,} distinct readings are stored, each once.", err=True)
    return 0
