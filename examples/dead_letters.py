"""Show the latest dead letters, with the reason of each: python examples/dead_letters.py --help."""

from __future__ import annotations

import argparse

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from connectors.kafka.client import kafka_client_config
from weir.settings import load_settings

GROUP = "dead-letters-example"
"""Named because librdkafka wants a name; nothing is ever committed under it."""


def main() -> None:
    """Read the last so many records of the dead-letter topic, oldest first."""
    parser = argparse.ArgumentParser(description="Show the latest records of the dead-letter topic.")
    parser.add_argument("--last", type=int, default=20, help="how many (default 20)")
    wanted = parser.parse_args().last
    settings = load_settings()
    consumer = Consumer(kafka_client_config(settings.kafka) | {"group.id": GROUP, "log_level": 0})
    place = TopicPartition(settings.topics.deadletters, 0)
    try:
        first, end = consumer.get_watermark_offsets(place, timeout=10.0)
        start = max(first, end - wanted)
        consumer.assign([TopicPartition(place.topic, 0, start)])
        letters = consumer.consume(end - start, timeout=10.0) if end > start else []
    except KafkaException as error:
        address = settings.kafka.bootstrap_servers
        raise SystemExit(f"Kafka at {address} cannot be asked ({error.args[0].str()}); see `weir status`.") from error
    finally:
        consumer.close()
    for letter in letters:
        print(told(letter))
    if not letters:
        print("No record was refused.")


def told(letter: Message) -> str:
    """One line: why, where it came from, what it was."""
    headers = {name: (value or b"").decode() for name, value in letter.headers() or [] if not isinstance(value, str)}
    place = f"{headers['topic']}[{headers['partition']}] offset {headers['offset']}"
    return f"{headers['reason']}: {headers['detail']} ({place}) {(letter.value() or b'')[:60]!r}"


if __name__ == "__main__":
    main()
