"""Alerts from their topic into the log of events: few, so an ordinary Faust topic with one event a message will do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import faust
from faust.types import StreamT

from connectors.postgres.alert_events import record_alerts
from connectors.registry import Registry
from schemas import load_schema
from streams.engine.codec import Codec
from streams.engine.retrying import STOPPING, endlessly
from weir.settings import Settings

MOST_ALERTS: Final = 1_000
WITHIN_SECONDS: Final = 0.2


def add_alert_events(app: faust.App, settings: Settings) -> None:
    """Record what appears on the alerts topic. At least once: each state of an alert is recorded once for all.

    While Postgres is away the alerts wait in their topic, and nothing else waits for them.
    """
    topic = app.topic(settings.topics.alerts, value_type=bytes, value_serializer="raw", key_serializer="raw")
    codec = Codec(load_schema("Alert"), Registry(settings.registry))
    dsn = settings.postgres.dsn.get_secret_value()

    @endlessly
    def record(batch: Sequence[bytes]) -> None:
        record_alerts(dsn, read_alerts(codec, batch))

    @app.agent(topic, name="alert_events")
    async def record_events(alerts: StreamT[bytes]) -> None:
        async for batch in alerts.take(MOST_ALERTS, within=WITHIN_SECONDS):
            try:
                await asyncio.to_thread(record, batch)
            except Exception as error:  # Faust would count the batch as done and go on behind it
                if not STOPPING.is_set():
                    await app.crash(error)
                await asyncio.Event().wait()


def read_alerts(codec: Codec, batch: Sequence[bytes]) -> list[dict[str, Any]]:
    """The alerts in these messages; what does not decode is a dead letter of the stage that stores alerts."""
    return codec.decode(batch).frame.to_dicts()
