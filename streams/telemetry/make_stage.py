"""Makes a stage of telemetry from the settings: how it flushes, where it stores, whom it tells."""

from __future__ import annotations

from collections.abc import Collection

from connectors.kafka.client import kafka_client_config
from sinks.clickhouse.writer import ClickHouseWriter
from streams.engine.producer import AcknowledgedProducer, producer_config
from streams.engine.stage import Commit, Rollup, Stage, StageOptions
from weir.settings import Settings


def stage_options(settings: Settings, name: str, table: str) -> StageOptions:
    """Return what all stages have in common; nothing of it is late, and everything may be refused."""
    stream = settings.stream
    return StageOptions(
        name=name,
        table=table,
        dead_letter_topic=settings.topics.deadletters,
        flush_rows=stream.flush_rows,
        flush_seconds=stream.flush_seconds,
        behind_flush_seconds=stream.behind_flush_seconds,
        lateness_ms=0,
    )


def make_stage(
    settings: Settings, options: StageOptions, commit: Commit, labels: Collection[str], rollup: Rollup | None = None
) -> Stage:
    """Make a stage; nothing is connected before its first block. ``labels`` are columns with few different texts."""
    sink = ClickHouseWriter(settings.clickhouse, labels=labels)
    producer = AcknowledgedProducer(producer_config(kafka_client_config(settings.kafka)))
    return Stage(options, commit, sink, producer, rollup)
