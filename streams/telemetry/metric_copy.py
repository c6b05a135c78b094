"""A copy of the registry of metrics in ClickHouse: analysts find metrics and their units beside the readings."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid

import polars as pl

from connectors.postgres.metadata import Metadata
from sinks.clickhouse.writer import ClickHouseWriter
from streams.engine.retrying import endlessly
from weir.errors import WeirError
from weir.settings import ClickHouseSettings

logger = logging.getLogger(__name__)


class MetricCopy:
    """Copies the registry whenever it changes, beside everything else: nothing waits for it.

    Every worker copies what it has; of several rows of a metric the last that was written holds, and whoever wrote an
    older one is about to write the newer.
    """

    def __init__(self, settings: ClickHouseSettings) -> None:
        """Connect at the first copy."""
        self._sink = ClickHouseWriter(settings)
        self._wanted = self._copied = pl.DataFrame()
        self._copying: asyncio.Task[None] | None = None

    async def follow_metadata(self, metadata: Metadata) -> None:
        """Have the metrics of ``metadata`` copied, if they differ from the last copy; returns at once."""
        self._wanted = metadata.metrics
        if self._copying is None or self._copying.done():
            self._copying = asyncio.create_task(self._copy())

    async def _copy(self) -> None:
        while not self._wanted.equals(self._copied):
            wanted = self._wanted
            try:
                await asyncio.to_thread(self._store, wanted)
            except WeirError as error:
                logger.warning("%s The metrics in ClickHouse stay as they are until the next change.", error)
                return
            self._copied = wanted

    @endlessly
    def _store(self, metrics: pl.DataFrame) -> None:
        if len(metrics):
            # what is written again after a change and back again is no repetition
            self._sink.insert("metric_definitions", metric_rows(metrics), token=f"metrics:{uuid.uuid4()}")


def metric_rows(metrics: pl.DataFrame) -> pl.DataFrame:
    """Return rows of ``metric_definitions`` from :data:`~connectors.postgres.metadata.METRIC_SCHEMA`."""
    words = [json.loads(each) if each else [] for each in metrics["enum_values"]]
    return metrics.with_columns(
        pl.Series("enum_values", words, dtype=pl.List(pl.String)), pl.col("json_schema").fill_null("")
    )
