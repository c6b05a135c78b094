"""The agents of telemetry: wiring only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import faust
from faust.types import StreamT

from connectors.kafka.client import kafka_client_config
from connectors.registry import Registry
from schemas import load_schema
from streams.engine.batch_topic import BatchTopic
from streams.engine.block import Block, Decoder
from streams.engine.codec import Codec
from streams.engine.consumer import ConsumerOptions, consumer_config
from streams.engine.retrying import patiently
from streams.engine.stage import Commit
from streams.events.event_sink import EVENTS, events_stage
from streams.telemetry.alert_sink import ALERTS, alerts_stage
from streams.telemetry.dead_letter_sink import DEAD_LETTERS, Undecoded, dead_letters_stage
from streams.telemetry.parity_watch import add_parity_watch
from streams.telemetry.pipeline import AGGREGATES_1H, AGGREGATES_1M, READINGS, Pipeline, TelemetryStage
from weir.garbage import collect_rarely
from weir.settings import Settings


def add_agents(app: faust.App, settings: Settings) -> None:
    """Put the agents and the metadata timer on ``app``; nothing connects before the app starts."""
    registry = Registry(settings.registry)
    topics, groups = settings.topics, settings.groups
    building = asyncio.Lock()
    built: list[Pipeline] = []

    def channel(group: str, topic: str, codec: Decoder) -> BatchTopic:
        options = _consumer_options(settings)
        config = consumer_config(kafka_client_config(settings.kafka), group, options)
        return BatchTopic.connect(app, topic, codec, config, options)

    def decoding(record: str) -> Codec:
        return Codec(load_schema(record), registry)

    @patiently
    async def pipeline() -> Pipeline:
        async with building:
            if not built:
                built.append(await asyncio.to_thread(Pipeline, settings, registry))
                built[0].metadata.listen()
                await built[0].metric_copy.follow_metadata(built[0].series.registered.metadata)
                collect_rarely()
        return built[0]

    async def crash(source: BatchTopic, error: BaseException) -> None:
        """End the worker, and never return: Faust would start the agent again, which would go on behind the block."""
        source.abandon()
        await app.crash(error)
        await asyncio.Event().wait()

    async def crash_when_it_fails(source: BatchTopic, stage: TelemetryStage) -> None:
        """At once, not with the next block: there may be none."""
        await crash(source, await stage.failed())

    def add(source: BatchTopic, name: str, make: Callable[[Pipeline, Commit], TelemetryStage]) -> None:
        @app.agent(source, name=name)
        async def store(blocks: StreamT[Block]) -> None:
            stage = make(await pipeline(), source.commit)
            source.before_leaving(stage.stop)
            app.loop.create_task(crash_when_it_fails(source, stage))
            try:
                async for block in blocks:
                    await stage.process(block)
                    source.processed(block)
            except Exception as error:
                await crash(source, error)

    codec = Codec(load_schema("Reading"), registry, packed=load_schema("ReadingBatch"))
    readings = channel(groups.readings, topics.readings, codec)
    add(readings, READINGS, Pipeline.readings)
    add(channel(groups.aggregates_1m, topics.aggregates_1m, decoding("Aggregate")), AGGREGATES_1M, Pipeline.minutes)
    add(channel(groups.aggregates_1h, topics.aggregates_1h, decoding("Aggregate")), AGGREGATES_1H, Pipeline.hours)
    letters = channel(groups.dead_letters, topics.deadletters, Undecoded())
    add(letters, DEAD_LETTERS, lambda _, commit: dead_letters_stage(settings, commit))
    alerts = channel(groups.alerts, topics.alerts, decoding("Alert"))
    add(alerts, ALERTS, lambda _, commit: alerts_stage(settings, commit))
    events = channel(groups.events, topics.events, decoding("Event"))
    add(events, EVENTS, lambda _, commit: events_stage(settings, commit))
    add_parity_watch(app, settings, lambda: readings.holds(0))

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
