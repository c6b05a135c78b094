"""The demo's own record of what was acknowledged or refused, and the producer that keeps it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Protocol

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer

from weir.demo.reading import Outgoing, Reading
from weir.errors import TransientError
from weir.verify.recompute import Acknowledged, Identity
from weir.verify.unknown import Intent, Promised

Origin = tuple[int, int]
"""Partition and offset of a message in the readings topic."""


class Ledger:
    """What was acknowledged, and where it lies, and what the gateway refused. Threads may share it."""

    def __init__(self) -> None:
        """Begin empty."""
        self._entering = threading.Lock()
        self._promised: list[tuple[int, Intent]] = []
        self._latest: dict[Identity, int] = {}
        self._entered = 0
        self.turned_away: Counter[tuple[str, int]] = Counter()
        """Bad records that the gateway refused, by their kind and its error code."""
        self.readings: list[Acknowledged] = []
        self.bad: dict[Origin, Outgoing] = {}
        self.kinds: Counter[str] = Counter()
        self.ends: dict[int, int] = {}
        self.unacknowledged: list[Outgoing] = []

    def acknowledged(self, message: Outgoing, partition: int, offset: int, append_ts: int | None) -> None:
        """Enter one acknowledged message."""
        with self._entering:
            self.ends[partition] = max(self.ends.get(partition, 0), offset + 1)
            self.kinds[message.kind if message.reading else "bad"] += 1
            if message.reading is None:
                self.bad[partition, offset] = message
            else:
                self.readings.append(Acknowledged(*self._intent(message.reading), partition, offset, append_ts))

    def spooled(self, message: Outgoing) -> None:
        """Enter one that the gateway acknowledged and will bring to Kafka later."""
        with self._entering:
            if message.reading is None:
                self.unacknowledged.append(message)  # it will be a dead letter, but nobody can say which
                return
            self.kinds[message.kind] += 1
            intent = self._intent(message.reading)
            self._promised.append((self._entered, intent))

    def refused(self, message: Outgoing, code: int) -> None:
        """Enter one that the gateway refused with an error code."""
        with self._entering:
            if message.reading is None:
                self.turned_away[message.kind, code] += 1
            else:
                self.unacknowledged.append(message)

    def silent(self, message: Outgoing) -> None:
        """Enter one that has no answer."""
        with self._entering:
            self.unacknowledged.append(message)

    def promised(self) -> list[Promised]:
        """Readings that were acknowledged without a place in Kafka."""
        return [Promised(intent, self._latest[Identity(*intent[:3])] == number) for number, intent in self._promised]

    @property
    def messages(self) -> int:
        """How many messages were acknowledged."""
        return len(self.readings) + len(self._promised) + len(self.bad)

    def _intent(self, sent: Reading) -> Intent:
        """A device's messages are entered in the order of their sending."""
        self._entered += 1
        self._latest[Identity(sent.device_id, sent.sensor, sent.ts)] = self._entered
        return Intent(sent.device_id, sent.sensor, sent.ts, sent.value, sent.str_value)


class Uplink(Protocol):
    """A way for messages that enters into a ledger what became of them. Threads may share it."""

    def send(self, message: Outgoing) -> None:
        """Hand one message over."""

    def poll(self) -> None:
        """Let acknowledgements in; does not block. Raises what went wrong."""

    def flush(self, seconds: float) -> None:
        """Wait until everything sent has an answer; raises :class:`TransientError` after ``seconds``."""


class KafkaUplink:
    """Writes messages to the readings topic and enters each acknowledgement into a ledger. Threads may share it."""

    def __init__(self, config: Mapping[str, object], topic: str, ledger: Ledger) -> None:
        """``config`` is librdkafka's, of an idempotent producer; nothing is connected yet."""
        self._producer = Producer(dict(config))
        self._topic = topic
        self._ledger = ledger

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
        if error is not None:
            self._ledger.silent(message)
            return
        kind, at_ms = report.timestamp()
        append_ts = at_ms if kind == TIMESTAMP_LOG_APPEND_TIME else None
        self._ledger.acknowledged(message, report.partition() or 0, report.offset() or 0, append_ts)
