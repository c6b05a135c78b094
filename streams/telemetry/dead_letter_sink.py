"""The stage that keeps dead letters in ClickHouse: exactly once and bounded in memory, like every other.

It reads what the other stages refused, decodes nothing and refuses nothing: a letter that made another letter would go
round for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from connectors.kafka.client import kafka_client_config
from sinks.clickhouse.writer import ClickHouseWriter
from streams.engine.block import Block
from streams.engine.codec import Codec, Decoded
from streams.engine.outcome import Outcome
from streams.engine.producer import AcknowledgedProducer, producer_config
from streams.engine.stage import Commit, Stage, StageOptions
from streams.telemetry.dead_letter_rows import dead_letter_rows
from weir.settings import Settings

DEAD_LETTERS: Final = "dead_letters"
LABELS: Final = ("reason", "stage", "topic", "org_id")
"""Columns with few different texts."""


class Undecoded(Codec):
    """A codec that takes every value as it is: the frame has no columns, the index every position."""

    def __init__(self) -> None:
        """There is no schema."""

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Accept all ``values`` and decode none."""
        return Decoded(pl.DataFrame(), np.arange(len(values), dtype=np.int64), [])


class DeadLettersStage:
    """Dead letters in; rows of ``dead_letters`` out."""

    def __init__(self, stage: Stage) -> None:
        """Store through ``stage``."""
        self._stage = stage
        self.stop, self.failed = stage.stop, stage.failed

    async def process(self, block: Block) -> None:
        """Store one block."""
        if block.silent:
            await self._stage.silent(block, None)
        else:
            rows = await asyncio.to_thread(dead_letter_rows, block.messages)
            await self._stage.accept(block, Outcome(rows, block.offsets, None, []))


def dead_letters_stage(settings: Settings, commit: Commit) -> DeadLettersStage:
    """Make the stage; nothing is connected before its first block."""
    options = StageOptions(
        name=settings.groups.dead_letters,
        table=DEAD_LETTERS,
        dead_letter_topic=settings.topics.deadletters,
        flush_rows=settings.stream.flush_rows,
        flush_seconds=settings.stream.flush_seconds,
        behind_flush_seconds=settings.stream.behind_flush_seconds,
        lateness_ms=0,
    )
    producer = AcknowledgedProducer(producer_config(kafka_client_config(settings.kafka)))
    return DeadLettersStage(Stage(options, commit, ClickHouseWriter(settings.clickhouse, labels=LABELS), producer))
