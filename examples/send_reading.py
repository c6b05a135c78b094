"""Send one reading as a device would, here as JSON straight to Kafka: python examples/send_reading.py --help."""

from __future__ import annotations

import argparse
import json
import time

from confluent_kafka import KafkaError, Message, Producer

from connectors.kafka.client import kafka_client_config
from weir.settings import load_settings


def main() -> None:
    """Wait for the broker's acknowledgement and say where the reading is."""
    parser = argparse.ArgumentParser(description="Send one reading to the readings topic.")
    parser.add_argument("device", help="a registered device, such as acme-esp32-001 of `weir migrate --sample`")
    parser.add_argument("sensor", help="a sensor of it, such as temperature")
    parser.add_argument("value", type=float)
    arguments = parser.parse_args()
    settings = load_settings()
    reading = {
        "device_id": arguments.device,
        "sensor": arguments.sensor,
        "ts": time.time_ns() // 1_000_000,
        "value": arguments.value,
    }
    producer = Producer(kafka_client_config(settings.kafka) | {"acks": "all", "log_level": 0})
    producer.produce(settings.topics.readings, json.dumps(reading), key=arguments.device, on_delivery=acknowledged)
    if producer.flush(10.0):
        raise SystemExit(f"Kafka at {settings.kafka.bootstrap_servers} did not acknowledge in 10 s; see `weir status`.")


def acknowledged(error: KafkaError | None, message: Message) -> None:
    """Only now may a device forget the reading."""
    if error is not None:
        raise SystemExit(f"Kafka did not take the reading: {error.str()}")
    print(f"acknowledged: {message.topic()} partition {message.partition()} offset {message.offset()}")


if __name__ == "__main__":
    main()
