"""One way to run every fault: a world, a seeded load, workers that fail, and a comparison when all has settled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fault.failpoints import Order, OrderFile
from tests.fault.load import Due, Load, poisoned, register_fleet
from tests.fault.result import Result
from tests.fault.settling import Checkpoints, members
from tests.sender import Sender
from tests.stack_under_test import StackUnderTest
from tests.stored import dead_letters, stored_readings, stored_windows
from tests.waiting import wait_until
from tests.worker_process import WorkerProcess
from tests.world import World, world_on
from weir.verify.compare import Difference, StoredWindow, compare_readings, compare_windows
from weir.verify.recompute import HOUR_MS, MINUTE_MS

NEVER_IDLE_SECONDS = 3_600.0
"""Windows close by the data alone, so that after every fault it is known exactly which of them must be closed."""

SMALL: dict[str, object] = {"flush_rows": 400, "fetch_messages": 300, "behind_flush_seconds": 0.25}
"""Small fetches and flushes, so that there are many places for a fault to fall between."""

FAULTY = ("tests.fault.faulty_worker",)
SETTLING_SECONDS = 120.0
ENOUGH_LEFT = 2_000
"""Messages that a worker has still to do when more are not sent: on a slow machine they would pile up until the end."""
AT_NO_TIME = 2**62
"""Later than every window: where only the data closes windows, every window that is stored is compared."""


class Scenario:
    """A world with one load and its workers. :meth:`outcome` waits until it has settled, and compares."""

    def __init__(self, world: World, sender: Sender, checkpoints: Checkpoints, seed: int) -> None:
        """Use :func:`scenario_on`."""
        self.world = world
        self.sender = sender
        self.load = Load(sender, seed)
        self.clock_closes = world.settings.stream.idle_seconds < NEVER_IDLE_SECONDS
        self.windows_closed = 0, 0
        self._checkpoints = checkpoints
        self._orders: dict[int, OrderFile] = {}
        self._began_ms = time.time_ns() // 1_000_000

    def start(self, *, broken: str = "", ready: bool = True, **variables: str) -> WorkerProcess:
        """Start one more worker with failpoints, and with an order that is broken when one is named."""
        orders = OrderFile(self.world.folder / f"orders-{len(self.world.workers) + 1}")
        arguments = ["--orders", str(orders.path), *(["--break", broken] if broken else [])]
        command = (*FAULTY, *arguments, "worker", "--log-level", "info")
        worker = self.world.start_worker(ready=ready, module=command, **variables)
        self._orders[id(worker)] = orders
        return worker

    def order(self, worker: WorkerProcess, order: Order) -> None:
        """Let ``worker`` fail as ordered from now on."""
        worker.expect_end()
        self._orders[id(worker)].give(order)

    def send_until_it_fails(self, worker: WorkerProcess, rounds: int = 20, seconds: float = 90.0) -> None:
        """Send, and go on sending, until ``worker`` has obeyed its order; a fault that never happens fails the test."""
        orders = self._orders[id(worker)]
        order, sent = orders.words, 0.0

        def happened() -> bool:
            nonlocal sent
            if not orders.obeyed and time.monotonic() - sent > 1.0 and self._left() < ENOUGH_LEFT:
                self.load.send(rounds)
                sent = time.monotonic()
            return orders.obeyed

        self.load.send(4 * rounds)
        what = f"the fault that was ordered happens: {order}"
        self.world.wait(happened, what, seconds, explain=lambda: members(self.world.settings))

    def _left(self) -> int:
        """Messages of the readings topic that are not yet known to be stored."""
        return sum(self._checkpoints.settled().lags[0].values())

    def kill_at(self, worker: WorkerProcess, order: Order) -> None:
        """Order ``worker`` to die, send until it does, and wait for its end."""
        self.order(worker, order)
        self.send_until_it_fails(worker)
        wait_until(lambda: worker.exit_code is not None, f"worker {worker.pid} is gone", 10.0)

    def settled(self) -> bool:
        """Whether lag is 0 and everything is stored and published."""
        return bool(self._checkpoints.settled())

    def await_settled(self, what: str, seconds: float = SETTLING_SECONDS) -> None:
        """Wait until lag is 0 and everything is stored and published; a failure says what is left."""
        self.world.wait(self._checkpoints.settled, what, seconds, explain=lambda: members(self.world.settings))

    def outcome(self, fault: str, seed: int, since: float | None = None) -> Result:
        """Wait until everything has settled, then compare; ``since`` is when recovery began, by the monotonic clock."""
        began = time.monotonic() if since is None else since
        self.await_settled(f"everything is stored after {fault!r} with seed {seed}")
        took = time.monotonic() - began
        return Result(fault, seed, len(self.sender.sent), took, self.differences())

    def differences(self) -> list[Difference]:
        """Hold everything stored against the recomputation: readings, messages, windows, dead letters."""
        due, ended = Due(self.sender.acknowledged), (AT_NO_TIME, AT_NO_TIME)
        if self.clock_closes:
            ended = self._closed_by_clock()
            due.closed_until(*ended)
        else:
            due.closed_by_data(round(self.world.settings.stream.lateness_seconds * 1000))
        minutes = self._windows_to("aggregates_1m", ended[0] - MINUTE_MS)
        hours = self._windows_to("aggregates_1h", ended[1] - HOUR_MS)
        self.windows_closed = len(due.minutes), len(due.hours)
        return [
            *compare_readings(due.readings, stored_readings(self.world)),
            *compare_windows("aggregates_1m", due.minutes, minutes),
            *compare_windows("aggregates_1h", due.hours, hours),
            *self._inserted_twice(),
            *self._wrong_letters(),
        ]

    def _closed_by_clock(self) -> tuple[int, int]:
        """Event times (ms) up to which minutes and hours are closed: at least to when this scenario began."""
        world, closed_until = self.world, self._checkpoints.closed_until
        world.wait(lambda: min(closed_until()) >= self._began_ms, "silent partitions have closed their windows", 60.0)
        ended = closed_until()
        self.await_settled("what they closed is stored")
        return ended

    def _windows_to(self, view: str, latest_start: int) -> list[StoredWindow]:
        return [window for window in stored_windows(self.world, view) if window.key.start <= latest_start]

    def _inserted_twice(self) -> list[Difference]:
        rows = self.world.query(
            "SELECT partition, offset, count() FROM raw_readings GROUP BY partition, offset HAVING count() > 1"
        )
        return [Difference("raw_readings", "doubled", f"{partition}/{offset}") for partition, offset, _ in rows]

    def _wrong_letters(self) -> list[Difference]:
        """Every poisoned record is a dead letter, at least once, and nothing else is."""
        wanted = poisoned(self.sender)
        found = {letter.origin for letter in dead_letters(self.world.settings)}
        return [
            *(Difference("dead letters", "lost", f"{place[0]}/{place[1]}") for place in sorted(wanted - found)),
            *(Difference("dead letters", "never sent", f"{place[0]}/{place[1]}") for place in sorted(found - wanted)),
        ]


@contextmanager
def scenario_on(
    stack: StackUnderTest, folder: Path, seed: int, idle_seconds: float = NEVER_IDLE_SECONDS
) -> Iterator[Scenario]:
    """A fresh world with the fleet registered, and no worker yet."""
    with world_on(stack, folder, {"stream": SMALL | {"idle_seconds": idle_seconds}}) as world:
        register_fleet(world.dsn)
        stop_merges(world)
        checkpoints = Checkpoints(world.settings)
        try:
            with Sender(world.settings) as sender:
                yield Scenario(world, sender, checkpoints, seed)
        finally:
            checkpoints.close()


def stop_merges(world: World) -> None:
    """A merge would make one row of two that were inserted twice, and hide the fault."""
    world.query("SYSTEM STOP MERGES raw_readings")
