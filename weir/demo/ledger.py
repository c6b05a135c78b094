"""The demo's own record of what the broker acknowledged, and the producer that keeps it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from functools import partial

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from weir.demo.reading import Outgoing
from weir.errors import TransientError
from weir.verify.recompute import Acknowledged

Origin = tuple[int, int]
"""Partition and offset of a message in the readings topic."""


class Ledger:
    """What was acknowledged, and where it lies. One thread writes at a time; others may read the counts."""

    def __init__(self) -> None:
        """Begin empty."""
        self.readings: list[Acknowledged] = []
        self.bad: dict[Origin, Outgoing] = {}
        self.kinds: Counter[str] = Counter()
        self.ends: dict[int, int] = {}
        self.unacknowledged: list[Outgoing] = []

    def acknowledged(self, message: Outgoing, partition: int, offset: int, append_ts: int | None) -> None:
        """Enter one acknowledged message."""
        self.ends[partition] = max(self.ends.get(partition, 0), offset + 1)
        self.kinds[message.kind if message.reading else "bad"] += 1
        sent = message.reading
        if sent is None:
            self.bad[partition, offset] = message
        else:
            self.readings.append(
                Acknowledged(
                    sent.device_id, sent.sensor, sent.ts, sent.value, sent.str_value, partition, offset, append_ts
                )
            )

    @property
    def messages(self) -> int:
        """How many messages the broker acknowledged."""
        return len(self.readings) + len(self.bad)


class Uplink:
    """Sends messages to the readings topic and enters each acknowledgement into a ledger. Threads may share it."""

    def __init__(self, config: Mapping[str, object], topic: str, ledger: Ledger) -> None:
        """``config`` is librdkafka's, of an idempotent producer; nothing is connected yet."""
        self._producer = Producer(dict(config))
        self._topic = topic
        self._ledger = ledger
        self._entering = threading.Lock()

    def send(self, message: Outgoing) -> None:
        """Hand one message to the producer; blocks only while its queue is full."""
        while True:
            try:
                self._producer.produce(
                    self._topic,
                    value=message.value,
                    key=message.key.encode(),
                    on_delivery=partial(self._delivered, message),
                )
                return
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise TransientError(f"Kafka does not take readings: {error}; see `weir status`.") from error

    def poll(self) -> None:
        """Let acknowledgements in; does not block."""
        self._producer.poll(0)

    def flush(self, seconds: float) -> None:
        """Wait until everything sent is acknowledged; raises :class:`TransientError` after ``seconds``."""
        left = self._producer.flush(seconds)
        if left:
            raise TransientError(
                f"Kafka has not acknowledged {left} readings within {seconds:.0f} s; see `weir status`."
            )

    def _delivered(self, message: Outgoing, error: KafkaError | None, report: Message) -> None:
        with self._entering:  # whichever thread polls runs this
            if error is not None:
                self._ledger.unacknowledged.append(message)
                return
            kind, at_ms = report.timestamp()
            append_ts = at_ms if kind == TIMESTAMP_LOG_APPEND_TIME else None
            self._ledger.acknowledged(message, report.partition() or 0, report.offset() or 0, append_ts)
