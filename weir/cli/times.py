"""Times that a person types: ISO texts, or a duration before or after now."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from weir.dlq.selection import moment
from weir.errors import UsageError


def time_ago(text: str | None) -> datetime | None:
    """An ISO time (UTC unless it says otherwise), or ``30m``, ``2h``, ``7d`` ago. Raises :class:`UsageError`."""
    return None if text is None else _at(moment(text, time.time_ns() // 1_000_000))


def time_ahead(text: str | None) -> datetime | None:
    """An ISO time (UTC unless it says otherwise), or ``30m``, ``2h``, ``7d`` from now. Raises :class:`UsageError`."""
    if text is None:
        return None
    now_ms = time.time_ns() // 1_000_000
    told_ms = moment(text, now_ms)
    is_duration = text.strip()[-1:] in "smhd"
    return _at(2 * now_ms - told_ms if is_duration else told_ms)


def _at(ms: int) -> datetime:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    except OverflowError as error:
        raise UsageError("That time is too far away; give one such as 2026-11-21T08:00, or 7d.") from error
