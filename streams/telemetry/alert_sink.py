"""The stage that keeps alerts in ClickHouse, as every other stage keeps its rows."""

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

ALERTS: Final = "alerts"
LABELS: Final = ("kind", "state", "org_id", "project_id", "sensor")
"""Columns with few different texts."""


class AlertsStage:
    """Alerts in; rows of the table ``alerts`` out."""

    def __init__(self, stage: Stage) -> None:
        """Store through ``stage``."""
        self._stage = stage
        self.stop, self.failed = stage.stop, stage.failed

    async def process(self, block: Block) -> None:
        """Store one block."""
        if block.silent:
            await self._stage.silent(block, None)
        else:
            rows = block.frame.with_columns(pl.col("ts", "window_start", "window_end").cast(TIME))
            await self._stage.accept(block, Outcome(rows, block.offsets, None, undecodable(block, ALERTS)))


def alerts_stage(settings: Settings, commit: Commit) -> AlertsStage:
    """Make the stage; nothing is connected before its first block."""
    return AlertsStage(make_stage(settings, stage_options(settings, settings.groups.alerts, ALERTS), commit, LABELS))
