"""More than a million readings with resends and disorder over two hours, through one worker, compared one by one."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer
from fastavro import parse_schema, schemaless_reader

from bench.dataset import Dataset, DatasetPlan
from connectors.kafka.client import kafka_client_config
from connectors.postgres.devices import register
from connectors.registry import Registry, value_subject
from schemas import load_schema
from tests.stack_under_test import StackUnderTest
from tests.stored import read_topic, stored_readings, stored_windows
from tests.world import World, world_on
from weir.verify.compare import compare_readings, compare_windows
from weir.verify.recompute import HOUR_MS, MINUTE_MS, Acknowledged, expected_readings, expected_windows

MESSAGES = 1_050_000
DEVICES = 100
SECONDS = 7_800
"""Two hours and ten minutes of event time, which end with the last whole hour: every window of it closes."""

STORING_SECONDS = 90.0
CLOSING_SECONDS = 60.0


def test_a_million_readings_are_stored_once_and_every_window_equals_its_recomputation(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    end_ms = time.time_ns() // 1_000_000 // HOUR_MS * HOUR_MS
    plan = DatasetPlan(MESSAGES, end_ms, devices=DEVICES, delayed=0.05, resent=0.02, seed=7).spread_over(SECONDS)
    dataset = Dataset(plan)
    with world_on(stack, tmp_path) as world:
        register(world.dsn, "acme", None, dataset.sensors())
        produce(world, dataset)
        world.start_worker()
        expected = expected_readings(log(world))
        assert len(expected) == plan.distinct >= 1_000_000
        world.wait(lambda: rows_in_view(world) >= plan.distinct, "every reading is stored", STORING_SECONDS)

        assert compare_readings(expected, stored_readings(world)) == []
        assert world.value("SELECT count() - uniqExact(partition, offset) FROM raw_readings") == 0, "stored twice"
        for view, size_ms, least in (("aggregates_1m", MINUTE_MS, 50_000), ("aggregates_1h", HOUR_MS, 1_000)):
            windows = expected_windows(expected, size_ms)
            assert len(windows) > least
            world.wait(lambda view=view, windows=windows: closed(world, view) >= len(windows), view, CLOSING_SECONDS)  # type: ignore[misc]
            assert compare_windows(view, windows, stored_windows(world, view)) == []


def rows_in_view(world: World) -> int:
    return int(world.value("SELECT count() FROM readings"))


def closed(world: World, view: str) -> int:
    return int(world.value("SELECT count() FROM {view:Identifier}", view=view))


def produce(world: World, dataset: Dataset) -> None:
    """Write every message and wait until the broker has acknowledged all of them."""
    settings = world.settings
    with Registry(settings.registry) as registry:
        latest = registry.latest(value_subject(settings.topics.readings))
    assert latest is not None
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    config = {"enable.idempotence": True, "linger.ms": 50, "compression.type": "lz4", "on_delivery": delivered}
    with Producer(kafka_client_config(settings.kafka) | config | {"queue.buffering.max.messages": 200_000}) as producer:
        for chunk in dataset.chunks(latest.id):
            for key, value in zip(chunk.keys, chunk.values, strict=True):
                producer.produce(settings.topics.readings, value=value, key=key)
            producer.flush(30.0)
    assert failed == []


def log(world: World) -> Iterator[Acknowledged]:
    """Every message that was acknowledged, as the broker has it, read by another decoder than the pipeline's."""
    schema = load_schema("Reading")
    for field in schema["fields"]:
        if field["name"] == "ts":
            field["type"] = "long"
    parsed = parse_schema(schema)
    for message in read_topic(world.settings, world.settings.topics.readings):
        value = bytes(message.value() or b"")
        record = schemaless_reader(io.BytesIO(value[5:]), parsed)
        assert isinstance(record, dict)
        yield Acknowledged(
            record["device_id"],
            record["sensor"],
            record["ts"],
            record["value"],
            record["str_value"],
            message.partition() or 0,
            message.offset() or 0,
            message.timestamp()[1],
        )
