"""What is wrong just now, told once when it begins and once when it is over."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Literal

from weir.probe.outcome import Failure, Reason

Place = Literal["posting", "asking", "arriving"]

OVER: Final[dict[Place, str]] = {
    "posting": "The gateway takes probes.",
    "asking": "ClickHouse answers.",
    "arriving": "Probes are queryable.",
}


class Conditions:
    """The state of each place where a probe can fail; threads may share it.

    The same failure again is not told: a log that says it every second hides the line that matters. Another reason, or
    none, is.
    """

    def __init__(self, bad: Callable[[str], object], good: Callable[[str], object]) -> None:
        """``bad`` and ``good`` are given one sentence for each change. Before the first news nothing is known."""
        self._bad, self._good = bad, good
        self._known: dict[Place, Reason | None] = {}
        self._lock = threading.Lock()

    def note(self, place: Place, failure: Failure | None) -> None:
        """What the last probe met at ``place``; None when all was well."""
        reason = failure.reason if failure is not None else None
        with self._lock:
            if place in self._known and self._known[place] == reason:
                return
            self._known[place] = reason
        if failure is None:
            self._good(OVER[place])
        else:
            self._bad(failure.why)
