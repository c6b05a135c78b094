"""``weir demo``: the main job end to end, with this machine as a device."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console

from weir.demo.live_view import LiveView
from weir.demo.result import Result
from weir.demo.result_page import print_result
from weir.demo.run import DemoOptions, run_demo
from weir.demo.running_stack import RunningStack, stack_for_demo
from weir.settings import PORT_BASE
from weir.stack.console import advice
from weir.stack.plan import StackPlan, default_data_dir

INTERRUPTED = 130


@click.command(name="demo")
@click.option("--devices", type=click.IntRange(0, 10_000), default=20, show_default=True, help="Simulated devices.")
@click.option("--minutes", type=click.FloatRange(0.1, 1_440), default=2.5, show_default=True, help="How long to send.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of everything simulated.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of all data. Default: WEIR_DATA_DIR or .weir")
@click.option("--port-base", type=int, default=PORT_BASE, show_default=True, help="First port, if it starts the stack.")
@click.option("--keep-up", is_flag=True, help="Leave the stack running at the end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout; progress goes to stderr.")
@click.pass_context
def command(
    ctx: click.Context,
    devices: int,
    minutes: float,
    seed: int,
    data_dir: Path | None,
    port_base: int,
    keep_up: bool,
    as_json: bool,
) -> None:
    """Send readings of this machine and of a simulated fleet through the whole pipeline, and check what is stored.

    Readings are posted to the gateway with a key that is made for the run. Bad records that a device could send are
    posted, too, and counted as refused there; those that only a producer could write go to Kafka as dead letters.

    Uses the stack that is up on the data folder, or starts one and takes it down at the end. Sends for about --minutes
    (from one minute up it ends with a whole minute), waits until the last minute is closed, and compares every reading,
    window and dead letter with an independent recomputation. Ctrl-C ends it early and compares what was sent by then.

    \b
    Example:
      weir demo
      weir demo --devices 100 --minutes 5 --keep-up

    \b
    Exit codes:
      0    nothing is lost, doubled or different
      1    something is, or the demo could not run
      2    wrong usage or settings
      130  interrupted; what was sent by then was compared and is right, or nothing was sent yet
    """
    plan = StackPlan((data_dir or default_data_dir()).absolute(), port_base)
    console = Console(stderr=as_json, highlight=False)
    try:
        with stack_for_demo(plan, keep_up, console) as stack:
            result = run_demo(stack, DemoOptions(devices, minutes, seed), LiveView(console))
            _report(result, console, as_json)
            _next_steps(stack, console, runs_on=keep_up or not stack.started)
    except KeyboardInterrupt:
        console.print("Interrupted: nothing was compared.")
        ctx.exit(INTERRUPTED)
    ctx.exit(1 if not result.ok else INTERRUPTED if result.interrupted else 0)


def _report(result: Result, console: Console, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result.to_dict()))
    else:
        print_result(console, result)


def _next_steps(stack: RunningStack, console: Console, runs_on: bool) -> None:
    default = stack.plan.data_dir == default_data_dir()
    where = "" if default else f" --data-dir {stack.plan.data_dir}"
    up = f"weir up --detach{where}"
    if stack.plan.port_base != PORT_BASE:
        up += f" --port-base {stack.plan.port_base}"
    lines = [] if runs_on else [up]
    how = advice(stack.plan, default_dir=default)
    lines += [how] if how else []
    question = "SELECT sensor, max(value) FROM readings WHERE device_id LIKE 'host-%' GROUP BY sensor"
    lines += [f'weir query "{question}"', f"weir down{where}"]
    console.print("Next:\n  " + "\n  ".join(lines), soft_wrap=True, markup=False)
