"""Faults of workers, each as iterations in one world: under load they are killed, stopped or expelled, and restarted.

An iteration begins and ends with running workers and everything settled; only then is it compared. So one start of a
worker is both the recovery of one fault and the beginning of the next.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import psutil

from tests.fault.failpoints import FAILPOINTS, Order
from tests.fault.result import Result
from tests.fault.scenario import NEVER_IDLE_SECONDS, Scenario, scenario_on
from tests.stack_under_test import StackUnderTest
from tests.waiting import wait_until
from tests.worker_process import WorkerProcess

Iterate = Callable[[int], Result]
"""One iteration, given its seed."""

Fault = Callable[[StackUnderTest, Path], AbstractContextManager[Iterate]]
"""Prepares what all iterations of a fault share, and gives the function that runs one."""

ROUNDS = 20
STAGES = ("readings", "aggregates_1m", "aggregates_1h")


Fail = Callable[[Scenario, WorkerProcess, int], None]
"""Sends a load and makes a worker end while it works on it, given the seed."""


@contextmanager
def one_worker(
    fault: str, fail: Fail, stack: StackUnderTest, folder: Path, idle_seconds: float = NEVER_IDLE_SECONDS
) -> Iterator[Iterate]:
    """One worker, made to ``fail``; the next one goes on."""
    with scenario_on(stack, folder, seed=0, idle_seconds=idle_seconds) as scenario:
        workers = [scenario.start()]

        def iterate(seed: int) -> Result:
            scenario.load.reseed(seed)
            fail(scenario, workers[-1], seed)
            began = time.monotonic()
            workers.append(scenario.start())
            return scenario.outcome(fault, seed, began)

        yield iterate


def kill_at(failpoint: str) -> Fail:
    """Kill it at ``failpoint`` in any of its stages."""

    def fail(scenario: Scenario, worker: WorkerProcess, seed: int) -> None:
        scenario.kill_at(worker, seeded_order(failpoint, seed))

    return fail


def seeded_order(failpoint: str, seed: int, action: str = "kill") -> Order:
    """Where exactly: any of the stages that pass this point, at one of its first passings."""
    choice = random.Random(seed)
    stage = choice.choice(_STAGES_AT.get(failpoint, STAGES))
    return Order(action, failpoint, choice.randint(1, 2), stage)


_STAGES_AT = {
    "after_dead_letters": STAGES[:1],
    "after_publish": STAGES[:2],
    "after_correct": STAGES[:2],
    "mid_publish": ("aggregates.1m", "aggregates.1h"),
}
"""Only readings are refused, and hours publish nothing. What is published is told by its topic."""


def kill_under_load(scenario: Scenario, worker: WorkerProcess, seed: int) -> None:
    """Kill it at a random moment while it has work; when it was done before, try again."""
    moment = random.Random(seed)
    for _ in range(10):
        scenario.load.send(4 * ROUNDS)
        time.sleep(moment.uniform(0.0, 0.6))
        if not scenario.settled():
            worker.kill()
            return
    raise AssertionError("The worker was done before every kill; the fault never happened.")


def kill_among_corrections(scenario: Scenario, worker: WorkerProcess, seed: int) -> None:
    """Kill it while every flush corrects: the clock has closed the windows of all the history that is still to come."""
    failpoint = random.Random(seed).choice(["after_plan", "after_insert", "mid_publish", "after_correct"])
    scenario.kill_at(worker, seeded_order(failpoint, seed))


@contextmanager
def join_leave_and_kill(stack: StackUnderTest, folder: Path) -> Iterator[Iterate]:
    """Three workers: while they work, two at random leave or are killed, and two others join."""
    with scenario_on(stack, folder, seed=0) as scenario:
        running = [scenario.start(ready=number == 0) for number in range(3)]

        def iterate(seed: int) -> Result:
            moment = random.Random(seed)
            scenario.load.reseed(seed)
            killed = moment.randrange(2)
            for number in range(2):
                scenario.load.send(2 * ROUNDS)
                time.sleep(moment.uniform(0.0, 0.6))
                victim = running.pop(moment.randrange(len(running)))
                if number == killed:
                    victim.kill()
                else:
                    victim.stop()
                running.append(scenario.start(ready=False))
                scenario.load.send(2 * ROUNDS)
            began = time.monotonic()
            running[-1].wait_ready()
            return scenario.outcome("join, leave and kill", seed, began)

        yield iterate


@contextmanager
def stop_beyond_session(stack: StackUnderTest, folder: Path) -> Iterator[Iterate]:
    """Two workers; one is stopped in the middle of a flush until the other has its partitions, then continued."""
    with scenario_on(stack, folder, seed=0) as scenario:
        running = [scenario.start(), scenario.start()]

        def iterate(seed: int) -> Result:
            choice = random.Random(seed)
            scenario.load.reseed(seed)
            failpoint = choice.choice(sorted(FAILPOINTS))
            sleeper = running[seed % 2]
            scenario.order(sleeper, seeded_order(failpoint, seed, "stop")._replace(stage=""))
            scenario.send_until_it_fails(sleeper)
            began = time.monotonic()
            sleep_through_expulsion(scenario, sleeper)
            result = scenario.outcome("stop beyond the session", seed, began)
            if sleeper.exit_code is not None:
                running[seed % 2] = scenario.start()
            return result

        yield iterate


def sleep_through_expulsion(scenario: Scenario, sleeper: WorkerProcess) -> None:
    """While ``sleeper`` is stopped the others store everything; then it wakes up to more load."""
    process = psutil.Process(sleeper.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "it is stopped", 10.0)
    try:
        scenario.await_settled("the others have taken over")
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    scenario.load.send(ROUNDS)


ONE_WORKER: dict[str, Fail] = {
    **{f"kill {failpoint}": kill_at(failpoint) for failpoint in FAILPOINTS},
    "kill at random": kill_under_load,
}

FAULTS: dict[str, Fault] = {
    **{name: partial(one_worker, name, fail) for name, fail in ONE_WORKER.items()},
    "kill among corrections": partial(one_worker, "kill among corrections", kill_among_corrections, idle_seconds=1.0),
    "join, leave and kill": join_leave_and_kill,
    "stop beyond the session": stop_beyond_session,
}
