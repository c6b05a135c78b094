"""The stage that keeps events in ClickHouse, as every other stage keeps its rows."""

from __future__ import annotations

from typing import Final

import polars as pl

from streams.engine.block import Block
from streams.engine.outcome import Outcome
from streams.engine.stage import Commit, Stage
from streams.telemetry.enrich import TIME
from streams.telemetry.make_stage import make_stage, stage_options
from streams.telemetry.pipeline import undecodable
from weir.settings import Settings

EVENTS: Final = "events"
LABELS: Final = ("event_type", "org_id", "entity_type", "source")
"""Columns with few different texts."""


class EventsStage:
    """Events in; rows of the table ``events`` out."""

    def __init__(self, stage: Stage) -> None:
        """Store through ``stage``."""
        self._stage = stage
        self.stop, self.failed = stage.stop, stage.failed

    async def process(self, block: Block) -> None:
        """Store one block."""
        if block.silent:
            await self._stage.silent(block, None)
        else:
            rows = block.frame.with_columns(pl.col("ts").cast(TIME))
            await self._stage.accept(block, Outcome(rows, block.offsets, None, undecodable(block, EVENTS)))


def events_stage(settings: Settings, commit: Commit) -> EventsStage:
    """Make the stage; nothing is connected before its first block."""
    return EventsStage(make_stage(settings, stage_options(settings, settings.groups.events, EVENTS), commit, LABELS))
