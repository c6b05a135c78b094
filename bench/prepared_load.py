"""Live load whose record batches stand ready before the first is due: a sender that takes next to nothing of the CPU.

Encoding each reading when it is due and handing it to librdkafka takes 4 to 6 us: at hundreds of thousands a second a
core that worker, broker and ClickHouse need. Here a burst is one record batch for each partition, made before; what is
left is to send it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from confluent_kafka import murmur2

from bench.dataset import Chunk
from weir.errors import TransientError
from weir.settings import Settings

BATCH_BYTES: Final = 900_000
"""Of a record batch, uncompressed: a broker takes 1 MiB."""

ACKNOWLEDGED_SECONDS: Final = 60.0

Burst = tuple[int, list[tuple[int, BatchBuilder]]]
"""Number of messages, and their batches with the partition of each."""


class PreparedLoad:
    """Bursts of messages to one topic, keyed as every producer of readings does (murmur2)."""

    def __init__(self, settings: Settings, chunks: Iterable[Chunk]) -> None:
        """Make a burst of every chunk for the readings topic; blocks, 1 to 2 us a message and what its making takes."""
        self._settings = settings
        self._bursts = list(_bursts(chunks, settings.kafka.partitions))

    def send(self, rate: int, stopping: threading.Event) -> int:
        """Send ``rate`` messages a second, each burst when its last is due, until ``stopping`` or the last.

        Blocks until all are acknowledged and gives how many they were. Raises
        :class:`~weir.errors.TransientError` when the broker does not take one.
        """
        return asyncio.run(self._send(rate, stopping))

    async def _send(self, rate: int, stopping: threading.Event) -> int:
        topic = self._settings.topics.readings
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka.bootstrap_servers, acks="all", compression_type="lz4"
        )
        await producer.start()
        try:
            began, sent = time.monotonic(), 0
            waiting: list[asyncio.Future[object]] = []
            for count, batches in self._bursts:
                await asyncio.sleep(began + (sent + count) / rate - time.monotonic())
                if stopping.is_set():
                    break
                for partition, batch in batches:
                    waiting.append(await producer.send_batch(batch, topic, partition=partition))
                sent += count
            await asyncio.wait_for(asyncio.gather(*waiting), ACKNOWLEDGED_SECONDS)
            return sent
        except (KafkaError, TimeoutError) as error:
            raise TransientError(f"Kafka does not take the readings: {error!r}.") from error
        finally:
            await producer.stop()


def _bursts(chunks: Iterable[Chunk], partitions: int) -> Iterator[Burst]:
    places: dict[bytes, int] = {}
    for chunk in chunks:
        batches: dict[int, list[BatchBuilder]] = {}
        for key, value in zip(chunk.keys, chunk.values, strict=True):
            partition = places.get(key)
            if partition is None:
                partition = places[key] = murmur2(key, partitions)
            _append(batches.setdefault(partition, []), key, value)
        ready = [(partition, batch) for partition, some in batches.items() for batch in some]
        for _, batch in ready:
            batch._build()  # noqa: SLF001 - compresses it now, not when it is due
        yield len(chunk.keys), ready


def _append(batches: list[BatchBuilder], key: bytes, value: bytes) -> None:
    if not batches or batches[-1].append(timestamp=None, key=key, value=value) is None:
        batches.append(BatchBuilder(BATCH_BYTES, DefaultRecordBatch.CODEC_LZ4))
        batches[-1].append(timestamp=None, key=key, value=value)
