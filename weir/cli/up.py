"""``weir up``: start the embedded stack."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from weir.settings import PORT_BASE
from weir.stack.console import StartView, advice
from weir.stack.detached import INTERRUPTED, start_detached, stop_on_signals, watch_to_the_end
from weir.stack.downloads import ensure_artifacts
from weir.stack.endpoints import Endpoints
from weir.stack.extra import require_extra
from weir.stack.plan import PARTS, StackPlan, default_data_dir
from weir.stack.supervisor import Stack, StopRequested


@click.command(name="up")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of all data. Default: WEIR_DATA_DIR or .weir")
@click.option("--port-base", type=int, default=PORT_BASE, show_default=True, help="First port of the block.")
@click.option("--workers", type=int, default=1, show_default=True, help="Faust workers to run; 0 for none.")
@click.option("--only", help=f"Run only these parts, as a,b,c out of {','.join(PARTS)}.")
@click.option("--detach", is_flag=True, help="Return when everything is healthy; `weir down` stops it.")
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as one JSON line; progress goes to stderr.")
@click.pass_context
def command(
    ctx: click.Context,
    data_dir: Path | None,
    port_base: int,
    workers: int,
    only: str | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Start Kafka, Postgres, the schema registry, ClickHouse, the API, the gateway and the workers on this
    machine.

    Stays until Ctrl-C and then takes everything down; with --detach it returns and leaves them running. The first
    start downloads Kafka and the registry (about 200 MB) into the user's cache folder (WEIR_CACHE_DIR); later ones need
    no network. Data stays in the data folder. Once the servers are up, `weir migrate` is run, unless --only leaves out
    gateway and faust.

    \b
    Example:
      weir up --detach
      weir up --data-dir /tmp/try --port-base 21000 --only kafka,postgres,registry

    \b
    Exit codes:
      0    stopped as asked, or running with --detach
      1    a part could not start or ended by itself; nothing runs
      2    wrong usage
      130  interrupted while it started; nothing runs
    """
    parts = tuple(name.strip() for name in only.split(",")) if only else PARTS
    plan = StackPlan((data_dir or default_data_dir()).absolute(), port_base, workers, parts)
    console = Console(stderr=as_json, highlight=False)
    require_extra()
    cache = ensure_artifacts(console)
    if detach:
        with StartView(console) as view:
            endpoints = start_detached(plan, cache, view)
        _announce(plan, endpoints, console, as_json)
        return
    ctx.exit(_stay(plan, cache, console, as_json))


def _stay(plan: StackPlan, cache: Path, console: Console, as_json: bool) -> int:
    """Start in this process, stay until asked to stop; the exit code."""
    view = StartView(console)
    stack = Stack(plan, cache, view)
    stop_on_signals(stack)
    try:
        with view:
            stack.start()
    except StopRequested:
        return INTERRUPTED
    _announce(plan, stack.endpoints, console, as_json)
    console.print("Ctrl-C takes it down.")
    code = watch_to_the_end(stack)
    console.print("The stack is down.")
    return code


def _announce(plan: StackPlan, endpoints: Endpoints, console: Console, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(endpoints.to_dict()))
    how = advice(plan, default_dir=plan.data_dir == default_data_dir())
    if how:
        console.print(f"Other commands find this stack after:\n  {how}", soft_wrap=True, markup=False)
