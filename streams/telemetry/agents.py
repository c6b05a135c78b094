"""The agents of telemetry: wiring only."""

from __future__ import annotations

import asyncio

import faust
from faust.types import StreamT

from connectors.kafka.client import kafka_client_config
from connectors.registry import Registry
from schemas import load_schema
from streams.engine.batch_topic import BatchTopic
from streams.engine.block import Block
from streams.engine.codec import Codec
from streams.engine.consumer import ConsumerOptions, consumer_config
from streams.engine.garbage import collect_rarely
from streams.engine.retrying import patiently
from streams.telemetry.pipeline import AGGREGATES_1H, AGGREGATES_1M, READINGS, Pipeline
from weir.settings import Settings


def add_agents(app: faust.App, settings: Settings) -> None:
    """Put the three agents and the metadata timer on ``app``; nothing connects before the app starts."""
    registry = Registry(settings.registry)
    topics, groups = settings.topics, settings.groups
    building = asyncio.Lock()
    built: list[Pipeline] = []

    def channel(group: str, topic: str, record: str) -> BatchTopic:
        options = _consumer_options(settings)
        config = consumer_config(kafka_client_config(settings.kafka), group, options)
        return BatchTopic.connect(app, topic, Codec(load_schema(record), registry), config, options)

    @patiently
    async def pipeline() -> Pipeline:
        async with building:
            if not built:
                built.append(await asyncio.to_thread(Pipeline, settings, registry))
                collect_rarely()
        return built[0]

    readings = channel(groups.readings, topics.readings, "Reading")
    minutes = channel(groups.aggregates_1m, topics.aggregates_1m, "Aggregate")
    hours = channel(groups.aggregates_1h, topics.aggregates_1h, "Aggregate")

    @app.agent(readings, name=READINGS)
    async def store_readings(blocks: StreamT[Block]) -> None:
        stage = (await pipeline()).readings(readings.commit)
        readings.before_leaving(stage.stage.stop)
        async for block in blocks:
            await stage.process(block)
            readings.processed(block)

    @app.agent(minutes, name=AGGREGATES_1M)
    async def store_minutes(blocks: StreamT[Block]) -> None:
        stage = (await pipeline()).minutes(minutes.commit)
        minutes.before_leaving(stage.stage.stop)
        async for block in blocks:
            await stage.process(block)
            minutes.processed(block)

    @app.agent(hours, name=AGGREGATES_1H)
    async def store_hours(blocks: StreamT[Block]) -> None:
        stage = (await pipeline()).hours(hours.commit)
        hours.before_leaving(stage.stage.stop)
        async for block in blocks:
            await stage.process(block)
            hours.processed(block)

    @app.timer(settings.postgres.refresh_seconds)  # type: ignore[untyped-decorator]  # Faust's is
    async def follow_metadata() -> None:
        await (await pipeline()).metadata.refresh()


def _consumer_options(settings: Settings) -> ConsumerOptions:
    stream = settings.stream
    return ConsumerOptions(
        fetch_messages=stream.fetch_messages,
        queue_messages=stream.queue_messages,
        idle_seconds=stream.idle_seconds,
        session_timeout_seconds=stream.session_timeout_seconds,
    )
