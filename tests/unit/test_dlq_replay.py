from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from confluent_kafka import Message

from streams.engine.producer import AcknowledgedProducer, Record
from streams.telemetry.letter import Letter, Origin, read_letter
from tests.stack_under_test import settings_from
from weir.dlq import replay as module
from weir.dlq.receipts import Receipt
from weir.dlq.replay import ALONE_BYTES, BATCH_LETTERS, Replay
from weir.dlq.replay_plan import TOO_LARGE, Chosen, ReplayPlan
from weir.errors import TransientError

READINGS, RECEIPTS = "weir.readings", "weir.deadletters.replayed"


class FakeProducer(AcknowledgedProducer):
    """Keeps what it is given; ``away_from`` is the number of the first write that fails."""

    def __init__(self, away_from: int = 10**9, largest: int = 10**9) -> None:
        self.writes: list[list[Record]] = []
        self._away_from = away_from
        self._largest = largest

    def write(self, records: Sequence[Record]) -> None:
        if len(self.writes) >= self._away_from:
            raise TransientError("Kafka did not acknowledge.")
        if any(len(each.value or b"") > self._largest for each in records):
            raise TransientError("Kafka did not acknowledge: KafkaError{code=MSG_SIZE_TOO_LARGE,val=10}.")
        self.writes.append(list(records))

    def written(self, topic: str) -> list[Record]:
        """Records of one topic."""
        return [record for records in self.writes for record in records if record.topic == topic]

    @property
    def receipts(self) -> int:
        """Records that have one."""
        return sum(len(msgspec.json.decode(each.value or b"", type=Receipt).offsets) for each in self.written(RECEIPTS))


def letters(monkeypatch: pytest.MonkeyPatch, *sizes: int) -> ReplayPlan:
    """So many letters with values of these sizes, and the plan that chooses them all."""
    chosen: list[Chosen] = []
    found: list[tuple[Letter, Origin]] = []
    for number, size in enumerate(sizes):
        origin = Origin(READINGS, 0, number)
        message = Message(topic="d", partition=0, offset=number, value=b"x" * size, timestamp=(2, number))
        found.append((read_letter(message), origin))
        chosen.append(Chosen(number, 0, number, origin, "no_value", False))

    def given(*_: Any) -> Iterator[tuple[Letter, Origin]]:
        return iter(found)

    monkeypatch.setattr(module, "_letters_of", given)
    return ReplayPlan(chosen)


def replay(producer: FakeProducer, stop_after: int = 10**9) -> Replay:
    return Replay(settings_from({}), producer, None, lambda: len(producer.written(READINGS)) >= stop_after)


def test_a_replay_that_fails_half_way_counts_what_the_broker_has_and_leaves_receipts_for_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = letters(monkeypatch, *[1] * (3 * BATCH_LETTERS))
    producer = FakeProducer(away_from=4)
    run = replay(producer)
    with pytest.raises(TransientError):
        run.run(plan, lambda _: None)
    assert run.put_back == len(producer.written(READINGS)) == 2 * BATCH_LETTERS
    assert producer.receipts == 2 * BATCH_LETTERS


def test_no_receipt_is_written_before_its_records_are_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = FakeProducer(away_from=0)
    with pytest.raises(TransientError):
        replay(producer).run(letters(monkeypatch, 1), lambda _: None)
    assert producer.writes == []
    producer = FakeProducer()
    replay(producer).run(letters(monkeypatch, 1, 1), lambda _: None)
    assert [{record.topic for record in records} for records in producer.writes] == [{READINGS}, {RECEIPTS}]


def test_an_interrupted_replay_ends_after_the_batch_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = FakeProducer()
    run = replay(producer, stop_after=1)
    run.run(letters(monkeypatch, *[1] * (2 * BATCH_LETTERS)), lambda _: None)
    assert run.put_back == producer.receipts == BATCH_LETTERS


def test_a_record_that_is_too_large_stays_and_its_neighbours_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = FakeProducer(largest=ALONE_BYTES)
    run = replay(producer)
    seen: list[int] = []
    run.run(letters(monkeypatch, 1, ALONE_BYTES + 1, 1, 1), seen.append)
    assert (run.put_back, dict(run.left), producer.receipts) == (3, {TOO_LARGE: 1}, 3)
    assert seen == [1, 2, 4]
