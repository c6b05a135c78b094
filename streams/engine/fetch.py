"""What the consumer thread hands over: consecutive messages of one partition, not yet decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from confluent_kafka import Message

from streams.engine.checkpoint import Checkpoint
from streams.engine.watermark import Int64s


@dataclass(slots=True, eq=False)
class Lease:
    """One assignment of one partition to this worker; it ends when the partition is revoked or lost.

    A partition that comes back is a new lease, so nothing of the old one can be mistaken for it. ``checkpoint`` is what
    was committed when the lease began, ``None`` for a partition nobody has read yet. ``position`` is the next offset to
    hand over, known once the first message came. While it is ``held`` nothing is read of it; ``pass_`` counts how often
    reading was taken up again after that.
    """

    topic: str
    partition: int
    checkpoint: Checkpoint | None
    active: bool = True
    position: int | None = field(default=None)
    held: bool = False
    pass_: int = 0

    def __str__(self) -> str:
        """Name the partition as people write it."""
        return f"{self.topic}[{self.partition}]"


class Fetch(NamedTuple):
    """Consecutive messages of one partition in offset order.

    A fetch without messages says that a caught-up partition has been silent; ``clock_ms`` is the wall clock then.
    ``behind`` says that many more messages were waiting in the log; ``size`` is that of the payloads, in bytes.
    ``pass_`` numbers the times that the lease's reading was stopped and taken up again, see ``ConsumerThread.hold``.
    """

    lease: Lease
    messages: list[Message]
    clock_ms: int = 0
    behind: bool = False
    size: int = 0
    pass_: int = 0

    def joined(self, after: Fetch, most_messages: int, most_bytes: int) -> Fetch | None:
        """This fetch and the one ``after`` it as one; None when that is too large or either carries only the clock."""
        if not self.messages or not after.messages or len(self.messages) + len(after.messages) > most_messages:
            return None
        if self.pass_ != after.pass_ or self.size + after.size > most_bytes:
            return None
        size = self.size + after.size
        return Fetch(self.lease, self.messages + after.messages, behind=after.behind, size=size, pass_=self.pass_)

    def parts(self, most_bytes: int) -> Iterator[Fetch]:
        """Cut it so that no part has more payload bytes than that, if it has more than one message.

        A message may hold thousands of readings, so their number alone bounds neither memory nor the time of a block.
        """
        if self.size <= most_bytes:
            yield self
            return
        sizes = np.fromiter((len(value or b"") for value in self.values()), np.int64, len(self.messages))
        begin = size = 0
        for place, more in enumerate(sizes.tolist()):
            if size and size + more > most_bytes:
                yield self._replace(messages=self.messages[begin:place], size=size)
                begin, size = place, 0
            size += more
        yield self._replace(messages=self.messages[begin:], size=size)

    @property
    def end(self) -> int:
        """The offset after the last message."""
        return (self.messages[-1].offset() or 0) + 1

    def values(self) -> list[bytes | None]:
        """Payloads as they came."""
        return list(map(Message.value, self.messages))

    def offsets(self) -> Int64s:
        """Offset of each message; read one by one only where the log has gaps."""
        if not self.messages:
            return np.zeros(0, dtype=np.int64)
        first, last = self.messages[0].offset(), self.messages[-1].offset()
        if first is not None and last is not None and last - first + 1 == len(self.messages):
            return np.arange(first, last + 1, dtype=np.int64)
        return np.fromiter(map(Message.offset, self.messages), np.int64, len(self.messages))

    def append_times(self) -> Int64s:
        """Broker append time of each message, milliseconds."""
        stamps = [stamp for _, stamp in map(Message.timestamp, self.messages)]
        return np.array(stamps, dtype=np.int64)


def split_by_partition(messages: list[Message]) -> Iterator[tuple[str, int, list[Message]]]:
    """Cut what ``consume()`` gave into runs of one partition, joined per partition, in offset order.

    librdkafka hands out long runs of one partition, so this looks at runs instead of filing message by message.
    """
    partitions = np.fromiter(map(Message.partition, messages), np.int32, len(messages))
    cuts: npt.NDArray[np.intp] = np.flatnonzero(partitions[1:] != partitions[:-1]) + 1
    runs: dict[int, list[Message]] = {}
    begin = 0
    for end in [*cuts.tolist(), len(messages)]:
        run = messages[begin:end]
        held = runs.setdefault(int(partitions[begin]), run)
        if held is not run:
            held.extend(run)
        begin = end
    for partition, run in runs.items():
        topic = run[0].topic()
        if topic is not None:
            yield topic, partition, run
