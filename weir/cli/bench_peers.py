"""``weir bench peers``: Weir beside other stream processors, in one run."""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

import click
from rich.console import Console
from rich.table import Table

from bench.peers.comparison import PeerRun, Spread, Standing, standing
from bench.peers.measure import PEERS, Peer, run_peer
from bench.pipeline import PipelineRun, Shape, measure
from bench.testbed import Testbed, fresh_namespace
from weir.cli.bench_options import Bench, bench_options
from weir.cli.figures import tell_json, verdict, warn_when_busy
from weir.cli.step_view import StepView
from weir.errors import StackError

FILE_WIDTH = 150
"""Where nobody watches, the table need not fit a narrow terminal."""


@click.command(name="peers")
@click.option(
    "--only",
    type=click.Choice([peer.name for peer in PEERS]),
    multiple=True,
    help="Measure this peer only; may be given several times. Default: all.",
)
@click.option(
    "--messages",
    type=click.IntRange(min=1_000),
    default=2_000_000,
    show_default=True,
    help="Readings for Weir, and the most for a peer, which gets as many as it can do in about 20 s.",
)
@bench_options()
@click.pass_context
def peers(ctx: click.Context, bench: Bench, only: tuple[str, ...], messages: int) -> None:
    """Measure Faust, Quix Streams, Bytewax and Pathway beside Weir: the same readings in 1-minute windows.

    Each computes count, sum, min and max of every sensor's minutes from single Avro readings, one process each; a
    result that differs from the right one is no result. Weir does all that it does: see `weir bench pipeline`, whose
    ceiling, consume() alone, stands beside. The first time, peers are installed into the cache folder, which takes
    a gigabyte and a half and some minutes; one that cannot be installed or fails is named, and the others go on.

    \b
    Example:
      weir bench peers
      weir bench peers --only bytewax --only pathway --runs 3 --json

    \b
    Exit codes:
      0    measured, and Weir stored every reading once; peers may have failed, targets may be missed
      1    the stack or Weir failed, or readings are missing
      2    wrong usage or settings
      130  interrupted
    """
    chosen = [peer for peer in PEERS if not only or peer.name in only]
    weir: list[PipelineRun] = []
    outcomes: dict[str, list[PeerRun | str]] = {peer.name: [] for peer in chosen}
    with bench.testbed() as (testbed, view):
        for _ in bench.counted(view):
            weir.append(measure(testbed, Shape(messages), view))
            for name, outcome in _run_peers(testbed, chosen, messages, view).items():
                outcomes[name].append(outcome)
    standings = [standing(name, of, weir) for name, of in outcomes.items()]
    if bench.as_json:
        tell_json(to_dict(weir, standings))
    else:
        _print(weir, standings)
    shares = [run.others_cpu_share for of in outcomes.values() for run in of if isinstance(run, PeerRun)]
    warn_when_busy(max([run.others_cpu_share for run in weir] + shares))
    ctx.exit(verdict(weir))


def _run_peers(testbed: Testbed, chosen: list[Peer], messages: int, view: StepView) -> dict[str, PeerRun | str]:
    """What each peer gave, or why it gave nothing."""
    outcomes: dict[str, PeerRun | str] = {}
    with fresh_namespace(testbed) as settings:
        for peer in chosen:
            try:
                outcomes[peer.name] = run_peer(testbed, settings, peer, messages, view)
            except StackError as error:
                outcomes[peer.name] = str(error)
    return outcomes


class _Own(NamedTuple):
    """Weir's and the ceiling's figures."""

    name: str
    readings_per_second: Spread
    cpu_seconds_per_million: Spread


def _own(weir: list[PipelineRun]) -> tuple[_Own, _Own]:
    return (
        _Own(
            "weir",
            Spread.of(run.readings_per_second for run in weir),
            Spread.of(run.cpu_seconds_per_million for run in weir),
        ),
        _Own(
            "ceiling",
            Spread.of(run.ceiling_readings_per_second for run in weir),
            Spread.of(run.ceiling_cpu_seconds_per_million for run in weir),
        ),
    )


def to_dict(weir: list[PipelineRun], standings: list[Standing]) -> dict[str, object]:
    """For scripts; a figure that there is none of is null, a peer that failed has a ``reason``."""
    own, ceiling = _own(weir)
    return {
        "readings": weir[0].readings,
        "runs": len(weir),
        "distinct": weir[0].distinct,
        "stored": [run.stored for run in weir],
        "others_cpu_share": Spread.of(run.others_cpu_share for run in weir)._asdict(),
        **{each.name: _plain(each._asdict()) for each in (own, ceiling)},
        "peers": {each.name: _plain(asdict(each)) | {"target": each.target, "met": each.met} for each in standings},
    }


def _plain(fields: dict[str, object]) -> dict[str, object]:
    """Spreads as objects, rounded; the name stands before."""
    plain = {name: _rounded(value) if isinstance(value, Spread) else value for name, value in fields.items()}
    del plain["name"]
    return plain


def _rounded(spread: Spread) -> dict[str, float]:
    return {name: round(value, 4) for name, value in spread._asdict().items()}


def _print(weir: list[PipelineRun], standings: list[Standing]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, FILE_WIDTH)
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in (
        "readings/s",
        "CPU s/million",
        "windows, right",
        "Weir is faster by",
        "its CPU over Weir's",
        "ceiling is faster by",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for own in _own(weir):
        table.add_row(_title(own.name), _text(own.readings_per_second), _text(own.cpu_seconds_per_million))
    for each in standings:
        if each.reason is None:
            table.add_row(
                _title(each.name),
                _text(each.readings_per_second),
                _text(each.cpu_seconds_per_million),
                f"{each.windows:,}",
                *(_text(ratio) for ratio in (each.weir_ratio, each.weir_cpu_ratio, each.ceiling_ratio)),
            )
    console.print(table)
    for each in standings:
        if each.reason is not None:
            console.print(f"{_title(each.name)}: no figures: {each.reason}", soft_wrap=True, markup=False)
        elif each.target is not None and each.weir_ratio is not None:
            found = f"{each.weir_ratio.median:,.1f} times {_title(each.name)}, wanted {each.target:,.0f}"
            console.print(f"{found}: {'met' if each.met else 'missed'}", soft_wrap=True)


def _title(name: str) -> str:
    own = {"weir": "Weir, everything on", "ceiling": "consume() alone"}
    return own[name] if name in own else next(peer.title for peer in PEERS if peer.name == name)


def _text(spread: Spread | None) -> str:
    """One figure, or min, median and max where they differ."""
    if spread is None:
        return ""
    form = "{:,.0f}" if spread.median >= 100 else "{:,.2f}" if spread.median < 10 else "{:,.1f}"
    values = (spread.median,) if spread.min == spread.max else spread
    return " / ".join(form.format(value) for value in values)
