"""How fast new records may go behind those that wait on disk while these are brought to Kafka.

The disk takes records several times as fast as Kafka does (300,000/s against 100,000/s measured on one core, 200 bytes
each), so senders that were let in at its speed would keep replay from ever ending. One new record for two old ones
lets a spool of any size end after twice its records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from connectors.gateway.log.batch import Batch

Entry = tuple[Batch, Sequence[int]]

SHARE: Final = 0.5
MOST_QUEUED: Final = 20_000
"""Records whose senders wait for their turn, half a second or so; more are told to come again."""


class Pacing:
    """A queue of records, and the number of them that may go on."""

    def __init__(self) -> None:
        """Nothing may go on before replay has made a step."""
        self._entries: deque[Entry] = deque()
        self._queued = 0
        self._allowed = 0.0

    def __bool__(self) -> bool:
        """Whether anything is queued: then all that comes goes behind it."""
        return bool(self._entries)

    def has_room(self, records: int) -> bool:
        """Whether so many more may be queued."""
        return self._queued + records <= MOST_QUEUED or not self._entries

    def queue(self, batch: Batch, places: Sequence[int]) -> None:
        """Let some records of a batch wait for their turn."""
        self._entries.append((batch, places))
        self._queued += len(places)

    def replayed(self, records: int) -> None:
        """So many left the spool."""
        self._allowed = min(self._allowed, 0.0) + records * SHARE

    def spend(self, records: int) -> bool:
        """Whether so many may go on; then they count."""
        if self._allowed <= 0:
            return False
        self._allowed -= records
        return True

    def next(self) -> Entry | None:
        """Whose turn it is; None when it is nobody's."""
        return self.pop() if self._entries and self._allowed > 0 else None

    def all(self) -> list[Entry]:
        """Everything, in order; the queue is empty then."""
        return [self.pop() for _ in range(len(self._entries))]

    def pop(self) -> Entry:
        """The oldest, whether it may go on or not."""
        batch, places = self._entries.popleft()
        self._queued -= len(places)
        return batch, places
