"""``weir bench profile``: where a worker's CPU goes, stage by stage."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench.flame import flame_svg
from bench.pipeline import Shape
from bench.profile import Profile, measure
from bench.sampler import py_spy
from weir.cli.bench_options import Bench, bench_options
from weir.cli.figures import tell_json

MOST_UNACCOUNTED = 0.1
"""Share of the CPU of unknown threads above which the table is not to be trusted."""


@click.command(name="profile")
@click.option("--readings", type=click.IntRange(min=10_000), default=3_000_000, show_default=True, help="How many.")
@click.option("--sparse", is_flag=True, help="Spread them over two hours instead of one a second and sensor.")
@click.option("--native", is_flag=True, help="Sample C frames, too: slower, but it shows garbage collections.")
@click.option(
    "--flame", type=click.Path(dir_okay=False, path_type=Path), help="Write a flame graph (SVG) to this file as well."
)
@bench_options()
def profile(bench: Bench, readings: int, sparse: bool, native: bool, flame: Path | None) -> None:
    """Look into a worker while it stores a backlog, and say what each stage costs in nanoseconds of CPU a reading.

    The backlog and the worker are those of `weir bench pipeline`; py-spy (the extra `bench`) samples the stacks, the
    kernel says how much CPU each thread had. Several runs count as one. Being looked into costs the worker something:
    compare shares with shares.

    \b
    Example:
      weir bench profile
      weir bench profile --readings 1000000 --flame flame.svg --json

    \b
    Exit codes:
      0    measured
      1    the stack or the worker failed, or py-spy is missing or may not look into the worker
      2    wrong usage or settings
      130  interrupted
    """
    py_spy()  # before anything is started
    if flame is not None and not flame.absolute().parent.is_dir():
        raise click.UsageError(f"There is no folder {flame.parent} for the flame graph; make it first.")
    runs = bench.repeat(lambda testbed, view: measure(testbed, Shape(readings, sparse), view, native=native))
    measured = reduce(Profile.and_, runs)
    if flame is not None:
        flame.write_text(flame_svg(measured.stacks, f"A worker storing {measured.readings:,} readings"))
    if bench.as_json:
        tell_json(_figures(measured, len(runs)))
    else:
        _print(measured)
    if measured.unaccounted_share > MOST_UNACCOUNTED:
        click.echo(
            f"{measured.unaccounted_share:.0%} of the CPU went to threads that ended meanwhile, and stands under "
            "`other`; profile more readings.",
            err=True,
        )


def _figures(measured: Profile, runs: int) -> dict[str, object]:
    return {
        "runs": runs,
        "profiled_readings": measured.readings,
        "cpu_seconds_per_million": round(measured.cpu_seconds_per_million, 4),
        "cpu_seconds": round(measured.cpu_seconds, 3),
        "sampled_seconds": round(measured.sampled_seconds, 3),
        "unaccounted_share": round(measured.unaccounted_share, 4),
        "samples": measured.samples,
        "stages": [each._asdict() for each in measured.stages],
    }


def _print(measured: Profile) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(f"{measured.readings:,} readings")
    for name in ("CPU ns a reading", "share"):
        table.add_column(name, justify="right")
    for each in measured.stages:
        table.add_row(each.stage, f"{each.ns_per_reading:,.0f}", f"{each.share:.1%}")
    table.add_row("all", f"{measured.cpu_seconds_per_million * 1_000:,.0f}", "", style="bold")
    Console(highlight=False).print(table)
    click.echo(
        f"{measured.samples:,} samples. The kernel counted {measured.cpu_seconds:.2f} s of CPU, "
        f"{measured.unaccounted_share:.1%} of it in threads that ended meanwhile; by the samples threads ran "
        f"{measured.sampled_seconds:.2f} s."
    )
