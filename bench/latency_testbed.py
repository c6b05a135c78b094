"""What stands around a measurement of latency: registered devices, a gateway, a prober that has been seen once."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Final

import polars as pl
from pydantic import SecretStr

from bench.answering import await_ok
from bench.fleet import register_fleet
from bench.testbed import Testbed
from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from connectors.entities.key_models import KeyCreate
from connectors.postgres.devices import register
from weir.errors import StackError
from weir.probe.conditions import Conditions
from weir.probe.once import probe_once
from weir.probe.outcome import Outcome
from weir.probe.posting import Poster
from weir.probe.prober import Prober
from weir.probe.sight import Sight
from weir.settings import Settings
from weir.stack.child import Child

ORGANISATION: Final = "bench"
INTERVAL_SECONDS: Final = 0.1
"""Ten probes a second: enough for a p99. ClickHouse is asked as often as with one, for all that wait at once."""

START_SECONDS: Final = 60.0

Report = Callable[[str], None]


def registered(settings: Settings, sensors: pl.DataFrame) -> Settings:
    """Settings with a gateway and a prober of this benchmark's own; registers ``sensors`` and the prober's device."""
    with socket.socket() as free:
        free.bind((settings.gateway.host, 0))
        port = free.getsockname()[1]
    gateway = {"port": port, "data_dir": settings.worker.data_dir / "gateway"}
    register_fleet(settings, sensors)
    probe = settings.probe
    own = pl.DataFrame({"device_id": [probe.device], "sensor": [probe.sensor]})
    register(settings.postgres.dsn.get_secret_value(), ORGANISATION, None, own)
    with open_directory(settings.postgres.dsn.get_secret_value(), SYSTEM) as directory:
        key = directory.keys.create(KeyCreate(organisation=ORGANISATION, name="weir bench latency")).secret
    prober = {
        "gateway_url": None,
        "key": SecretStr(key),
        "organisation": ORGANISATION,
        "interval_seconds": INTERVAL_SECONDS,
    }
    return settings.model_copy(
        update={
            "gateway": settings.gateway.model_copy(update=gateway),
            "probe": probe.model_copy(update=prober),
        }
    )


@contextmanager
def running_gateway(testbed: Testbed, settings: Settings) -> Iterator[Child]:
    """A gateway that takes records; it ends with the block. Raises :class:`~weir.errors.StackError`."""
    child = testbed.spawn("bench-gateway", settings, "weir", "gateway")
    try:
        await_ok(child, f"http://{settings.gateway.host}:{settings.gateway.port}/ready")
        yield child
    finally:
        child.request_stop()
        child.wait_stopped()


def await_first_probe(settings: Settings) -> None:
    """Block until a probe was seen: worker and gateway run then, and know every device that was registered before.

    Raises :class:`~weir.errors.StackError` with what the last one failed of.
    """
    deadline = time.monotonic() + START_SECONDS
    with closing(Poster(settings)) as poster, closing(Sight(settings)) as sight:
        while (outcome := probe_once(settings.probe, poster, sight)).failure is not None:
            if time.monotonic() > deadline:
                raise StackError(f"No probe comes through: {outcome.failure.why}")
            time.sleep(0.5)


@contextmanager
def running_prober(settings: Settings, report: Report, tell: Callable[[Outcome], object]) -> Iterator[Prober]:
    """A prober in this process, for the time of the block; ``report`` hears when something is wrong."""
    conditions = Conditions(report, report)
    with (
        closing(Poster(settings)) as poster,
        closing(Sight(settings)) as sight,
        Prober(settings.probe, poster, sight, conditions, tell) as prober,
    ):
        yield prober
