"""What is particular to readings that came many in one message, without servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Message

from schemas import load_schema
from streams.engine.avro_schema import RecordSchema
from streams.engine.block import decode_block
from streams.engine.codec import Codec, Decoded
from streams.engine.dead_letters import DeadLetter, Extract, to_record
from streams.engine.fetch import Fetch, Lease
from streams.engine.joining_queue import JoiningQueue
from streams.engine.packed_schema import MOST_ROWS, PackedSchema
from streams.telemetry.alerts.crossings import Crossings, Limits, Readings
from streams.telemetry.letter import Origin, read_letter
from streams.telemetry.refused import last_in_message
from tests.property.avro_strategies import encoded
from weir.dlq.receipts import Receipts, receipt_records
from weir.errors import ConfigError

READING, BATCH = load_schema("Reading"), load_schema("ReadingBatch")
ITEM = BATCH["fields"][1]["type"]["items"]
PREFIX = b"\0\0\0\0\x08"


class FakeSchemas:
    """One schema under 8, Reading under every other id."""

    def __init__(self, batch: Mapping[str, Any]) -> None:
        self._batch = batch

    def schema(self, schema_id: int) -> Mapping[str, Any]:
        return self._batch if schema_id == 8 else READING


def written_as(batch: dict[str, Any], record: dict[str, Any], times: int = 1) -> Decoded:
    """What comes of messages of one record whose writer had another version of the schema."""
    codec = Codec(READING, FakeSchemas(batch), packed=BATCH)
    return codec.decode([PREFIX + encoded(batch, record)] * times)


def with_fields(*fields: dict[str, Any], item: dict[str, Any] = ITEM) -> dict[str, Any]:
    """ReadingBatch with other fields."""
    array = {"name": "readings", "type": {"type": "array", "items": item}}
    plain = {name: each for name, each in BATCH.items() if name != "__fastavro_parsed__"}
    return {**plain, "fields": [array if each == ARRAY else each for each in fields]}


DEVICE: dict[str, Any] = {"name": "device_id", "type": "string"}
ARRAY: dict[str, Any] = {"name": "readings"}
RECORD: dict[str, Any] = {"device_id": "d", "readings": [{"sensor": "a", "ts": 1}, {"sensor": "b", "ts": 2}]}


def test_the_largest_batch_is_taken_and_one_reading_more_is_refused_with_the_limit_in_its_sentence() -> None:
    readings = [{"sensor": "a", "ts": number} for number in range(MOST_ROWS)]
    assert len(written_as(BATCH, RECORD | {"readings": readings}).frame) == MOST_ROWS
    (refused,) = written_as(BATCH, RECORD | {"readings": [*readings, readings[0]]}).rejected
    assert (refused.reason, refused.schema_id) == ("batch_too_large", 8)
    assert "10,001 items, and one message may have 10,000" in refused.detail


def test_a_count_that_no_message_can_hold_costs_nothing() -> None:
    head = encoded(BATCH, {"device_id": "d", "readings": []})[:-1]
    endless = PREFIX + head + b"\xff" * 9 + b"\x01" + b"\0"
    (refused,) = Codec(READING, FakeSchemas(BATCH), packed=BATCH).decode([endless]).rejected
    assert refused.reason == "batch_too_large"


def test_without_the_packed_schema_a_batch_is_another_record() -> None:
    decoded = Codec(READING, FakeSchemas(BATCH)).decode([PREFIX + encoded(BATCH, RECORD)])
    assert [each.reason for each in decoded.rejected] == ["wrong_schema"]


def test_a_newer_writer_may_add_fields_to_the_batch_and_to_its_readings() -> None:
    item = {**ITEM, "fields": [{"name": "site", "type": "string"}, *ITEM["fields"]]}
    newer = with_fields(
        {"name": "batch_id", "type": "long"}, DEVICE, ARRAY, {"name": "note", "type": "string"}, item=item
    )
    readings = [each | {"site": "x"} for each in RECORD["readings"]]
    decoded = written_as(newer, {"batch_id": 7, "device_id": "d", "readings": readings, "note": "n"}, times=3)
    assert decoded.frame.select("device_id", "sensor", "ts").rows() == [("d", "a", 1), ("d", "b", 2)] * 3
    assert decoded.index.tolist() == [0, 0, 1, 1, 2, 2]
    assert decoded.places is not None and decoded.places.tolist() == [0, 1] * 3


@pytest.mark.parametrize(
    "batch",
    [
        with_fields(ARRAY, DEVICE),
        with_fields(DEVICE, {"name": "others", "type": {"type": "array", "items": "long"}}),
        with_fields(DEVICE, {"name": "readings2", "type": "string"}),
    ],
)
def test_a_writer_whose_batches_have_no_place_here_is_told_so_for_each(batch: dict[str, Any]) -> None:
    decoded = Codec(READING, FakeSchemas(batch), packed=BATCH).decode([PREFIX + b"\0\0", PREFIX + b"\0\0"])
    assert [each.reason for each in decoded.rejected] == ["incompatible_schema"] * 2


def test_a_packed_schema_that_does_not_make_the_readers_columns_is_refused_at_start() -> None:
    with pytest.raises(ConfigError, match="are not those of"):
        PackedSchema.parse(with_fields({"name": "station", "type": "string"}, ARRAY), RecordSchema.parse(READING))


def test_of_equal_identities_in_one_message_the_last_is_stored_and_in_two_messages_both() -> None:
    codes = np.array([0, 1, 0, 0, 0], dtype=np.int32)
    ts = np.array([5, 5, 5, 6, 5], dtype=np.int64)
    offsets = np.array([7, 7, 7, 7, 8], dtype=np.int64)
    assert last_in_message(codes, ts, offsets).tolist() == [False, True, True, True, True]


def test_a_fetch_of_many_bytes_is_cut_between_messages_and_keeps_their_order() -> None:
    queue = JoiningQueue(100, 1_000)
    lease = Lease("t", 0, None)
    sizes = [400, 500, 900, 3_000, 10]
    messages = [Message(topic="t", partition=0, offset=at, value=bytes(size)) for at, size in enumerate(sizes)]
    queue.put(Fetch(lease, messages, size=sum(sizes), behind=True))
    waiting = queue._waiting[lease]
    assert [[each.offset() for each in part.messages] for part in waiting] == [[0, 1], [2], [3], [4]]
    assert [part.size for part in waiting] == [900, 900, 3_000, 10]
    assert all(part.behind for part in waiting)


def test_rows_have_the_offset_of_their_message_also_when_there_are_as_many_rows_as_messages() -> None:
    values = [PREFIX + encoded(BATCH, each) for each in (RECORD, RECORD | {"readings": []})]
    messages = [
        Message(topic="t", partition=0, offset=40 + at, value=value, timestamp=(2, 100 + at))
        for at, value in enumerate(values)
    ]
    block = decode_block(Fetch(Lease("t", 0, None), messages), Codec(READING, FakeSchemas(BATCH), packed=BATCH))
    assert block.offsets.tolist() == [40, 40]
    assert block.append_ts.tolist() == [100, 100]
    assert (block.first, block.end) == (40, 42)


def test_alerts_see_the_readings_of_one_message_by_time_however_they_were_packed() -> None:
    limit = Limits(*(np.array([each]) for each in (np.nan, 30.0, 0.0)), np.array([0]), np.array([True]))  # type: ignore[call-arg]
    ts, value = np.array([3, 1, 2]), np.array([40.0, 20.0, 50.0])
    readings = Readings(np.zeros(3, dtype=np.int32), ts, value, np.full(3, 9))
    found = Crossings(lambda _: ("d", "s")).evaluate(readings, limit)
    assert [(each.state, each.ts) for each in found] == [("triggered", 2)]


def test_two_letters_of_one_message_are_put_back_each_by_itself() -> None:
    message = Message(topic="weir.readings", partition=1, offset=4, key=b"d", value=b"the batch", timestamp=(2, 1_000))
    dead = DeadLetter(message, "unknown_sensor", "why", "readings", extract=Extract(b"\0\0\0\0\x07one", 3))
    record = to_record(dead, "d")
    headers: list[tuple[str, str | bytes | None]] = list(record.headers)
    letter = read_letter(Message(topic="d", offset=0, key=b"d", value=record.value, headers=headers, timestamp=(2, 5)))
    assert letter.origin == Origin("weir.readings", 1, 4, 3)
    assert str(letter.origin) == "weir.readings:1:4:3"
    assert (letter.value, letter.schema_id) == (b"\0\0\0\0\x07one", 7)
    receipts = Receipts()
    (receipt,) = receipt_records("r", [Origin("weir.readings", 1, 2), Origin("weir.readings", 1, 4, 5)])
    receipts.add(Message(topic="r", value=receipt.value, timestamp=(2, 9)))
    assert not receipts.cover(letter)
    (receipt,) = receipt_records("r", [Origin("weir.readings", 1, 4, 3)])
    receipts.add(Message(topic="r", value=receipt.value, timestamp=(2, 9)))
    assert receipts.cover(letter)
