"""How long the event loop does not come round, and what a worker does so that it does.

A task sleeps a little, again and again, and looks how late it wakes. What is done on the loop must be over soon, and
what threads do beside it must not keep the interpreter to themselves.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from mode import Service

from streams.engine import metrics

TICK_SECONDS: Final = 0.02
"""Between two looks: 50 a second cost a worker 0.2 % of a core."""

TURN_SECONDS: Final = 0.0005
"""How long a thread keeps the interpreter when another wants it; Python's own default is ten times that.

A block calls Polars some thirty times on the loop, each call gives the interpreter away, and a flush that encodes and
writes beside it kept it 5 ms each time: 150 ms a block. CPU a reading is the same with either.
"""

MOST_COUNTED: Final = 3_000
"""Ticks of one pause that are counted: a minute. A process that was stopped for a night has had one pause."""

Clock = Callable[[], float]


class LoopPauses(Service):
    """Observes the loop that it runs on in :data:`~streams.engine.metrics.LOOP_PAUSE` while it is started."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        """Take seconds from ``clock``."""
        super().__init__()
        self._clock = clock
        self._longest = 0.0

    async def on_start(self) -> None:
        """Let the interpreter's threads take short turns; that holds for the whole process."""
        sys.setswitchinterval(TURN_SECONDS)

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            due = self._clock() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            self.woke(self._clock() - due)

    def woke(self, late_seconds: float) -> None:
        """Count one tick that came so late, and those that it kept from coming at all."""
        for seconds in delays(late_seconds):
            metrics.LOOP_PAUSE.observe(seconds)
        if late_seconds > self._longest:
            self._longest = late_seconds
            metrics.LOOP_PAUSE_LONGEST.set(late_seconds)


def delays(late_seconds: float) -> Iterator[float]:
    """How late every tick was of which one came so late: each that should have come meanwhile had less to wait.

    Without them a pause of a second would count once, like one of a millisecond, and no percentile would see it
    (G. Tene, "How NOT to Measure Latency", 2013: coordinated omission).
    """
    late = max(0.0, late_seconds)
    for number in range(min(MOST_COUNTED, int(late / TICK_SECONDS) + 1)):
        yield late - number * TICK_SECONDS
