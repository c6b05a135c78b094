"""Handing messages to the gateway: posts in v2, and what became of each record."""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from weir.errors import UsageError
from weir.load import source
from weir.load.gateway_door import Door, Fate, Locked, Placed, Refused, Spooled
from weir.load.gateway_lanes import GatewayLanes, Post
from weir.load.outcomes import Outcomes

QUEUE: Final = 100_000
"""Messages that may wait for their acknowledgement."""


class _Handed(NamedTuple):
    number: int
    bad: bool
    at: float


class GatewayUplink:
    """Posts to the gateway over a few connections; a device's readings keep their order. Used by one thread.

    JSON goes as JSON. What is none (Avro, broken JSON) goes as the bytes that it is, in base64.
    """

    def __init__(self, door: Door, topic: str, outcomes: Outcomes, patience_seconds: float) -> None:
        """A gateway may be away for ``patience_seconds``; then what waits for it becomes unknown, or failed."""
        self._outcomes = outcomes
        self._settled: queue.SimpleQueue[tuple[_Handed, Fate, float]] = queue.SimpleQueue()
        self._lanes: GatewayLanes[_Handed] = GatewayLanes(door, topic, patience_seconds, self._settle)
        self._waiting = 0

    def send(self, messages: Sequence[source.Message]) -> None:
        """Hand messages over in order; blocks only while too many wait. Raises :class:`UsageError` for a wrong key."""
        now = time.monotonic()
        for number, key, value, bad, _ in messages:
            while self._waiting >= QUEUE:
                self.poll(0.05)
            is_json = value is None or (value.startswith(b"{") and not bad)
            try:
                self._lanes.put(Post(_Handed(number, bad, now), key, "json" if is_json else "binary", value))
            except Locked as error:
                raise UsageError(str(error)) from error
            self._waiting += 1

    def poll(self, seconds: float) -> None:
        """Let outcomes in, for at most ``seconds``. Raises :class:`UsageError` for a wrong key."""
        try:
            self._enter(*self._settled.get(timeout=seconds) if seconds > 0 else self._settled.get_nowait())
            while True:
                self._enter(*self._settled.get_nowait())
        except queue.Empty:
            pass
        try:
            self._lanes.check()
        except Locked as error:
            raise UsageError(str(error)) from error

    def give_up(self) -> None:
        """Wait no longer: what has no answer is unknown."""
        self._lanes.close()
        while self._waiting and not self._settled.empty():
            self._enter(*self._settled.get_nowait())

    def close(self) -> None:
        """End the connections."""
        self._lanes.close()

    def _settle(self, handed: _Handed, fate: Fate) -> None:
        """Called by the threads of the lanes."""
        self._settled.put((handed, fate, time.monotonic()))

    def _enter(self, handed: _Handed, fate: Fate, at: float) -> None:
        self._waiting -= 1
        match fate:
            case Placed(partition, offset):
                self._outcomes.stored(handed.number, partition, offset, None)
                self._outcomes.latencies.add(at - handed.at)
            case Spooled():
                self._outcomes.spooled(handed.number)
                self._outcomes.latencies.add(at - handed.at)
            case Refused(code, why):
                self._outcomes.refused(handed.number, f"{code}: {why}", rightly=handed.bad)
            case _:
                self._outcomes.silent(handed.number, fate.why)
