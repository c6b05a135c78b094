"""``weir bench all``: every benchmark, and docs/performance.md from what they gave."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from bench.peers.environment import is_installed
from bench.peers.measure import PEERS
from bench.report.plan import MEASUREMENTS, MODULES, Measurement, Planned, plan, seconds
from bench.report.plots import require_matplotlib
from bench.report.results import Results
from bench.report.run import run
from bench.report.write import DOCS, FOLDER, PAGE, check, write
from bench.testbed import running_testbed
from weir.errors import StackError, UsageError
from weir.settings import PORT_BASE

QUICK_FOLDER = Path("build")
"""Figures of a quick run do not belong on the page."""


@click.command(name="all")
@click.option(
    "--only",
    type=click.Choice([each.name for each in MEASUREMENTS]),
    multiple=True,
    help="Run this benchmark only; may be given several times. Default: all.",
)
@click.option("--quick", is_flag=True, help="A minute or so with figures that mean nothing; writes into build/.")
@click.option("--render-only", is_flag=True, help="Measure nothing; make page and plots from the results there are.")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"Folder of {PAGE} and {FOLDER}/. Default: docs/ of this checkout.",
)
@click.option(
    "--runs", type=click.IntRange(min=1), help="Instead of each benchmark's own number of them, mostly three."
)
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the stack. Default: a temporary one.")
@click.option("--port-base", type=int, default=PORT_BASE + 200, show_default=True, help="First port of its block.")
@click.pass_context
def everything(
    ctx: click.Context,
    only: tuple[str, ...],
    quick: bool,
    render_only: bool,
    into: Path | None,
    runs: int | None,
    data_dir: Path | None,
    port_base: int,
) -> None:
    """Run every benchmark several times, one after another on one embedded stack, and write docs/performance.md anew.

    Results go to performance/results.json as soon as each benchmark has ended; tables and plots are made from that
    file. A benchmark that fails, is skipped or is interrupted keeps the last results that it had. Nothing else should
    run on the machine meanwhile: each table tells how much of the CPU others took.

    \b
    Example:
      weir bench all
      weir bench all --only pipeline --only sparse
      weir bench all --quick
      weir bench all --render-only

    \b
    Exit codes:
      0    every benchmark that could be run was, and the page is written; targets may be missed
      1    the stack or a benchmark failed; what the others gave is written
      2    wrong usage or settings
      130  interrupted; what was measured before is written
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    into = into or (QUICK_FOLDER if quick else DOCS)
    results = Results(into / FOLDER)
    if render_only:
        click.echo(f"{write(results, into)} is written.", err=True)
        return
    if quick and results.measured:
        raise UsageError(
            f"{results.path} has measured results, and --quick only tries out; give --into another folder."
        )
    require_matplotlib()
    check(results, into)  # before an hour is spent
    known = _options(ctx)
    planned = plan(only, known, quick, [peer.title for peer in PEERS if not is_installed(peer.name, peer.lock)])
    _announce(planned, results, quick)
    console = Console(stderr=True, highlight=False)
    with _written_at_the_end(results, into), running_testbed(data_dir, port_base, console) as testbed:
        chosen = [each if runs is None else replace(each, runs=runs) for each in planned.measurements]
        failed = _run_each(chosen, known, testbed.plan.data_dir, quick, results)
    for name, why in failed.items():
        click.echo(f"weir: {name} failed, and its last results stand: {why}", err=True)
    ctx.exit(1 if failed else 0)


def _options(ctx: click.Context) -> dict[str, set[str]]:
    """The options that each subcommand of ``weir bench`` knows, and those of the modules that are none."""
    group = ctx.parent.command if ctx.parent is not None else None
    commands = group.commands if isinstance(group, click.Group) else {}
    known = {name: {each for one in command.params for each in one.opts} for name, command in commands.items()}
    return known | {name: set(options) for name, options in MODULES.items()}


def _announce(planned: Planned, results: Results, quick: bool) -> None:
    for name, why in planned.skipped.items():
        click.echo(f"{name} is skipped: {why}.", err=True)
    earlier = {name: entry.seconds for name, entry in results}
    whole = seconds(planned.measurements, quick, earlier)
    many = len(planned.measurements)
    click.echo(f"{many} benchmark{'' if many == 1 else 's'}, about {duration(whole)} and the servers' start.", err=True)


def _run_each(
    measurements: Sequence[Measurement],
    known: Mapping[str, set[str]],
    data_dir: Path,
    quick: bool,
    results: Results,
) -> dict[str, str]:
    """Run one after the other and keep what each gave; returns why some failed."""
    failed: dict[str, str] = {}
    for number, each in enumerate(measurements, start=1):
        expected = seconds([each], quick, {name: entry.seconds for name, entry in results})
        click.echo(f"{number} of {len(measurements)}: {each.name}, about {duration(expected)}", err=True)
        try:
            entry = run(each, known[each.command], data_dir, quick)
        except StackError as error:
            failed[each.name] = str(error)
            click.echo(f"{each.name} failed: {error}", err=True)
            continue
        results.put(each.name, entry)
        click.echo(f"{each.name}: done after {duration(entry.seconds)}", err=True)
    return failed


@contextmanager
def _written_at_the_end(results: Results, into: Path) -> Iterator[None]:
    """Write page and plots, whatever ended the measuring."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Interrupted: what was measured is kept.", err=True)
        raise
    finally:
        click.echo(f"{write(results, into)} is written.", err=True)


def duration(seconds: float) -> str:
    """As a person says it."""
    return f"{seconds:,.0f} s" if seconds < 100 else f"{seconds / 60:,.0f} min"
