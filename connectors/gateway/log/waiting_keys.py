"""Which keys have records that wait, in a fixed amount of memory however many keys there are."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from connectors.gateway.records import Outgoing

PLACES: Final = 1_048_576
"""Counters of 4 bytes. A dictionary took 170 bytes a key, three times what the smallest record takes on disk."""


class WaitingKeys:
    """Counters by hash of topic and key; ``waiting`` counts all records that have a key.

    Two keys with the same place make one wait behind the other's records: late, but never out of order. The hash is
    Python's own, with a secret of the process, so nobody can choose keys that meet.
    """

    def __init__(self, places: int = PLACES) -> None:
        """Nothing waits; ``places`` is a power of two."""
        self._mask = places - 1
        self._counts = array("I", bytes(4 * places))
        self.waiting = 0

    def holds(self, topic: str, key: bytes | None) -> bool:
        """Whether records of that key may wait; False is certain, and no record without a key waits for another."""
        return key is not None and self._counts[hash((topic, key)) & self._mask] > 0

    def add(self, topic: str, key: bytes) -> None:
        """One record more."""
        self._counts[hash((topic, key)) & self._mask] += 1
        self.waiting += 1

    def add_all(self, records: Sequence[Outgoing]) -> None:
        """One more for each of the records that has a key."""
        for record in records:
            if record.key is not None:
                self.add(record.topic, record.key)

    def remove_all(self, records: Iterable[Outgoing]) -> None:
        """One less for each; what was never added is no fault."""
        counts, mask = self._counts, self._mask
        for record in records:
            if record.key is not None and counts[place := hash((record.topic, record.key)) & mask]:
                counts[place] -= 1
                self.waiting -= 1

    def clear(self) -> None:
        """Nothing waits any more."""
        if self.waiting:
            self._counts = array("I", bytes(4 * (self._mask + 1)))
            self.waiting = 0
