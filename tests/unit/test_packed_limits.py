"""Refused readings of packed messages: the limit counts messages, and what waits counts every letter."""

from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from confluent_kafka import Message

from schemas import load_schema
from streams.engine.avro_schema import RecordSchema
from streams.engine.dead_letters import DeadLetter, Extract
from streams.engine.fetch import Lease
from streams.engine.outcome import Outcome
from streams.engine.packed_schema import PackedSchema, resolve_packed
from streams.engine.partition_state import Part, PartitionState
from streams.engine.refusals import RefusalLimit, RefusalLimitError
from weir.errors import PoisonError
from weir.settings import DeadLetterSettings

LIMIT = RefusalLimit(**DeadLetterSettings().model_dump())
BATCH = 10_000


class FakeMessage:
    def __init__(self, offset: int, key: bytes) -> None:
        self._offset, self._key = offset, key

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return self._key


def refused_batch(offset: int, readings: int = BATCH) -> list[DeadLetter]:
    message = cast(Message, FakeMessage(offset, f"gateway-{offset}".encode()))
    places = range(1, readings + 1)
    return [DeadLetter(message, "unknown_device", "", "readings", extract=Extract(b"", place)) for place in places]


def outcome_of(kept: np.ndarray[Any, np.dtype[np.int64]], letters: list[DeadLetter]) -> Outcome:
    return Outcome(pl.DataFrame({"offset": kept}), kept, None, letters)


def state() -> PartitionState:
    return PartitionState(Lease("weir.readings", 0, None), 0, 5_000, None)


def test_two_refused_batches_among_good_messages_stop_no_worker() -> None:
    good = np.concatenate((np.arange(9_000), np.arange(9_002, 18_000)))
    letters = refused_batch(9_000) + refused_batch(9_001)
    state().add(outcome_of(good, letters), Part(0, 18_000, 3_600_000), LIMIT)


def test_as_many_refused_batches_as_the_limit_allows_messages_stop_it() -> None:
    letters = [letter for offset in range(LIMIT.max_run) for letter in refused_batch(offset, 2)]
    with pytest.raises(RefusalLimitError):
        state().add(outcome_of(np.arange(0), letters), Part(0, LIMIT.max_run, 3_600_000), LIMIT)


def test_refused_readings_of_a_batch_wait_for_a_flush_like_rows() -> None:
    waiting = state()
    waiting.add(outcome_of(np.arange(0), refused_batch(0)), Part(0, 1, 3_600_000), LIMIT)
    assert waiting.pending_rows == BATCH
    assert waiting.pending_bytes > 100 * BATCH


@pytest.mark.parametrize("fields", [None, "none", {}, ["device_id"]])
def test_a_batch_schema_without_proper_fields_is_refused_and_crashes_nothing(fields: object) -> None:
    packed = PackedSchema.parse(load_schema("ReadingBatch"), RecordSchema.parse(load_schema("Reading")))
    with pytest.raises(PoisonError, match="no record with fields"):
        resolve_packed({"type": "record", "name": "ReadingBatch", "fields": fields}, packed)
