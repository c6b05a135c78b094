"""``weir load``: readings of a simulated fleet, with a ledger of what was acknowledged."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from weir.demo.interrupt import Interrupt
from weir.errors import UsageError
from weir.load.gateway_door import Door
from weir.load.load import Load, Tally, register_fleet
from weir.load.plan import LoadPlan
from weir.settings import load_settings

INTERRUPTED: Final = 130
TICK_SECONDS: Final = 0.25
LINE_SECONDS: Final = 5.0
"""Where there is no terminal, progress is not told more often."""

KEY_VARIABLE: Final = "WEIR_GATEWAY_KEY"
"""Not an option: whoever lists processes would read it."""

_SHARE = click.FloatRange(0.0, 1.0)
_MOMENTS = ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"]


@click.command(name="load")
@click.option("--ledger", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
@click.option("--append", is_flag=True, help="Add a session to a ledger that is there already.")
@click.option("--devices", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="Devices.")
@click.option("--sensors", type=click.IntRange(1, 1_000), default=4, show_default=True, help="Sensors of each.")
@click.option("--rate", type=click.FloatRange(0), default=1_000, show_default=True, help="Readings/s; 0: full speed.")
@click.option("--readings", type=click.IntRange(1), help="End after as many.")
@click.option("--seconds", type=click.FloatRange(0.1), help="End after this time. Default: 10, without --readings.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of everything drawn.")
@click.option("--prefix", help="Start of the device ids. Default: load- and the time, so that runs do not mix.")
@click.option("--org", default="load", show_default=True, help="Organisation to register the devices in.")
@click.option("--register/--no-register", default=True, show_default=True, help="Register the devices in Postgres.")
@click.option("--disorder", type=_SHARE, default=0.0, help="Share that comes up to 3 s after later ones.")
@click.option("--resends", type=_SHARE, default=0.0, help="Share that is sent twice.")
@click.option("--conflicts", type=_SHARE, default=0.0, help="Share that is sent again with another value.")
@click.option("--late", type=_SHARE, default=0.0, help="Share that was measured earlier, up to --late-minutes.")
@click.option("--late-minutes", type=click.FloatRange(0), default=10, show_default=True, help="How much earlier.")
@click.option("--texts", type=_SHARE, default=0.0, help="Share that has a text instead of a number.")
@click.option("--bad", type=_SHARE, default=0.0, help="Share that is replaced by a record that must be refused.")
@click.option("--begin", type=click.DateTime(_MOMENTS), help="First event time, UTC. Default: now.")
@click.option("--speed", type=click.FloatRange(0.001), default=1.0, help="Event time against the clock, with --begin.")
@click.option(
    "--packed",
    type=click.IntRange(0, 10_000),
    default=0,
    help="Readings of one message at most: those of a device that are made within 50 ms. Default: one each.",
)
@click.option("--json-values/--avro-values", default=None, help="Default: Avro to Kafka, JSON to a gateway.")
@click.option("--gateway", metavar="URL", help="Post to this gateway instead of writing to Kafka.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"File with the gateway's key in its first line. Default: the variable {KEY_VARIABLE}.",
)
@click.option(
    "--patience", type=click.FloatRange(1), default=120, show_default=True, help="Seconds to wait for an answer."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout; progress goes to stderr.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    ledger: Path,
    append: bool,
    readings: int | None,
    seconds: float | None,
    prefix: str | None,
    org: str,
    register: bool,
    begin: datetime | None,
    json_values: bool | None,
    gateway: str | None,
    key_file: Path | None,
    patience: float,
    as_json: bool,
    **options: float,
) -> None:
    """Send readings of a simulated fleet to Kafka or through a gateway, and keep a ledger of every one of them.

    Whatever is sent stands in the ledger, on disk, before it goes out; then what became of it: acknowledged, spooled
    (acknowledged by a gateway while Kafka was away), failed (refused) or unknown (no answer). `weir verify` compares
    what is stored with it. A broker or a gateway that goes away is waited for: what a gateway did not answer is posted
    again. Ctrl-C ends in order; a second one does not wait for acknowledgements.

    \b
    Example:
      weir load --ledger run.ledger --rate 5000 --seconds 60 --disorder 0.05 --resends 0.02 --late 0.01 --bad 0.001
      WEIR_GATEWAY_KEY=wr_... weir load --ledger posted.ledger --gateway http://127.0.0.1:29405 --rate 500
      weir load --ledger backlog.ledger --rate 0 --readings 1000000 --begin 2026-01-31T12:00 --json
      weir verify run.ledger --wait 60

    \b
    Exit codes:
      0    everything sent was acknowledged, or was bad and refused at the gateway
      1    something else failed or is unknown, or a server is away; the ledger says what
      2    wrong usage or settings
      130  interrupted; the ledger is complete
    """
    settings = load_settings()
    plan = LoadPlan(
        prefix=prefix or f"load-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}",
        readings=readings or 0,
        seconds=seconds or (0.0 if readings else 10.0),
        json_values=gateway is not None if json_values is None else json_values,
        begin_ms=None if begin is None else round(begin.replace(tzinfo=UTC).timestamp() * 1000),
        **options,  # type: ignore[arg-type]  # the options that are named as the plan's fields
    )
    console = Console(stderr=True, highlight=False)
    door = None if gateway is None else Door(gateway, _key(key_file))
    if register:
        register_fleet(settings, plan, org)
    load = Load(settings, plan, ledger, append=append, patience_seconds=patience, door=door)
    interrupted = _run(load, console)
    _report(load.tally(), ledger, console, as_json)
    tally = load.finish()
    whole = tally.acknowledged + tally.turned_away == tally.sent
    ctx.exit(1 if not whole else INTERRUPTED if interrupted else 0)


def _key(file: Path | None) -> str:
    """The key of the gateway. Raises :class:`UsageError` when there is none."""
    if file is None:
        key = os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise UsageError(f"--gateway needs a key: put it into {KEY_VARIABLE}, or name a --key-file.")
        return key
    try:
        return (file.read_text(encoding="ascii").splitlines() or [""])[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The key file {file} cannot be read: {type(error).__name__}.") from None


def _run(load: Load, console: Console) -> bool:
    """Show progress until its end; say whether it was interrupted."""
    said = time.monotonic()
    status = console.status("starting") if console.is_terminal else None
    with Interrupt() as interrupt:
        try:
            load.start()
            if status is not None:
                status.start()
            while load.is_alive():
                load.join(TICK_SECONDS)
                if interrupt.wanted:
                    load.stop()
                if status is not None:
                    status.update(_line(load.tally()))
                elif time.monotonic() - said >= LINE_SECONDS:
                    console.print(_line(load.tally()), soft_wrap=True)
                    said = time.monotonic()
        except KeyboardInterrupt:
            load.give_up()
        finally:
            if status is not None:
                status.stop()
        load.join()
        return interrupt.wanted


def _line(tally: Tally) -> str:
    rate = tally.acknowledged / tally.seconds if tally.seconds else 0.0
    line = f"{tally.seconds:.0f} s: sent {tally.sent:,}, acknowledged {tally.acknowledged:,} ({rate:,.0f}/s)"
    line += f", failed {tally.failed:,}, unknown {tally.unknown:,}"
    if tally.turned_away:
        line += f" ({tally.turned_away:,} of the failed were bad)"
    if tally.p50 is not None and tally.p99 is not None:
        line += f"; acknowledged within {tally.p50 * 1e3:.1f} ms (p50), {tally.p99 * 1e3:.1f} ms (p99)"
    return line


def _report(tally: Tally, ledger: Path, console: Console, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**asdict(tally), "ledger": str(ledger), "ledger_bytes": ledger.stat().st_size}))
        return
    console.print(_line(tally), soft_wrap=True)
    console.print(f"The ledger is {ledger}; compare with `weir verify {ledger} --wait 60`.", soft_wrap=True)
