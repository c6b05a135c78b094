"""Follow the 1-minute aggregates as a downstream service would: python examples/follow_aggregates.py --help.

What every consumer of an aggregate topic must do: keep, of each series and window, the row with the highest revision.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

from confluent_kafka import Consumer
from fastavro import parse_schema, schemaless_reader

from connectors.kafka.client import kafka_client_config
from connectors.registry import Registry
from weir.settings import Settings, load_settings

Window = tuple[str, str, str, int]
"""Organisation, device, sensor, start."""


def main() -> None:
    """Print each row that is new or corrects an earlier one."""
    parser = argparse.ArgumentParser(description="Print 1-minute aggregates as they are published and corrected.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to follow (default 60)")
    settings, newest = load_settings(), dict[Window, int]()
    for row in aggregates(settings, parser.parse_args().seconds):
        window = (row["org_id"], row["device_id"], row["sensor"], row["window_start"])
        known = newest.get(window)
        if known is not None and row["revision"] <= known:
            continue  # the same row again, after a worker's restart, or an older one
        newest[window] = row["revision"]
        start = datetime.fromtimestamp(row["window_start"] / 1000, UTC)
        change = "new" if known is None else "corrected"
        print(f"{start:%H:%M} {row['device_id']}/{row['sensor']} count {row['count']} avg {row['avg']:.2f} ({change})")


def aggregates(settings: Settings, seconds: float) -> Iterator[dict[str, Any]]:
    """Rows of the topic from its beginning, as they come, for so many seconds; times in milliseconds."""
    config = {"group.id": "follow-aggregates-example", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    config["log_level"] = 0
    consumer = Consumer(kafka_client_config(settings.kafka) | config)
    consumer.subscribe([settings.topics.aggregates_1m])
    schemas: dict[int, Any] = {}
    end = time.monotonic() + seconds
    try:
        with Registry(settings.registry) as registry:
            while time.monotonic() < end:
                message = consumer.poll(0.5)
                if message is None or message.error() is not None:
                    continue
                value = bytes(message.value() or b"")
                schema_id = int.from_bytes(value[1:5], "big")
                if schema_id not in schemas:
                    schemas[schema_id] = parse_schema(without_logical_types(registry.schema(schema_id)))
                yield cast("dict[str, Any]", schemaless_reader(io.BytesIO(value[5:]), schemas[schema_id]))
    finally:
        consumer.close()


def without_logical_types(schema: Any) -> Any:
    """The schema with times as the plain numbers they are written as."""
    if isinstance(schema, dict):
        return {name: without_logical_types(value) for name, value in schema.items() if name != "logicalType"}
    return [without_logical_types(each) for each in schema] if isinstance(schema, list) else schema


if __name__ == "__main__":
    main()
