"""Dead letters of this run, read from their topic."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from weir.demo.ledger import Origin
from weir.errors import TransientError

TIMEOUT_SECONDS = 10.0


class DeadLetterWatch(threading.Thread):
    """Reads the dead-letter topic from its present end on; ``reasons`` has the reason of each origin."""

    def __init__(self, client: Mapping[str, object], topic: str, source: str) -> None:
        """Find the end of ``topic`` now; only letters that came from the topic ``source`` are counted.

        Raises :class:`TransientError` when Kafka does not answer.
        """
        super().__init__(name="demo-dead-letters", daemon=True)
        self.reasons: dict[Origin, str] = {}
        self.failure: BaseException | None = None
        self._source = source.encode()
        self._stopping = threading.Event()
        # librdkafka wants a group; nothing is ever committed to it
        group = {"group.id": f"{topic}.demo-{uuid.uuid4().hex}", "enable.auto.commit": False}
        self._consumer = Consumer({**client, **group, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100})
        self._consumer.assign(_ends(self._consumer, topic))

    def stop(self) -> None:
        """Ask for the end; join the thread to wait for it."""
        self._stopping.set()

    def run(self) -> None:
        """Read until stopped; what goes wrong is kept in ``failure``."""
        try:
            while not self._stopping.is_set():
                for message in self._consumer.consume(500, timeout=0.2):
                    if message.error() is None:
                        self._enter(message)
        except BaseException as error:
            self.failure = error
        finally:
            self._consumer.close()

    def by_reason(self) -> dict[str, int]:
        """How many messages were refused, by reason; one that was refused twice after a crash counts once."""
        return dict(Counter(list(self.reasons.values())).most_common())

    def _enter(self, message: Message) -> None:
        headers = {name: value for name, value in dict(message.headers() or []).items() if isinstance(value, bytes)}
        if headers.get("topic") == self._source:
            origin = (int(headers["partition"]), int(headers["offset"]))
            self.reasons[origin] = headers["reason"].decode()


def _ends(consumer: Consumer, topic: str) -> list[TopicPartition]:
    try:
        partitions = consumer.list_topics(topic, timeout=TIMEOUT_SECONDS).topics[topic].partitions
        ends = []
        for number in partitions:
            _, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=TIMEOUT_SECONDS)
            ends.append(TopicPartition(topic, number, high))
        return ends
    except KafkaException as error:
        raise TransientError(f"The end of {topic} cannot be read: {error.args[0].str()}; see `weir status`.") from error
