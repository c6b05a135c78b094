"""Live load, in a process of its own: readings at a steady rate, after a history as fast as Kafka takes it.

``python -m bench.live_load PLAN`` (JSON, see :class:`LoadPlan`) writes until it is asked to stop (SIGTERM) or the plan
is over. Its last line is a :class:`Sent` as JSON; before, it says ``live`` and the time when the steady part begins.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from bench.backlog import Writer, readings_schema_id
from bench.dataset import SENSORS, Chunk, Dataset, DatasetPlan
from bench.prepared_load import PreparedLoad
from bench.testbed import Testbed
from weir.errors import StackError
from weir.settings import Settings, load_settings
from weir.stack.child import Child

CHUNKS_A_SECOND: Final = 20
"""Messages go out in so many bursts a second, each when its last reading has been taken."""

LIVE: Final = "live "
BEGIN_SECONDS: Final = 600.0
MOST_BEHIND_SECONDS: Final = 2.0
"""Prepared readings that are sent later than they say by more would come late."""

MINUTE_MS: Final = 60_000


class LoadPlan(msgspec.Struct, frozen=True):
    """What to send: every sensor once a second from event time ``begin_ms`` on, for at most ``seconds``.

    Event time runs as fast as the clock: a ``begin_ms`` in the past lets a benchmark choose at which minute of which
    hour it is, one in the future is waited for. Before that each sensor has one reading a minute for
    ``history_minutes``.
    """

    readings_per_second: int
    begin_ms: int
    seconds: float
    history_minutes: int = 0
    seed: int = 1
    devices: int = 0
    prepared: bool = False

    def live(self) -> DatasetPlan:
        """The steady part, with readings out of order and resends."""
        end_ms = self.begin_ms + round(self.seconds * 1_000)
        readings = round(self.readings_per_second * self.seconds)
        return DatasetPlan(readings, end_ms, devices=self._fleet, seed=self.seed).spread_over(self.seconds)

    def history(self) -> DatasetPlan:
        """The part before."""
        readings = self._fleet * len(SENSORS) * self.history_minutes
        return DatasetPlan(readings, self.begin_ms, MINUTE_MS, self._fleet, 0.0, 0.0, self.seed)

    @property
    def _fleet(self) -> int:
        return self.devices or max(1, self.readings_per_second // len(SENSORS))


class Sent(msgspec.Struct, frozen=True):
    """What the broker acknowledged: messages, identities among them, and identities before event time ``begin_ms``."""

    messages: int
    distinct: int
    history: int
    seconds: float


@dataclass(frozen=True)
class LiveLoad:
    """The process, from outside."""

    child: Child

    def wait_live(self, check: Callable[[], object] = lambda: None) -> float:
        """When the steady part began (``time.time()``); blocks until then, and calls ``check`` now and then."""
        deadline = time.monotonic() + BEGIN_SECONDS
        while time.monotonic() < deadline:
            said = [line for line in self.child.last_lines().splitlines() if line.startswith(LIVE)]
            if said:
                return float(said[-1].removeprefix(LIVE))
            self.check()
            check()
            time.sleep(0.02)
        raise StackError(f"The live load did not begin; the last lines of {self.child.log}:\n{self.child.last_lines()}")

    def check(self) -> None:
        """Raise :class:`~weir.errors.StackError` when it has ended."""
        if self.child.exit_code() is not None:
            raise StackError(f"The live load ended; the last lines of {self.child.log}:\n{self.child.last_lines()}")

    def stop(self) -> Sent:
        """Let it end, and learn what it sent; blocks until all is acknowledged."""
        self.child.request_stop()
        self.child.wait_stopped()
        if self.child.exit_code() != 0:
            raise StackError(f"The live load failed; the last lines of {self.child.log}:\n{self.child.last_lines()}")
        return msgspec.json.decode(self.child.last_lines().splitlines()[-1], type=Sent)


@contextmanager
def live_load(testbed: Testbed, settings: Settings, plan: LoadPlan) -> Iterator[LiveLoad]:
    """Run the plan in a process; it ends with the block."""
    child = testbed.spawn("bench-load", settings, "bench.live_load", msgspec.json.encode(plan).decode())
    try:
        yield LiveLoad(child)
    finally:
        child.request_stop()
        child.wait_stopped()


def send(plan: LoadPlan, settings: Settings, stopping: threading.Event) -> Sent:
    """Write history and live readings; blocks until ``stopping`` is set or the plan is over."""
    history, live = Dataset(plan.history()), Dataset(plan.live())  # drawn before, so that no pause lies between them
    schema_id = readings_schema_id(settings)
    writer = Writer(settings)
    for chunk in history.chunks(schema_id):
        writer.write(chunk)
    rate = plan.readings_per_second
    chunks = live.chunks(schema_id, max(1, rate // CHUNKS_A_SECOND))
    prepared = PreparedLoad(settings, chunks) if plan.prepared else None
    behind = time.time() - plan.begin_ms / 1_000
    if prepared and behind > MOST_BEHIND_SECONDS:
        raise StackError(
            f"The readings were ready {behind:.0f} s after the first was due; send fewer, or for less long."
        )
    stopping.wait(max(0.0, plan.begin_ms / 1_000 - time.time()))
    began = time.time()
    print(f"{LIVE}{began}", flush=True)
    messages = prepared.send(rate, stopping) if prepared else _write(writer, _paced(chunks, rate, stopping))
    writer.finish()
    seconds = time.time() - began
    before = plan.history().readings
    distinct = messages - int(np.count_nonzero(live.resent[:messages]))
    return Sent(before + messages, before + distinct, before, seconds)


def _write(writer: Writer, chunks: Iterator[Chunk]) -> int:
    """Encode and write what is due; gives how many messages it was."""
    messages = 0
    for chunk in chunks:
        writer.write(chunk)
        messages += len(chunk.keys)
    return messages


def _paced(chunks: Iterator[Chunk], rate: int, stopping: threading.Event) -> Iterator[Chunk]:
    """Hand over each chunk when its last message is due."""
    began, due = time.monotonic(), 0
    for chunk in chunks:
        due += len(chunk.keys)
        if stopping.wait(max(0.0, began + due / rate - time.monotonic())):
            return
        yield chunk


def main() -> None:
    """Run the plan of the command line."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    plan = msgspec.json.decode(sys.argv[1], type=LoadPlan)
    print(msgspec.json.encode(send(plan, load_settings(), stopping)).decode())


if __name__ == "__main__":
    main()
