"""The watermark of the stage that feeds this one, read from its committed checkpoint.

A rollup's own input says nothing while no window closes upstream, and the wall clock would close its windows too early
while the stage before it works off a backlog. The checkpoint of that stage says exactly up to which event time its
windows are closed **and published**; so when the partition of the same number is read to its end, that is how far this
stage is, too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.engine.checkpoint import NO_WATERMARK, from_commit

logger = logging.getLogger(__name__)


class UpstreamWatermark:
    """Watermarks that ``group`` has committed for the partitions of ``topic``."""

    def __init__(self, client: Mapping[str, str | int | float | bool], group: str, topic: str) -> None:
        """Ask with librdkafka's settings ``client``, through a consumer that never joins the group."""
        self._consumer = Consumer({**client, "group.id": group, "enable.auto.commit": False})
        self._group = group
        self._topic = topic
        self._known: dict[int, int] = {}

    def before(self, partition: int) -> int | None:
        """Return the watermark (ms) that was committed when this was last called, and ask for the present one.

        One call behind on purpose: between the two calls the partition was silent and read to its end, so everything
        that was published before that commit has been read. Blocks for one request. ``None`` while unknown.
        """
        known = self._known.get(partition)
        try:
            answer = self._consumer.committed([TopicPartition(self._topic, partition)], timeout=5)
        except KafkaException as error:
            logger.warning("The checkpoint of %s cannot be read: %s", self._group, error)
            return known
        for found in answer:
            checkpoint = from_commit(found.offset, found.metadata)
            if checkpoint is not None and checkpoint.watermark != NO_WATERMARK:
                self._known[partition] = checkpoint.watermark
        return known
