"""Which dead letters are meant."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from streams.telemetry.letter import Letter
from weir.errors import UsageError

SECONDS_OF: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])")


@dataclass(frozen=True, slots=True)
class Selection:
    """Every condition that is given must hold; times are those of the letter, ms since 1970, ``until_ms`` excluded."""

    reasons: frozenset[str] = field(default_factory=frozenset)
    device: str | None = None
    org: str | None = None
    stage: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def matches(self, letter: Letter) -> bool:
        """Whether ``letter`` is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and self.device in (None, letter.device)
            and self.org in (None, letter.org_id)
            and self.stage in (None, letter.headers.get("stage", ""))
            and (self.since_ms is None or letter.append_ms >= self.since_ms)
            and (self.until_ms is None or letter.append_ms < self.until_ms)
        )


def moment(text: str, now_ms: int) -> int:
    """Milliseconds since 1970 of an ISO time (UTC unless it says otherwise) or of a duration before ``now_ms``.

    Raises :class:`UsageError` for anything else.
    """
    duration = _DURATION.fullmatch(text.strip())
    if duration is not None:
        return max(0, now_ms - round(float(duration[1]) * SECONDS_OF[duration[2]] * 1000))
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text!r} is no time: give one such as 2026-11-21T08:00, or 90s, 30m, 2h or 7d.") from None
    return max(0, round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000))


def place(text: str) -> tuple[int, int]:
    """Partition and offset of a place that is written PARTITION:OFFSET. Raises :class:`UsageError`."""
    found = re.fullmatch(r"(\d{1,9}):(\d{1,18})", text.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"{text!r} is no place: it is PARTITION:OFFSET, such as 0:17; `weir dlq list` shows them.")
    return int(found[1]), int(found[2])
