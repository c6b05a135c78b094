"""What a comparison of ledgers with what is stored has found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from weir.verify.compare import Difference, Fault

FAULTS: Final[dict[Fault, str]] = {
    "lost": "lost",
    "doubled": "doubled",
    "never sent": "phantom",
    "different": "different",
}
"""Each fault under the name that a report gives it."""

KEPT: Final = 1_000
"""Differences that are kept to be told; all are counted."""


@dataclass
class Report:
    """Counts of messages and windows, and of every fault by table; the first differences in words.

    ``windows`` and ``open_windows`` are by view: compared ones, and those that are not closed yet. ``lag`` is how many
    messages each stage has still to store. ``spooled`` are those of the acknowledged ones that a gateway took while
    Kafka was away: they are looked for by what they are, not by their place.
    """

    acknowledged: int = 0
    spooled: int = 0
    failed: int = 0
    unknown: int = 0
    unknown_stored: int = 0
    distinct: int = 0
    resends: int = 0
    conflicts: int = 0
    bad: int = 0
    windows: Counter[str] = field(default_factory=Counter)
    open_windows: Counter[str] = field(default_factory=Counter)
    lag: dict[str, int] = field(default_factory=dict)
    unfinished: int = 0
    faults: Counter[tuple[str, Fault]] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether nothing differs in what could be compared."""
        return not self.faults

    @property
    def caught_up(self) -> bool:
        """Whether every stage has stored everything."""
        return not any(self.lag.values())

    def add(self, differences: Iterable[Difference]) -> None:
        """Count differences, and keep the first."""
        for difference in differences:
            self.faults[difference.table, difference.fault] += 1
            if len(self.differences) < KEPT:
                self.differences.append(difference)

    def found(self, table: str) -> dict[str, int]:
        """Faults of one table by their names, with noughts."""
        return {name: self.faults[table, fault] for fault, name in FAULTS.items()}

    def to_dict(self, rows: int) -> dict[str, object]:
        """For scripts; with the first ``rows`` differences."""
        readings = self.found("readings")
        readings["doubled"] += self.faults["raw_readings", "doubled"]
        views = {
            view: {"compared": self.windows[view], "open": self.open_windows[view], **self.found(view)}
            for view in ("aggregates_1m", "aggregates_1h")
        }
        return {
            "equal": self.equal,
            "caught_up": self.caught_up,
            "messages": {
                "acknowledged": self.acknowledged,
                "spooled": self.spooled,
                "failed": self.failed,
                "unknown": self.unknown,
                "unknown_stored": self.unknown_stored,
            },
            "readings": {
                "distinct": self.distinct,
                "resends": self.resends,
                "conflicts": self.conflicts,
                **readings,
            },
            **views,
            "dead_letters": {"expected": self.bad, **self.found("deadletters")},
            "lag": self.lag,
            "unfinished_sessions": self.unfinished,
            "seconds": round(self.seconds, 3),
            "differences": [
                {**each._asdict(), "fault": FAULTS[each.fault]} for each in self.differences[: max(0, rows)]
            ],
        }
