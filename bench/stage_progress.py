"""How far a stage has come, read from outside: its committed checkpoints, and where its topic ends."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.kafka.client import kafka_client_config
from streams.engine.group_progress import GroupProgress
from weir.settings import Settings


@dataclass(frozen=True, slots=True)
class StageProgress:
    """Messages of all partitions: not yet known to be stored, and to read again after a crash now."""

    lag: int
    replay: int


class ProgressReader:
    """Asks the broker about one group on one topic."""

    def __init__(self, settings: Settings, group: str, topic: str) -> None:
        """Connect at the first question."""
        self._groups = GroupProgress(kafka_client_config(settings.kafka))
        self._group, self._topic = group, topic

    def read(self) -> StageProgress:
        """Where it is now; blocks for a few requests. Without a commit all is lag."""
        ends = self._groups.ends(self._group, self._topic)
        found = self._groups.checkpoints(self._group, self._topic).values()
        stored = sum(checkpoint.stored for checkpoint in found)
        return StageProgress(sum(ends.values()) - stored, sum(each.stored - each.replay for each in found))
