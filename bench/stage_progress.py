"""How far a stage has come, read from outside: its committed checkpoints, and where its topic ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from connectors.kafka.client import kafka_client_config
from streams.engine.checkpoint import from_commit
from weir.errors import TransientError
from weir.settings import Settings

REQUEST_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class StageProgress:
    """Messages of all partitions: not yet known to be stored, and to read again after a crash now."""

    lag: int
    replay: int


class ProgressReader:
    """Asks the broker about one group on one topic; never joins the group."""

    def __init__(self, settings: Settings, group: str, topic: str) -> None:
        """Connect at the first question."""
        config = kafka_client_config(settings.kafka) | {"group.id": group, "enable.auto.commit": False}
        self._consumer = Consumer(config)
        self._group = group
        self._partitions = [TopicPartition(topic, number) for number in range(settings.kafka.partitions)]

    def read(self) -> StageProgress:
        """Where it is now; blocks for a request a partition and one more. Without a commit all is lag."""
        try:
            ends = [self._consumer.get_watermark_offsets(each, REQUEST_SECONDS)[1] for each in self._partitions]
            committed = self._consumer.committed(self._partitions, REQUEST_SECONDS)
        except KafkaException as error:
            raise TransientError(f"The progress of {self._group} cannot be read: {error}.") from error
        found = [from_commit(each.offset, each.metadata) for each in committed]
        stored = sum(checkpoint.stored for checkpoint in found if checkpoint is not None)
        replay = sum(checkpoint.stored - checkpoint.replay for checkpoint in found if checkpoint is not None)
        return StageProgress(sum(ends) - stored, replay)
