"""Mending a range: minutes first, then the hours that their corrections have not mended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from connectors.registry import Registry
from sinks.clickhouse.parity import SLICE_ROWS, Slice, StoredParity
from sinks.clickhouse.parity_queries import Level
from streams.telemetry.repair import Repair
from weir.errors import TransientError
from weir.parity.check import Checked, ParityCheck, Say
from weir.settings import Settings

PATIENCE_SECONDS: Final = 20.0
"""How long nothing may be stored before it is said that no worker runs: a restarted one needs a few seconds."""


def mend(settings: Settings, check: ParityCheck, before: Checked, say: Say) -> Mapping[Level, int]:
    """Publish corrections for what ``before`` found, wait until they are stored, and count them by level. Blocks.

    The hours are checked again in between, because a corrected minute corrects its hour. Raises
    :class:`~weir.errors.TransientError` when no worker stores the corrections; they stay in Kafka until one does.
    """
    with Registry(settings.registry) as registry:
        repair = Repair(settings, registry, check.stored)
        minutes = _publish(check.stored, repair, before.faulty("1m"), say)
        if minutes:
            say(f"1m: {minutes:,} corrections are published, waiting until they are stored")
            _await(check, "1m", minutes)
            _await(check, "1h", minutes)
            before = check.check(before.scope, ("1h",))
        hours = _publish(check.stored, repair, before.faulty("1h"), say)
        if hours:
            say(f"1h: {hours:,} corrections are published, waiting until they are stored")
            _await(check, "1h", hours)
    return {"1m": minutes, "1h": hours}


def _publish(stored: StoredParity, repair: Repair, parts: Sequence[Slice], say: Say) -> int:
    published = 0
    for number, part in enumerate(parts, start=1):
        say(f"{part.org} {part.level}: computing corrections, slice {number} of {len(parts)}")
        published += repair.publish(part, stored.faults(part, SLICE_ROWS))
    return published


def _await(check: ParityCheck, level: Level, published: int) -> None:
    if not check.await_stored(level, PATIENCE_SECONDS):
        raise TransientError(
            f"{published:,} corrections are published, but no worker stores them: start one with `weir worker`; "
            "it stores them, and a second `weir parity --repair` does the rest."
        )
