"""The rules of the active series as columns by the series' codes, so that a block is judged by looking them up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.postgres.alert_rules import AlertRules
from connectors.postgres.metadata import Metadata
from streams.engine.key_index import Codes, KeyIndex
from streams.telemetry.alerts.crossings import NO_LIMITS, Limits
from streams.telemetry.alerts.devices import Devices
from weir.errors import WeirError

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0

_NO_RULE: Final = pl.DataFrame(
    {"low": [None], "high": [None], "hysteresis": [0.0], "for_ms": [0]},
    schema={"low": pl.Float64, "high": pl.Float64, "hysteresis": pl.Float64, "for_ms": pl.Int64},
)

_NO_CODES: Final[Codes] = np.empty(0, dtype=np.int32)

Load = Callable[[pl.Series | None], AlertRules]
"""Reads the rules of these devices, or of all."""


class Rulebook:
    """All rules as they were read, found by name."""

    def __init__(self, rules: AlertRules) -> None:
        """Hash the names of the sensors once: about a second for a million."""
        self.rules = rules
        self._index = KeyIndex("device_id", "sensor")
        self._index.encode(rules.thresholds)
        self.thresholds = pl.concat([_NO_RULE, rules.thresholds.select(_NO_RULE.columns)])
        """Row 0 is of the sensors without a rule."""

    def rows(self, names: pl.DataFrame) -> npt.NDArray[np.int32]:
        """The row of each series in the thresholds."""
        at = self._index.encode(names, lambda unknown: np.zeros(len(unknown), dtype=np.bool_))
        return at + np.int32(1)

    def updated(self, changes: AlertRules, changed: pl.Series | None) -> Rulebook:
        """With what is now the whole truth about the devices that changed."""
        if changed is None:
            return Rulebook(changes)
        others = ~pl.col("device_id").is_in(changed.implode())
        thresholds, silences = self.rules.thresholds.filter(others), self.rules.silences.filter(others)
        return Rulebook(
            AlertRules(
                pl.concat([thresholds, changes.thresholds]), pl.concat([silences, changes.silences]), changes.faults
            )
        )


class Rules:
    """The rules in force, by the codes of the series that are active."""

    limits: Limits
    """The rule of each series, by code."""
    any_ruled: bool
    """Whether there is one for any of these series."""
    device_of: Codes
    """The number of each series' device, by code of the series."""

    def __init__(self, load: Load) -> None:
        """Load the rules for the first time; blocks, and raises what ``load`` raises."""
        self._load = load
        self.devices = Devices()
        book = Rulebook(load(None))
        self._names = pl.DataFrame(schema={"device_id": pl.String, "sensor": pl.String})
        self._take(book, book.rules, None)
        self._stale = pl.Series("device_id", [], pl.String)
        self._all_stale = False
        self._refreshing: asyncio.Task[None] | None = None

    async def follow_metadata(self, metadata: Metadata) -> None:
        """Load the rules of what changed, and return before that is done: readings wait for whoever is told."""
        if metadata.changed is None:
            self._all_stale = True
        else:
            self._stale = pl.concat([self._stale, metadata.changed]).unique()
        if not self.refreshing:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    @property
    def refreshing(self) -> bool:
        """Whether rules are being loaded."""
        return self._refreshing is not None and not self._refreshing.done()

    async def _refresh(self) -> None:
        while self._all_stale or len(self._stale):
            changed = None if self._all_stale else self._stale
            self._stale, self._all_stale = self._stale.clear(), False
            try:
                changes = await asyncio.to_thread(self._load, changed)
                self._take(await asyncio.to_thread(self._book.updated, changes, changed), changes, changed)
            except WeirError as error:  # whatever the server refuses now: the changes are not forgotten
                logger.warning("%s The alert rules in use stay in use.", error)
                self._stale = self._stale if changed is None else pl.concat([self._stale, changed])
                self._all_stale = self._all_stale or changed is None
                await asyncio.sleep(RETRY_SECONDS)

    @property
    def any(self) -> bool:
        """Whether there is a rule at all."""
        return bool(len(self._book.rules.thresholds) or len(self._book.rules.silences))

    @property
    def reach_ms(self) -> int:
        """How long before now a reading may lie that a rule still asks for."""
        lasting, silent = self._book.thresholds["for_ms"], self._book.rules.silences["silent_ms"]
        longest: int = max([0, *lasting.top_k(1).to_list(), *silent.top_k(1).to_list()])
        return longest

    @property
    def longest_ms(self) -> int:
        """The longest duration that a threshold asks for."""
        longest: int = max([0, *self._book.thresholds["for_ms"].top_k(1).to_list()])
        return longest

    def follow(self, names: pl.DataFrame) -> None:
        """Have a row for each of these series; ``names`` only ever grows."""
        if len(self.limits.ruled) >= len(names):
            return
        new = names[len(self.limits.ruled) :]
        self._names = names
        self.limits = self.limits.followed_by(self._limits_of(new))
        self.any_ruled = bool(self.limits.ruled.any())
        self.device_of = np.concatenate((self.device_of, self.devices.numbers(new["device_id"])))

    def renumber(self, names: pl.DataFrame) -> None:
        """Look again which series are of devices with numbers: a device got one after its series were seen."""
        self.device_of = self.devices.numbers(names["device_id"][: len(self.device_of)])

    def concerns(self, names: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Say of each series whether any rule is for it or its device."""
        concerned: npt.NDArray[np.bool_] = (self._book.rows(names) > 0) | (
            self.devices.numbers(names["device_id"]) >= 0
        )
        return concerned

    def lasting(self, names: pl.DataFrame) -> pl.DataFrame:
        """Those of these series whose rule asks for a duration."""
        return names.filter(pl.Series(self._book.thresholds["for_ms"].to_numpy()[self._book.rows(names)] > 0))

    def _limits_of(self, names: pl.DataFrame) -> Limits:
        at = self._book.rows(names)
        rows = self._book.thresholds[at]
        low, high = (rows[name].fill_null(float("nan")).to_numpy() for name in ("low", "high"))
        return Limits(low, high, rows["hysteresis"].to_numpy(), rows["for_ms"].to_numpy(), at > 0)

    def _take(self, book: Rulebook, changes: AlertRules, changed: pl.Series | None) -> None:
        """Put ``book`` into force, which differs from the one before in what ``changes`` say of these devices."""
        for fault in changes.faults:
            logger.warning("%s", fault)
        self._book = book
        self.devices.rule(changes.silences, changed)
        if changed is None:
            self.limits, self.device_of, self.any_ruled = NO_LIMITS, _NO_CODES, False
            self.follow(self._names)
            return
        touched = np.flatnonzero(self._names["device_id"].is_in(changed.implode()).to_numpy())
        names = self._names[touched]
        for column, fresh in zip(self.limits, self._limits_of(names), strict=True):
            column[touched] = fresh
        self.device_of[touched] = self.devices.numbers(names["device_id"])
        self.any_ruled = bool(self.limits.ruled.any())
