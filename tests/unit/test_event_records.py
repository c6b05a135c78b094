from __future__ import annotations

import io
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader

from connectors.postgres.outbox import DeviceCommands, OutboxEvent, WaitingCommand
from connectors.registry import Latest
from schemas import load_schema
from streams.engine.codec import Codec
from streams.events.records import RecordWriter, commands_record, event_record
from weir.errors import ConfigError

EVENT = OutboxEvent(
    written_in=900,
    id=7,
    ts=1_763_719_200_123,
    event_type="device.status_changed",
    org_id="acme",
    device_id="ovén-1",
    entity_id="5f0c6b8e-3f52-4b53-9d3c-3b2b7f2f7a11",
    entity_type="device.esp32",
    entity_key="ovén-1",
    data='{"new": "maintenance"}',
    metadata="{}",
    actor="ada@acme.example",
    source="weir@host",
)


class FakeRegistry:
    """Has one schema under id 258, or none."""

    def __init__(self, record: str | None) -> None:
        self.record = record

    def latest(self, subject: str) -> Latest | None:
        return Latest(258, 1, load_schema(self.record)) if self.record else None

    def schema(self, schema_id: int) -> dict[str, Any]:
        assert schema_id == 258
        assert self.record
        return load_schema(self.record)


def writer(record: str) -> RecordWriter:
    return RecordWriter(FakeRegistry(record), "lab.topic", record)  # type: ignore[arg-type]


def command(number: int, parameters: str = "{}", expires_at: int | None = None) -> WaitingCommand:
    return WaitingCommand(f"c{number}", "reboot", parameters, "pending", 1_000 + number, expires_at, "ada")


def listed(value: bytes | None) -> dict[str, Any]:
    assert value is not None
    assert value[:5] == b"\0\0\0\1\2"
    found = schemaless_reader(io.BytesIO(value[5:]), parse_schema(load_schema("Commands")), None)
    assert isinstance(found, dict)
    return found


def test_an_event_is_read_back_as_it_was_written_by_the_codec_of_the_stage() -> None:
    record = event_record(writer("Event"), EVENT)
    assert (record.topic, record.partition) == ("lab.topic", -1)
    (row,) = Codec(load_schema("Event"), FakeRegistry("Event")).decode([record.value]).frame.to_dicts()
    assert row == {name: value for name, value in EVENT._asdict().items() if name != "written_in"}


def test_two_entities_of_one_name_have_two_keys_because_sensors_share_names() -> None:
    first, second = (event_record(writer("Event"), EVENT._replace(entity_id=each)) for each in ("e1", "e2"))
    assert (first.key, second.key) == (b"acme/e1", b"acme/e2")


def test_what_waits_for_a_device_is_listed_with_its_revision() -> None:
    device = DeviceCommands("d1", "acme", 41, [command(1, '{"a": 1}', expires_at=9_000), command(2)])
    record = commands_record(writer("Commands"), device)
    found = listed(record.value)
    assert (record.key, list(record.headers)) == (b"d1", [("revision", b"41")])
    assert (found["device_id"], found["org_id"], found["revision"], found["more"]) == ("d1", "acme", 41, 0)
    assert [each["id"] for each in found["commands"]] == ["c1", "c2"]
    assert found["commands"][0]["parameters"] == '{"a": 1}'
    assert [each["expires_at"] and each["expires_at"].timestamp() for each in found["commands"]] == [9.0, None]


def test_a_device_without_commands_gets_a_tombstone_that_still_has_its_revision() -> None:
    record = commands_record(writer("Commands"), DeviceCommands("d1", "acme", 42, []))
    assert (record.key, record.value, list(record.headers)) == (b"d1", None, [("revision", b"42")])


def test_commands_that_find_no_room_in_a_record_are_counted_and_the_oldest_stay() -> None:
    large = '{"text": "' + "x" * 1_000_000 + '"}'
    record = commands_record(writer("Commands"), DeviceCommands("d1", "acme", 1, [command(n, large) for n in range(7)]))
    found = listed(record.value)
    assert ([each["id"] for each in found["commands"]], found["more"]) == (["c0", "c1", "c2", "c3"], 3)


def test_a_topic_without_a_schema_is_no_topic_to_write_to() -> None:
    with pytest.raises(ConfigError, match=r"no schema for lab.topic; run `weir migrate`"):
        RecordWriter(FakeRegistry(None), "lab.topic", "Event")  # type: ignore[arg-type]
