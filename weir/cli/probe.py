"""``weir probe``: a device of Weir's own that measures from posting a reading to its being queryable."""

from __future__ import annotations

import json
import logging
import sys
import threading
from contextlib import closing

import click
from prometheus_client import start_http_server

from weir.demo.interrupt import Interrupt
from weir.errors import ConfigError
from weir.probe.conditions import Conditions
from weir.probe.metrics import ProbeMetrics
from weir.probe.once import probe_once
from weir.probe.outcome import Outcome
from weir.probe.posting import Poster
from weir.probe.prober import Prober
from weir.probe.sight import Sight
from weir.settings import ProbeSettings, Settings, load_settings

TICK_SECONDS = 0.25

logger = logging.getLogger(__name__)


@click.command(name="probe")
@click.option("--once", is_flag=True, help="Send one, print its milliseconds and end.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a probe on stdout.")
@click.pass_context
def command(ctx: click.Context, once: bool, as_json: bool) -> None:
    """Post a reading every second as a device of its own, and ask ClickHouse until a query shows it.

    The seconds are served as Prometheus metrics on a page of its own (WEIR_PROBE__PORT), beside failures by reason and
    the age of the last success. Each counts from when it was due, and a slow one does not hold up the next. What goes
    wrong is told once when it begins and once when it is over; the prober goes on.

    It needs a device that is registered, and a key for it in WEIR_PROBE__KEY; it registers nothing by itself.

    \b
    Example:
      weir orgs add weir-probe
      weir metrics add weir.probe_latency --unit millisecond
      weir devices add weir-probe --org weir-probe
      weir sensors add weir-probe latency --metric weir.probe_latency
      export WEIR_PROBE__KEY=$(weir keys add --device weir-probe)
      weir probe --once
      weir probe

    \b
    Exit codes:
      0    stopped as asked; with --once: the reading is queryable
      1    with --once: it is not, the sentence says why; else it crashed
      2    wrong usage or settings, or there is no key
    """
    settings = load_settings()
    with closing(Poster(settings)) as poster, closing(Sight(settings)) as sight:
        if once:
            ctx.exit(_report(probe_once(settings.probe, poster, sight), as_json))
        _stay(settings, poster, sight, as_json)


def _stay(settings: Settings, poster: Poster, sight: Sight, as_json: bool) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every post
    metrics, lines = ProbeMetrics(), threading.Lock()

    def tell(outcome: Outcome) -> None:
        metrics.note(outcome)
        if as_json:
            with lines:
                click.echo(json.dumps(told(outcome)))

    _serve_metrics(settings.probe)
    conditions = Conditions(logger.warning, logger.info)
    logger.info("Probing every %g s through %s.", settings.probe.interval_seconds, poster.url)
    with Interrupt() as interrupt, Prober(settings.probe, poster, sight, conditions, tell) as prober:
        wake = threading.Event()
        while not interrupt.wanted:
            prober.check()
            wake.wait(TICK_SECONDS)


def _serve_metrics(settings: ProbeSettings) -> None:
    """Raises :class:`~weir.errors.ConfigError` when the port is taken."""
    try:
        start_http_server(settings.port, settings.host)
    except OSError as error:
        raise ConfigError(
            f"The prober cannot listen on {settings.host}:{settings.port} ({error.strerror}); another one may run "
            "already: set WEIR_PROBE__PORT to a free port."
        ) from error


def _report(outcome: Outcome, as_json: bool) -> int:
    """Say what became of one probe; the exit code."""
    if as_json:
        click.echo(json.dumps(told(outcome)))
    if outcome.failure is not None:
        click.echo(f"weir: {outcome.failure.why}", err=True)
        return 1
    if not as_json:
        shown = told(outcome)
        click.echo(f"Queryable after {shown['queryable_ms']} ms, acknowledged after {shown['acknowledged_ms']} ms.")
    return 0


def told(outcome: Outcome) -> dict[str, object]:
    """A probe as ``--json`` prints it; ``due`` in seconds since 1970, ``reason`` null when it was seen."""
    return {
        "due": round(outcome.due, 3),
        "acknowledged_ms": _ms(outcome.acknowledged_seconds),
        "queryable_ms": _ms(outcome.queryable_seconds),
        "reason": None if outcome.failure is None else outcome.failure.reason,
        "why": None if outcome.failure is None else outcome.failure.why,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1_000, 1)
