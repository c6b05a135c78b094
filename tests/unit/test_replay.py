"""Replay against a Kafka that fails in turn: a chunk is done with only when every record of it has its answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.gateway import errors
from connectors.gateway.errors import GatewayError
from connectors.gateway.log import replay
from connectors.gateway.log.batch import Batch, Outcome
from connectors.gateway.log.kafka_refusals import busy
from connectors.gateway.log.pacing import MOST_QUEUED, Pacing
from connectors.gateway.log.replay import Replay
from connectors.gateway.log.spool import Spool
from connectors.gateway.log.spool_files import SpoolFiles
from connectors.gateway.records import Outgoing, Written

RECORDS = [Outgoing("t", b"k", b"%d" % number) for number in range(10)]


class FakeLine:
    """A way to Kafka that says, one after the other, what it was told to; then it stores everything."""

    def __init__(self, *answers: str) -> None:
        self.is_up = True
        self.answers = list(answers)
        self.stored: list[bytes | None] = []
        self.tries = 0
        self.ended = asyncio.Event()

    async def probe(self) -> bool:
        return not self.answers or self.answers.pop(0) != "no broker"

    async def resend(self, records: Sequence[Outgoing]) -> Sequence[Outcome]:
        self.tries += 1
        answer = self.answers.pop(0) if self.answers else "stored"
        if answer == "silence":
            self.is_up = False
            return [None] * len(records)
        half = len(records) // 2
        if answer in ("half", "half busy"):
            self.stored += [each.value for each in records[:half]]
            other = None if answer == "half" else busy()
            return [*[Written(0, 1)] * half, *[other] * (len(records) - half)]
        if answer == "refused":
            self.stored += [each.value for each in records[1:]]
            return [GatewayError(errors.TOO_LARGE, "Too large."), *[Written(0, 1)] * (len(records) - 1)]
        self.stored += [each.value for each in records]
        return [Written(0, 1)] * len(records)

    def replayed(self, records: int) -> None:
        self.is_up = True
        if not records:
            self.ended.set()

    def cannot_replay(self) -> None:
        self.answers.clear()


def replayed(folder: Path, *answers: str) -> FakeLine:
    """Spool the records, and replay them to a line with those answers until nothing waits."""

    async def scenario() -> FakeLine:
        spool, line = Spool(folder, 1_000_000), FakeLine(*answers)
        await spool.open()
        work = Replay(line, spool)
        spool.append(RECORDS, lambda refusal: work.wake())
        running = asyncio.create_task(work.run())
        await asyncio.wait_for(line.ended.wait(), 20.0)
        running.cancel()
        assert (spool.records, spool.bytes, spool.holds("t", b"k")) == (0, 0, False)
        await spool.close()
        return line

    return asyncio.run(scenario())


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(replay, "LONGEST_PAUSE_SECONDS", 0.001)


VALUES = [each.value for each in RECORDS]


def test_a_chunk_that_kafka_does_not_answer_for_comes_again_whole(tmp_path: Path) -> None:
    line = replayed(tmp_path, "silence", "broker", "silence", "no broker", "no broker", "broker")
    assert line.stored == VALUES
    assert line.tries == 3


@pytest.mark.parametrize("answer", ["half", "half busy"])
def test_a_chunk_that_was_stored_in_part_comes_again_rather_than_lose_the_rest(tmp_path: Path, answer: str) -> None:
    assert replayed(tmp_path, answer).stored == VALUES[:5] + VALUES


def test_a_record_that_is_refused_for_good_is_kept_and_the_others_go_on(tmp_path: Path) -> None:
    assert replayed(tmp_path, "refused").stored == VALUES[1:]
    (line,) = (tmp_path / "refused" / "refused.jsonl").read_text().splitlines()
    assert json.loads(line)["error_code"] == errors.TOO_LARGE


def test_a_refusal_that_cannot_be_noted_down_is_noted_later_and_nothing_is_sent_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse, faults = SpoolFiles.refuse, [OSError(5, "input/output error")] * 3

    def failing(self: SpoolFiles, records: Sequence[tuple[Outgoing, GatewayError]]) -> None:
        if faults:
            raise faults.pop()
        refuse(self, records)

    monkeypatch.setattr(SpoolFiles, "refuse", failing)
    line = replayed(tmp_path, "refused")
    assert (line.stored, line.tries) == (VALUES[1:], 1)
    assert len((tmp_path / "refused" / "refused.jsonl").read_text().splitlines()) == 1


def test_what_waits_for_its_turn_goes_half_as_fast_as_the_spool_empties() -> None:
    async def scenario() -> None:
        pacing, loop = Pacing(), asyncio.get_running_loop()
        assert not pacing.spend(1)
        for _ in range(10):
            pacing.queue(Batch(RECORDS, loop), range(10))
        through = 0
        for _ in range(4):
            pacing.replayed(20)
            while entry := pacing.next():
                assert pacing.spend(len(entry[1]))
                through += 1
        assert through == 4
        assert len(pacing.all()) == 6
        assert not pacing

    asyncio.run(scenario())


def test_the_queue_is_bounded_but_takes_one_request_of_any_size() -> None:
    async def scenario() -> None:
        pacing, loop = Pacing(), asyncio.get_running_loop()
        assert pacing.has_room(MOST_QUEUED * 2)
        pacing.queue(Batch(RECORDS, loop), range(MOST_QUEUED * 2))
        assert not pacing.has_room(1)
        pacing.all()
        assert pacing.has_room(1)

    asyncio.run(scenario())
