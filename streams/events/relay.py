"""Passes events on from Postgres to Kafka, and with each event of a command what waits for that device now.

A batch goes in these steps::

    1. read   the events after the position, in order, and the commands that wait for devices they name
    2. write  all of them, acknowledged by the broker
    3. save   the position in Postgres

A crash between 2 and 3 writes a batch twice, never not at all. Whoever reads tells events apart by their id, and takes
of two lists of commands the one of the higher revision.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import closing
from typing import Final, NamedTuple

from prometheus_client import Counter, Gauge

from connectors.kafka.client import kafka_client_config
from connectors.kafka.topics import EVENT_BYTES
from connectors.postgres.outbox import Lag, Outbox, open_outbox
from connectors.registry import Registry
from streams.engine.producer import AcknowledgedProducer, producer_config
from streams.events.records import RecordWriter, commands_record, event_record
from weir.errors import TransientError
from weir.settings import Settings

logger = logging.getLogger(__name__)

RELAYED: Final = Counter("weir_relay_events", "Events that this worker has written to Kafka.")
ACTIVE: Final = Gauge("weir_relay_active", "1 in the worker that passes events on, 0 in those that stand by.")
LAG_EVENTS: Final = Gauge(
    "weir_relay_lag_events", "Events in Postgres that are not in Kafka yet; 100,000 are counted at most."
)
LAG_SECONDS: Final = Gauge("weir_relay_lag_seconds", "Events that were written longer ago than this are in Kafka.")

LOOK_SECONDS: Final = 1.0
"""How often it looks although nobody has told it to, and asks for the lock, and tells its lag."""

LONGEST_PAUSE_SECONDS: Final = 10.0

STOP_SECONDS: Final = 0.2
"""How long an order to stop may go unnoticed."""

COMMAND_EVENTS: Final = "command."


class Writers(NamedTuple):
    """Writers of both topics."""

    events: RecordWriter
    commands: RecordWriter


class Relay:
    """One relay of a worker; of all workers' relays one is active. Runs in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected yet."""
        self._settings = settings
        config = producer_config(kafka_client_config(settings.kafka)) | {"message.max.bytes": EVENT_BYTES}
        self._producer = AcknowledgedProducer(config)
        self._writers: Writers | None = None
        self._lag = _LagSince()
        LAG_SECONDS.set_function(self._lag.seconds)

    def run(self, stopping: threading.Event) -> None:
        """Pass events on until ``stopping`` is set; a server that is away is waited for, for ever.

        Raises :class:`~weir.errors.ConfigError` for what waiting will not mend.
        """
        dsn = self._settings.postgres.dsn.get_secret_value()
        failures = 0
        while not stopping.is_set():
            try:
                with open_outbox(dsn, self._settings.topics.events) as outbox:
                    failures = 0
                    self._serve(outbox, stopping)
            except TransientError as error:
                failures += 1
                logger.warning("%s Events of the last %.0f s wait in Postgres.", error, self._lag.seconds())
            ACTIVE.set(0)
            stopping.wait(random.uniform(0.2, 1.0) * min(LONGEST_PAUSE_SECONDS, 2**failures))  # noqa: S311 - no secret

    def step(self, outbox: Outbox) -> int:
        """Pass one batch on and return how many events it had. Raises as :meth:`run`, and TransientError."""
        writers = self._known_writers()
        events = outbox.batch()
        if not events:
            return 0
        told = dict.fromkeys(event.entity_id for event in events if event.event_type.startswith(COMMAND_EVENTS))
        waiting = outbox.waiting_commands(list(told)) if told else []
        records = [event_record(writers.events, event) for event in events]
        self._producer.write(records + [commands_record(writers.commands, device) for device in waiting])
        outbox.save(events[-1].position)
        RELAYED.inc(len(events))
        return len(events)

    def _serve(self, outbox: Outbox, stopping: threading.Event) -> None:
        """Pass on, or stand by, for as long as the connection lasts."""
        look_at = 0.0
        moved = 0
        while not stopping.is_set():
            looks = time.monotonic() >= look_at
            if looks:
                look_at = time.monotonic() + LOOK_SECONDS
                ACTIVE.set(outbox.hold())
            if not outbox.is_held:
                self._lag.observe(outbox.lag())
                stopping.wait(LOOK_SECONDS)
            elif looks or moved or outbox.wait(STOP_SECONDS):
                moved = self.step(outbox)
                if looks or not moved:
                    self._lag.observe(outbox.lag())

    def _known_writers(self) -> Writers:
        if self._writers is None:
            topics = self._settings.topics
            with closing(Registry(self._settings.registry)) as registry:
                self._writers = Writers(
                    RecordWriter(registry, topics.events, "Event"), RecordWriter(registry, topics.commands, "Commands")
                )
        return self._writers


class _LagSince:
    """The lag that was seen last; it grows while nothing newer is seen, because nobody knows what happens meanwhile."""

    def __init__(self) -> None:
        self._seen = Lag(0, 0.0)
        self._at = time.monotonic()

    def observe(self, lag: Lag) -> None:
        self._seen, self._at = lag, time.monotonic()
        LAG_EVENTS.set(lag.events)

    def seconds(self) -> float:
        return self._seen.seconds + time.monotonic() - self._at
