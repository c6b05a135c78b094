"""What can become of a probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Reason = Literal["key", "refused", "gateway", "clickhouse", "missing", "late"]

REASONS: Final[dict[Reason, str]] = {
    "key": "the gateway does not take the key",
    "refused": "the gateway refused the reading",
    "gateway": "the gateway is away, or could not take the reading",
    "clickhouse": "acknowledged, and ClickHouse could not be asked until time was over",
    "missing": "acknowledged, and no query showed it until time was over",
    "late": "the prober itself stood still, and did not send it",
}
"""Why a probe failed, as the label of a metric, and what that means."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A reason, and a sentence for a person that says what to do."""

    reason: Reason
    why: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One probe, of the due time ``due`` (``time.time()``); seconds count from then.

    ``failure`` is None when it was seen: then both times are there.
    """

    due: float
    acknowledged_seconds: float | None = None
    queryable_seconds: float | None = None
    failure: Failure | None = None
