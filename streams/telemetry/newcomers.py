"""Devices that nobody registered: dead letters, or taken in as pending where their organisation says so.

A reading does not say whose it is, so an organisation that takes in unknown devices says how their ids begin: its
property ``unknown_devices`` is ``{"policy": "register", "prefix": "acme-", "most": 1000}``. The longest prefix that
fits wins. A device that is taken in has the status pending, is in no project, and each of its sensors measures the
metric of the same name. New sensors of a pending device are taken in as well; those of any other device are not, and
neither is a device that was retired.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import polars as pl

from connectors.postgres.devices import register
from connectors.postgres.metadata import Metadata
from connectors.postgres.newcomers import PENDING, WITHIN_SECONDS, admissible
from streams.engine.key_index import Codes
from weir.errors import TransientError, UsageError

logger = logging.getLogger(__name__)

MOST_TURNED_AWAY: Final = 100_000
"""Names that are remembered as turned away, so that each of their readings does not ask Postgres again."""

PAUSE_SECONDS: Final = 30.0
"""After a failure nobody is taken in for so long: all readings of the worker wait for each attempt."""

LONGEST_NAME: Final = 200
"""Bytes of a device id or sensor name that Postgres takes."""


class Newcomers:
    """Takes unknown devices in, as the policies of the newest metadata say."""

    def __init__(self, dsn: str) -> None:
        """Register through ``dsn``."""
        self._dsn = dsn
        self._turned_away: set[tuple[str, str]] = set()
        self._version = -1
        self._again_at = 0.0

    async def take_in(self, frame: pl.DataFrame, codes: Codes, metadata: Metadata) -> bool:
        """Register the unknown devices of a block that an organisation takes in; say whether there were any.

        ``frame`` has device_id, sensor, value and str_value; unknown are those of code -1. While Postgres
        is away nobody is taken in: the readings become dead letters, which can be replayed.
        """
        if metadata.policies.is_empty() or time.monotonic() < self._again_at:
            return False
        if metadata.version != self._version:
            self._turned_away, self._version = set(), metadata.version
        wanted = self._wanted(frame.filter(pl.Series(codes < 0)), metadata.policies)
        try:
            taken = [
                await asyncio.to_thread(self._register, str(organisation), group)
                for (organisation,), group in wanted.group_by("org_id", maintain_order=True)
            ]
        except TransientError as error:
            self._again_at = time.monotonic() + PAUSE_SECONDS
            logger.warning("%s Unknown devices are not taken in for %.0f seconds.", error, PAUSE_SECONDS)
            return False
        except UsageError as error:
            logger.warning("%s Unknown devices are not taken in.", error)
            return False
        return any(taken)

    def _wanted(self, unknown: pl.DataFrame, policies: pl.DataFrame) -> pl.DataFrame:
        """Names with the organisation that takes them in, without those that were turned away."""
        names = unknown.group_by("device_id", "sensor", maintain_order=True).agg(
            # a first reading that is a status code only tells nothing of the values to come
            is_number=(pl.col("value").is_not_null() | pl.col("str_value").is_null()).any()
        )
        asked = [name not in self._turned_away for name in names.select("device_id", "sensor").iter_rows()]
        names = names.filter(pl.Series(asked, dtype=pl.Boolean), _storable("device_id"), _storable("sensor"))
        by_length = policies.sort(pl.col("prefix").str.len_bytes(), descending=True)
        fits = [
            pl.when(pl.col("device_id").str.starts_with(prefix)).then(pl.struct(org_id=pl.lit(org), most=pl.lit(most)))
            for org, prefix, most in by_length.iter_rows()
        ]
        return names.with_columns(pl.coalesce(fits).alias("policy")).drop_nulls("policy").unnest("policy")

    def _register(self, organisation: str, group: pl.DataFrame) -> bool:
        devices = group["device_id"].unique().sort().to_list()
        may = admissible(self._dsn, organisation, devices, int(group["most"][0]))
        room = pl.col("device_id").replace_strict(may, default=0, return_dtype=pl.Int64)
        fits = pl.int_range(pl.len()).over("device_id") < room
        taken = group.filter(fits)
        self._turn_away(group.filter(~fits))
        if taken.is_empty():
            return False
        sensors = taken.select(
            "device_id",
            "sensor",
            metric=pl.col("sensor").str.to_lowercase().str.replace_all(r"[^a-z0-9_]+", "_"),
            value_type=pl.when("is_number").then(pl.lit("float")).otherwise(pl.lit("string")),
        )
        registered = register(self._dsn, organisation, None, sensors, status=PENDING, within_seconds=WITHIN_SECONDS)
        logger.info("%s took in %d devices, %d sensors", organisation, registered.devices, registered.sensors)
        return True

    def _turn_away(self, names: pl.DataFrame) -> None:
        if len(self._turned_away) + len(names) <= MOST_TURNED_AWAY:
            self._turned_away.update(names.select("device_id", "sensor").iter_rows())


def _storable(column: str) -> pl.Expr:
    text = pl.col(column)
    return text.str.len_bytes().is_between(1, LONGEST_NAME) & ~text.str.contains("\0", literal=True)
