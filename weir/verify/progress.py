"""How far the stages are, as their own checkpoints in Kafka say: what is stored, and which windows are closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from connectors.kafka.client import kafka_client_config
from streams.engine.checkpoint import NO_WATERMARK, Checkpoint
from streams.engine.group_progress import GroupProgress
from streams.telemetry.pipeline import AGGREGATES_1H, AGGREGATES_1M, READINGS
from weir.settings import Settings

POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Closed:
    """Event time (ms) up to which windows are closed, by partition; a partition that is missing closed none."""

    minutes: Mapping[int, int]
    hours: Mapping[int, int]


class StageProgress:
    """Reads the checkpoints of the three stages."""

    def __init__(self, settings: Settings) -> None:
        """Connects at the first question."""
        self._settings = settings
        self._groups = GroupProgress(kafka_client_config(settings.kafka))

    def close(self) -> None:
        """Close connections."""
        self._groups.close()

    def closed(self) -> Closed:
        """Up to where windows are closed and published now."""
        topics = self._settings.topics
        minutes = self._checkpoints(READINGS, topics.readings)
        hours = self._checkpoints(AGGREGATES_1M, topics.aggregates_1m)
        return Closed(_watermarks(minutes), _watermarks(hours))

    def lag(self, ends: Mapping[int, int]) -> dict[str, int]:
        """By stage, how many messages it has not stored: readings below ``ends``, and aggregates written by now."""
        return {
            stage: sum(max(0, end - stored.get(number, 0)) for number, end in wanted().items())
            for stage, topic, wanted in self._chain(ends)
            for stored in (self._stored(stage, topic),)
        }

    def await_stored(self, ends: Mapping[int, int], seconds: float) -> bool:
        """Wait until all stages have stored what lies below ``ends`` in the readings topic, and what came of it."""
        deadline = time.monotonic() + seconds
        return all(self._await_stage(stage, topic, wanted(), deadline) for stage, topic, wanted in self._chain(ends))

    def await_closed(
        self, minutes: Mapping[int, int], hours: Mapping[int, int], deadline: float, tick: Callable[[], bool]
    ) -> bool:
        """Wait until windows are closed up to these event times (ms) by partition, at most till ``deadline``.

        ``deadline`` is monotonic. ``tick`` is called in between; when it returns True the wait ends with False.
        """
        while True:
            closed = self.closed()
            if _reached(closed.minutes, minutes) and _reached(closed.hours, hours):
                return True
            if tick() or time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)

    def _chain(self, ends: Mapping[int, int]) -> tuple[tuple[str, str, Callable[[], Mapping[int, int]]], ...]:
        """The stages in their order: each one's topic, and up to where it must have stored it."""
        topics = self._settings.topics
        return (
            (READINGS, topics.readings, lambda: ends),
            (AGGREGATES_1M, topics.aggregates_1m, lambda: self._ends(AGGREGATES_1M, topics.aggregates_1m)),
            (AGGREGATES_1H, topics.aggregates_1h, lambda: self._ends(AGGREGATES_1H, topics.aggregates_1h)),
        )

    def _stored(self, stage: str, topic: str) -> dict[int, int]:
        return {number: found.stored for number, found in self._checkpoints(stage, topic).items()}

    def _await_stage(self, stage: str, topic: str, ends: Mapping[int, int], deadline: float) -> bool:
        while True:
            if _reached(self._stored(stage, topic), ends):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)

    def _checkpoints(self, stage: str, topic: str) -> dict[int, Checkpoint]:
        return self._groups.checkpoints(self._group(stage), topic)

    def _ends(self, stage: str, topic: str) -> dict[int, int]:
        return self._groups.ends(self._group(stage), topic)

    def _group(self, stage: str) -> str:
        return str(getattr(self._settings.groups, stage))


def _watermarks(checkpoints: Mapping[int, Checkpoint]) -> dict[int, int]:
    return {number: each.watermark for number, each in checkpoints.items() if each.watermark != NO_WATERMARK}


def _reached(found: Mapping[int, int], wanted: Mapping[int, int]) -> bool:
    return all(found.get(number, NO_WATERMARK) >= least for number, least in wanted.items())
