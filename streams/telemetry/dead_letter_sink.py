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

from streams.engine.block import Block
from streams.engine.codec import Decoded
from streams.engine.outcome import Outcome
from streams.engine.stage import Commit, Stage
from streams.telemetry.dead_letter_rows import dead_letter_rows
from streams.telemetry.make_stage import make_stage, stage_options
from weir.settings import Settings

DEAD_LETTERS: Final = "dead_letters"
LABELS: Final = ("reason", "stage", "topic", "org_id")
"""Columns with few different texts."""


class Undecoded:
    """A decoder that takes every value as it is: the frame has no columns, the index every position."""

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
    options = stage_options(settings, settings.groups.dead_letters, DEAD_LETTERS)
    return DeadLettersStage(make_stage(settings, options, commit, LABELS))
