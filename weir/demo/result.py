"""What a run of the demo found, for a person and for a script."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from weir.demo.latency import HOW, quantile
from weir.demo.parity import Parity
from weir.demo.stored import LatestMinute

MAX_DIFFERENCES = 1_000
"""Differences that the JSON lists; their number is always whole."""


@dataclass(frozen=True)
class Result:
    """Everything that the end of a run reports.

    ``sent`` counts acknowledged messages by kind, ``turned_away`` bad records that the gateway refused, by kind and
    error code; ``rows`` are of this run, ``rows_in_all`` of every run on these
    tables; ``latency`` has one value (seconds) a probe; ``problems`` are sentences.
    """

    device_id: str
    since_ms: int
    sending_seconds: float
    interrupted: bool
    sent: dict[str, int]
    turned_away: dict[tuple[str, int], int]
    rows: dict[str, int]
    rows_in_all: dict[str, int]
    corrections: int
    dead_letters: dict[str, int]
    this_machine: list[LatestMinute]
    latency: list[float]
    parity: Parity
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is lost, doubled or different, and everything could be compared."""
        return not self.parity.differences and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """As ``weir demo --json`` prints it."""
        compared = self.parity
        return {
            "ok": self.ok,
            "interrupted": self.interrupted,
            "device": self.device_id,
            "since": datetime.fromtimestamp(self.since_ms / 1000, UTC).isoformat(),
            "sending_seconds": round(self.sending_seconds, 1),
            "sent": self.sent,
            "refused_by_gateway": [
                {"kind": kind, "error_code": code, "records": count} for (kind, code), count in self.turned_away.items()
            ],
            "rows": {**self.rows, "dead_letters": self.dead_letters},
            "rows_in_all": self.rows_in_all,
            "corrections": self.corrections,
            "this_machine": [asdict(minute) for minute in self.this_machine],
            "latency": {
                "probes": len(self.latency),
                "p50_seconds": _rounded(quantile(self.latency, 0.5)),
                "p95_seconds": _rounded(quantile(self.latency, 0.95)),
                "measured": HOW,
            },
            "parity": {
                "readings": compared.readings,
                "windows_1m": compared.minutes,
                "windows_1h": compared.hours,
                "dead_letters": compared.dead_letters,
                "differences": len(compared.differences),
                "listed": [each._asdict() for each in compared.differences[:MAX_DIFFERENCES]],
            },
            "problems": self.problems,
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
