"""What came of one fault: how much was sent, what of it is lost, doubled or different, and how long recovery took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from weir.verify.compare import Difference


@dataclass(frozen=True)
class Result:
    """One iteration. ``recovery_seconds`` is from the restart until lag is 0 and everything is stored and published."""

    fault: str
    seed: int
    readings: int
    recovery_seconds: float
    differences: Sequence[Difference] = field(repr=False)

    @property
    def lost(self) -> int:
        """Readings or dead letters that are nowhere."""
        return sum(each.fault == "lost" and not _of_window(each) for each in self.differences)

    @property
    def duplicated(self) -> int:
        """Readings, or messages, that were inserted more than once."""
        return sum(each.fault == "doubled" and not _of_window(each) for each in self.differences)

    @property
    def phantom(self) -> int:
        """Readings or dead letters that are there and were not sent, or not like that."""
        faults = ("never sent", "different")
        return sum(each.fault in faults and not _of_window(each) for each in self.differences)

    @property
    def differing_windows(self) -> int:
        """Windows that are missing, doubled, too early, or differ in any measure."""
        return len({(each.table, each.where) for each in self.differences if _of_window(each)})

    def words(self) -> str:
        """The first few differences, for a person."""
        shown = [" ".join(map(str, each)) for each in self.differences[:12]]
        more = [f"and {len(self.differences) - 12} more"] if len(self.differences) > 12 else []
        return f"{self.fault}, seed {self.seed}:\n  " + "\n  ".join(shown + more)


def _of_window(difference: Difference) -> bool:
    return difference.table.startswith("aggregates")
