"""Alerts from their topic into ClickHouse: few, so an ordinary Faust topic with one event a message will do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import faust
import polars as pl
from faust.types import StreamT

from connectors.registry import Registry
from schemas import load_schema
from sinks.clickhouse.writer import ClickHouseWriter
from streams.engine.codec import Codec
from streams.engine.retrying import patiently
from streams.telemetry.enrich import TIME
from weir.settings import Settings


def add_alert_sink(app: faust.App, settings: Settings) -> None:
    """Store what appears on the alerts topic. At least once: a repeated alert has the same id and replaces itself."""
    topic = app.topic(settings.topics.alerts, value_type=bytes, value_serializer="raw", key_serializer="raw")
    codec = Codec(load_schema("Alert"), Registry(settings.registry))
    sink = ClickHouseWriter(settings.clickhouse)

    @app.agent(topic, name="alerts")
    async def store_alerts(events: StreamT[bytes]) -> None:
        async for batch in events.take(1_000, within=0.2):
            await asyncio.to_thread(patiently(_store), sink, codec, batch)


def _store(sink: ClickHouseWriter, codec: Codec, batch: Sequence[bytes]) -> None:
    rows = codec.decode(batch).frame.with_columns(pl.col("ts", "window_start", "window_end").cast(TIME))
    if len(rows):
        sink.insert("alerts", rows, token="")
