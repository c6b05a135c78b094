"""Events and waiting commands as Kafka records: Confluent-framed Avro, written one by one, because they are few."""

from __future__ import annotations

import io
from typing import Any, Final

from fastavro import parse_schema, schemaless_writer

from connectors.postgres.outbox import DeviceCommands, OutboxEvent
from connectors.registry import Registry, value_subject
from schemas import load_schema
from streams.engine.producer import Record
from weir.errors import ConfigError

LIST_BYTES: Final = 4 * 1024 * 1024
"""Room for the parameters of one device's commands; a hundred may wait, and each may have 64 KiB."""


class RecordWriter:
    """Writes records of one schema for one topic."""

    def __init__(self, registry: Registry, topic: str, record: str) -> None:
        """Ask the registry for the schema's id; blocks.

        Raises :class:`~weir.errors.ConfigError` when the topic has no schema, and
        :class:`~weir.errors.TransientError` when the registry is away.
        """
        latest = registry.latest(value_subject(topic))
        if latest is None:
            raise ConfigError(f"The registry has no schema for {topic}; run `weir migrate`.")
        self.topic = topic
        self._prefix = b"\0" + latest.id.to_bytes(4, "big")
        self._schema = parse_schema(load_schema(record))

    def write(self, values: dict[str, Any]) -> bytes:
        """The framed bytes of one record; fields that the schema lacks are left out."""
        buffer = io.BytesIO()
        buffer.write(self._prefix)
        schemaless_writer(buffer, self._schema, values)
        return buffer.getvalue()


def event_record(writer: RecordWriter, event: OutboxEvent) -> Record:
    """One event; its key is ``org_id/entity_id``, which names an entity for good."""
    key = f"{event.org_id}/{event.entity_id}"
    return Record(writer.topic, key.encode(), writer.write(event._asdict()))


def commands_record(writer: RecordWriter, device: DeviceCommands) -> Record:
    """All that waits for one device, or a tombstone when nothing does.

    The revision is a header, too: a tombstone has no other place for it.
    """
    headers = [("revision", str(device.revision).encode())]
    fitting = _fitting(device)
    value = None
    if fitting:
        commands = [command._asdict() for command in device.commands[:fitting]]
        more = len(device.commands) - fitting
        value = writer.write(device._asdict() | {"commands": commands, "more": more})
    return Record(writer.topic, device.device_id.encode(), value, headers=headers)


def _fitting(device: DeviceCommands) -> int:
    """How many of a device's commands have room in one record."""
    size = 0
    for number, command in enumerate(device.commands):
        size += len(command.parameters.encode())
        if size > LIST_BYTES:
            return number
    return len(device.commands)
