"""Puts letters back where they came from, in batches: write, wait for the broker, leave a receipt.

Interrupted or failing anywhere, a record may be without its receipt and go back once more the next time; it is stored
once all the same, for a reading is known by device, sensor and time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Final

from connectors.kafka.client import kafka_client_config
from streams.engine.dead_letters import FIRST_SEEN, REPLAY_COUNT
from streams.engine.producer import AcknowledgedProducer, Record, producer_config
from streams.telemetry.letter import Letter, Origin, read_letter
from weir.dlq.receipts import receipt_records
from weir.dlq.replay_plan import GONE, TOO_LARGE, ReplayPlan
from weir.dlq.topic_reader import Stretch, TopicReader
from weir.errors import TransientError
from weir.settings import Settings

BATCH_LETTERS: Final = 500
BATCH_BYTES: Final = 8_388_608

ALONE_BYTES: Final = 524_288
"""A larger record is written by itself: the broker may find it too large, and then its neighbours must not suffer."""

LARGEST_BYTES: Final = 67_108_864
"""Largest record written: Kafka's limit is on the compressed batch, so records may be far larger than it."""

Whole = tuple[Origin, Record]


def replay_producer(settings: Settings) -> AcknowledgedProducer:
    """A producer for a replay: it takes giants, and gives up sooner than a worker does."""
    own = {"message.max.bytes": LARGEST_BYTES, "delivery.timeout.ms": 30_000, "log_level": 0}
    return AcknowledgedProducer(producer_config(kafka_client_config(settings.kafka)) | own)


class Replay:
    """One run; ``put_back`` and ``left`` (by the words of WHY_LEFT) are true at any moment, however it ends."""

    def __init__(
        self, settings: Settings, producer: AcknowledgedProducer, rate: float | None, stop: Callable[[], bool]
    ) -> None:
        """``rate`` is letters a second at most; when ``stop`` says so, the run ends after the batch at hand."""
        self.put_back = 0
        self.left: Counter[str] = Counter()
        self._settings = settings
        self._producer = producer
        self._rate = rate
        self._stop = stop

    def run(self, plan: ReplayPlan, progress: Callable[[int], None]) -> None:
        """Put the chosen letters back; blocks, and calls ``progress`` with the letters done so far.

        Raises :class:`TransientError` when Kafka goes away.
        """
        began = time.monotonic()
        with ExitStack() as readers:
            for batch in _batches(self._whole_records(plan, readers), self._most):
                self._put_back(batch)
                progress(self.put_back + self.left.total())
                if self._stop():
                    return
                if self._rate is not None:
                    time.sleep(max(0.0, began + self.put_back / self._rate - time.monotonic()))

    @property
    def _most(self) -> int:
        return BATCH_LETTERS if self._rate is None else max(1, min(BATCH_LETTERS, int(self._rate)))

    def _put_back(self, batch: list[Whole]) -> None:
        try:
            self._producer.write([record for _, record in batch])
        except TransientError as error:
            # the producer's text is all there is: it holds librdkafka's name of the code
            if len(batch) > 1 or "MSG_SIZE_TOO_LARGE" not in str(error):
                raise
            self.left[TOO_LARGE] += 1
            return
        self.put_back += len(batch)
        self._producer.write(receipt_records(self._settings.topics.replayed, (origin for origin, _ in batch)))

    def _whole_records(self, plan: ReplayPlan, readers: ExitStack) -> Iterator[Whole]:
        sources: dict[str, TopicReader] = {}
        for letter, origin in _letters_of(self._settings, plan, readers):
            key, value = letter.key, letter.value
            if letter.is_cut:
                if origin.topic not in sources:
                    sources[origin.topic] = readers.enter_context(TopicReader(self._settings, origin.topic))
                whole = _fetch_whole(sources[origin.topic], origin, letter)
                if whole is None:
                    self.left[GONE] += 1
                    continue
                key, value = whole
            yield origin, replay_record(letter, origin, key, value)


def replay_record(letter: Letter, origin: Origin, key: bytes | None, value: bytes | None) -> Record:
    """The record that goes back: key and value byte for byte, and what the next refusal must know."""
    headers = ((FIRST_SEEN, letter.first_seen_ms), (REPLAY_COUNT, letter.replay_count + 1))
    encoded = [(name, str(number).encode()) for name, number in headers]
    return Record(origin.topic, key, value, origin.partition, encoded)


def _letters_of(settings: Settings, plan: ReplayPlan, readers: ExitStack) -> Iterator[tuple[Letter, Origin]]:
    """Read the chosen letters once more: the plan has kept their places only, for there may be millions."""
    chosen = {(each.partition, each.offset): each.origin for each in plan.chosen}
    stretches: dict[int, Stretch] = {}
    for partition, offset in chosen:
        begin, end = stretches.get(partition, (offset, offset + 1))
        stretches[partition] = Stretch(min(begin, offset), max(end, offset + 1))
    reader = readers.enter_context(TopicReader(settings, settings.topics.deadletters))
    for message in reader.read(stretches):
        origin = chosen.get((message.partition() or 0, message.offset() or 0))
        if origin is not None:
            yield read_letter(message), origin


def _fetch_whole(source: TopicReader, origin: Origin, letter: Letter) -> tuple[bytes | None, bytes] | None:
    """Key and value as they were before they were cut; None when their topic has another record there, or none."""
    message = source.message(origin.partition, origin.offset)
    if message is None:
        return None
    whole = read_letter(message)
    value, size = whole.value or b"", letter.original_size
    same_key = (whole.key or b"").startswith(letter.key or b"")
    same_value = value.startswith(letter.value or b"") and size in (None, len(value))
    return (whole.key, value) if same_key and same_value else None


def _batches(records: Iterable[Whole], most: int) -> Iterator[list[Whole]]:
    """Cut by number and bytes, in order; a large record is a batch of its own."""
    batch: list[Whole] = []
    held = 0
    for origin, record in records:
        size = len(record.key or b"") + len(record.value or b"")
        if batch and (size > ALONE_BYTES or held + size > BATCH_BYTES or len(batch) >= most):
            yield batch
            batch, held = [], 0
        batch.append((origin, record))
        held += size
        if size > ALONE_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
