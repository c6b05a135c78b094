"""A device, or many: writes to the readings topic and remembers what the broker acknowledged."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from confluent_kafka import KafkaError, Message, Producer
from fastavro import parse_schema, schemaless_writer

from connectors.kafka.client import kafka_client_config
from connectors.registry import Registry, value_subject
from schemas import load_schema
from tests.waiting import patient
from weir.settings import Settings
from weir.verify.recompute import Acknowledged

Place = tuple[int, int]
"""Partition and offset."""


class Sent(NamedTuple):
    """A message as it was written, and where; ``append_ts`` is the broker's time (ms)."""

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int
    append_ts: int


class Sender:
    """Nothing is sent before :meth:`flush`, so that what belongs together comes in one fetch."""

    def __init__(self, settings: Settings) -> None:
        """Ask the registry for the id of the Reading schema."""
        self.sent: list[Sent] = []
        self.acknowledged: list[Acknowledged] = []
        self._topic = settings.topics.readings
        config = {"enable.idempotence": True, "linger.ms": 200, "log_level": 0}
        self._producer = Producer(kafka_client_config(settings.kafka) | config)
        with Registry(settings.registry) as registry:
            # of the schema that framed() writes with, which need not be the subject's latest
            self.schema_id = registry.register(value_subject(self._topic), json.dumps(load_schema("Reading")))
        self._failed: list[KafkaError] = []

    def __enter__(self) -> Self:
        """The sender itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the broker; what was not flushed is thrown away."""
        self._producer.purge()
        self._producer.close()

    def reading(
        self, device_id: str, sensor: str, ts: int, value: float | None = None, *, partition: int = -1, **fields: Any
    ) -> None:
        """One reading as Avro; ``fields`` are the other fields of the Reading schema."""
        record = {"device_id": device_id, "sensor": sensor, "ts": ts, "value": value, **fields}
        self._write(framed(self.schema_id, record), device_id, partition, record)

    def json_reading(self, record: Mapping[str, Any], *, partition: int = -1) -> None:
        """One reading as a REST proxy writes it for JSON."""
        self._write(json.dumps(record).encode(), record["device_id"], partition, record)

    def message(
        self, value: bytes | None, key: str, *, partition: int = -1, record: Mapping[str, Any] | None = None
    ) -> None:
        """Any bytes; ``record`` when they are a reading that must be stored."""
        self._write(value, key, partition, record)

    def flush(self) -> None:
        """Send, and wait until all of it is acknowledged."""
        left = self._producer.flush(patient(30.0))
        assert not left and not self._failed, (left, self._failed)

    def _write(self, value: bytes | None, key: str, partition: int, record: Mapping[str, Any] | None) -> None:
        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._failed.append(error)
                return
            place = Sent(key.encode(), value, message.partition() or 0, message.offset() or 0, message.timestamp()[1])
            self.sent.append(place)
            if record is not None:
                self.acknowledged.append(acknowledged(record, place))

        self._producer.produce(self._topic, value=value, key=key, partition=partition, on_delivery=delivered)


def acknowledged(record: Mapping[str, Any], place: Sent) -> Acknowledged:
    """A reading for the recomputation."""
    value = record.get("value")
    return Acknowledged(
        str(record["device_id"]),
        str(record["sensor"]),
        int(record["ts"]),
        None if value is None else float(value),
        record.get("str_value"),
        place.partition,
        place.offset,
        place.append_ts,
    )


def framed(schema_id: int, record: Mapping[str, Any], schema: Mapping[str, Any] | None = None) -> bytes:
    """A record in Confluent's framing, by fastavro; absent fields take their defaults."""
    parsed = parse_schema(dict(schema or load_schema("Reading")))
    body = io.BytesIO()
    schemaless_writer(body, parsed, dict(record))
    return b"\x00" + schema_id.to_bytes(4, "big") + body.getvalue()
