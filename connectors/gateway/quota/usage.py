"""What became of each organisation's records, minute by minute, in ClickHouse's table ``usage``.

Counted in memory; every ``usage_seconds`` the counts are saved in ``data_dir/usage`` and then inserted. A crash loses
what was counted since the last save, at most ``usage_seconds`` of it. Nothing is written twice: a batch whose answer
was lost is sent again with the same rows and token, also by the next process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import polars as pl

from connectors.gateway.quota.usage_ledger import UsageLedger, UsageRow
from sinks.clickhouse.writer import ClickHouseWriter
from weir.errors import ConfigError, WeirError
from weir.settings import Settings

TABLE: Final = "usage"
SAMPLED: Final = "sampling"
MINUTE_SECONDS: Final = 60
LONGEST_RETRY_SECONDS: Final = 300.0
LONGEST_ANSWER_SECONDS: Final = 5.0
"""The end of the process waits for an answer; one that comes later costs no more than a batch that is sent again."""

_SCHEMA: Final = {
    "org_id": pl.String,
    "minute": pl.Int64,
    "reason": pl.String,
    "accepted": pl.UInt64,
    "sampled_out": pl.UInt64,
    "rejected": pl.UInt64,
}

_log = logging.getLogger(__name__)


class Usage:
    """The ledger of one gateway; :meth:`count` belongs to the event loop, all I/O is done in threads."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Count from now on; nothing is written before :meth:`start`. ``clock`` gives seconds since 1970."""
        self._clock = clock
        self._every = settings.gateway.usage_seconds
        answer_seconds = min(settings.clickhouse.timeout_seconds, LONGEST_ANSWER_SECONDS)
        self._writer = ClickHouseWriter(settings.clickhouse.model_copy(update={"timeout_seconds": answer_seconds}))
        self._ledger = UsageLedger(settings.gateway.data_dir / "usage")
        self._counts: dict[tuple[str, int, str], list[int]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._failures = 0
        self._retry_at = 0.0

    def count(
        self, organisation: str, *, accepted: int = 0, sampled_out: int = 0, rejected: int = 0, reason: str = ""
    ) -> None:
        """Add to this minute; ``reason`` is why records were rejected. What belongs to no organisation is nobody's."""
        if not organisation:
            return
        minute = int(self._clock()) // MINUTE_SECONDS * MINUTE_SECONDS
        if accepted:
            self._row(organisation, minute, "")[0] += accepted
        if sampled_out:
            self._row(organisation, minute, SAMPLED)[1] += sampled_out
        if rejected:
            self._row(organisation, minute, reason)[2] += rejected

    @property
    def waiting_rows(self) -> int:
        """Rows that are not known to be in ClickHouse."""
        return len(self._counts) + len(self._ledger)

    async def start(self) -> None:
        """Write from now on, first what the last process left. Raises ConfigError for a folder that cannot be used."""
        try:
            await asyncio.to_thread(self._ledger.load)
        except OSError as error:
            raise ConfigError(f"Usage cannot be kept: {error}; check WEIR_GATEWAY__DATA_DIR.") from None
        self._stopping.clear()
        self._writing = asyncio.create_task(self._write_until_stopped())

    async def stop(self) -> None:
        """Write what is left, or, while ClickHouse is away, save it for the next process. Takes 20 seconds at most."""
        if self._writing is not None:
            self._stopping.set()
            await self._writing

    async def _write_until_stopped(self) -> None:
        while not self._stopping.is_set():
            await asyncio.to_thread(self._write, self._counted())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._every)
        await asyncio.to_thread(self._write, self._counted())

    def _row(self, organisation: str, minute: int, reason: str) -> list[int]:
        key = organisation, minute, reason
        row = self._counts.get(key)
        if row is None:
            row = self._counts[key] = [0, 0, 0]
        return row

    def _counted(self) -> list[UsageRow]:
        counts, self._counts = self._counts, {}
        return [UsageRow(*key, *numbers) for key, numbers in counts.items()]

    def _write(self, rows: list[UsageRow]) -> None:
        """Save, send, save. Blocks; in a thread."""
        self._ledger.add(rows)
        if not len(self._ledger):
            return
        try:
            if time.monotonic() < self._retry_at:
                self._save()
            else:
                self._send_all()
        except Exception:  # counting must not end because of one flush; what was counted is in the ledger
            _log.exception("Usage could not be written; it is tried again.")

    def _send_all(self) -> None:
        while (batch := self._ledger.next_batch()) is not None:
            self._save()
            try:
                self._writer.insert(TABLE, _frame(batch.rows), batch.token)
            except WeirError as error:
                self._put_off(error)
                return
            self._ledger.stored()
        self._save()
        if self._failures:
            _log.warning("Usage is written again, after %d failures.", self._failures)
            self._failures = 0

    def _put_off(self, error: WeirError) -> None:
        if self._failures == 0:
            _log.error("Usage is not written, it waits in memory and on disk: %s", error)
        self._failures += 1
        wait = min(LONGEST_RETRY_SECONDS, self._every * 2 ** min(self._failures - 1, 20))
        self._retry_at = time.monotonic() + wait

    def _save(self) -> None:
        try:
            self._ledger.save()
        except OSError as error:
            _log.error("Usage that is not written yet could not be saved, a crash would lose it: %s.", error)


def _frame(rows: list[UsageRow]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=_SCHEMA, orient="row")
    return frame.with_columns(minute=pl.from_epoch("minute").cast(pl.Datetime("ms", "UTC")))
