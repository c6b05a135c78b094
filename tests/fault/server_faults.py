"""Faults of servers, each as iterations in one world with one worker, which lives through all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException

from tests.fault.own_broker import OwnBroker
from tests.fault.patience import tries
from tests.fault.proxied_servers import dsn_through, proxy_to, proxy_to_postgres, through
from tests.fault.result import Result
from tests.fault.scenario import Scenario, scenario_on
from tests.fault.tcp_proxy import PASS, TcpProxy
from tests.fault.tcp_proxy import Fault as ProxyFault
from tests.fault.worker_faults import Fault, Iterate
from tests.stack_under_test import StackUnderTest
from tests.waiting import wait_until
from tests.worker_process import WorkerProcess

TIMEOUT_SECONDS: Final = 2
RESTART_SECONDS: Final = 120.0
"""Clients back off for up to ten seconds, and the broker reads its log again."""

ROUNDS: Final = 8
AN_HOUR: Final = 100
"""Rounds of the load that close an hour."""

_RAW, _MINUTES, _HOURS = (rb"INSERT.INTO.{0,5}" + table for table in (b"raw_readings", b"agg_1m", b"agg_1h"))

CLICKHOUSE: Final = {
    "refusing": ProxyFault("refuse"),
    "hanging": ProxyFault("hang"),
    "slow": ProxyFault("slow", bytes_a_second=60_000),
    "slower than the time-out": ProxyFault("slow", _RAW, bytes_a_second=6_000),
    "cut on the way": ProxyFault("cut", _RAW),
    "raw rows answered late": ProxyFault("late", _RAW, seconds=20.0),
    "raw rows never answered": ProxyFault("forget", _RAW),
    "minutes answered late": ProxyFault("late", _MINUTES, seconds=20.0),
    "minutes never answered": ProxyFault("forget", _MINUTES),
    "hours never answered": ProxyFault("forget", _HOURS),
    "late windows not read back": ProxyFault("forget", rb"FROM.raw_readings"),
}
"""How ClickHouse misbehaves. Where it answers late or never, it has stored what it was sent."""


def start_before_clickhouse(scenario: Scenario, proxy: TcpProxy) -> WorkerProcess:
    """A worker that reaches ClickHouse by way of ``proxy`` and waits two seconds for an answer."""
    url = through(scenario.world.settings.clickhouse.url, proxy)
    timeout = str(TIMEOUT_SECONDS)
    return scenario.world.start_worker(WEIR_CLICKHOUSE__URL=url, WEIR_CLICKHOUSE__TIMEOUT_SECONDS=timeout)


def misbehave(scenario: Scenario, worker: WorkerProcess, proxy: TcpProxy, name: str) -> float:
    """Let ClickHouse misbehave under load until it was noticed; returns when it began to behave again."""
    fault, before = CLICKHOUSE[name], tries(worker)
    proxy.set(fault)
    scenario.load.send(AN_HOUR if fault.only == _HOURS else ROUNDS)
    if fault.kind != "refuse":  # a closed port counts nothing
        proxy.wait_fired(2)
    if name != "slow":
        scenario.world.wait(lambda: tries(worker) > before, f"the worker tries again: {name}")
    proxy.set(PASS)
    return time.monotonic()


@contextmanager
def clickhouse(name: str, stack: StackUnderTest, folder: Path) -> Iterator[Iterate]:
    """ClickHouse misbehaves under load, in one of the ways of :data:`CLICKHOUSE`."""
    with scenario_on(stack, folder, seed=0) as scenario, proxy_to(stack.settings.clickhouse.url) as proxy:
        worker = start_before_clickhouse(scenario, proxy)

        def iterate(seed: int) -> Result:
            scenario.load.reseed(seed)
            began = misbehave(scenario, worker, proxy, name)
            return scenario.outcome(f"ClickHouse {name}", seed, began)

        yield iterate


@contextmanager
def broker(end: str, stack: StackUnderTest, folder: Path) -> Iterator[Iterate]:
    """The broker is ``stopped`` or ``killed`` under load and started again."""
    with OwnBroker(folder / "broker") as own, scenario_on(own.before(stack), folder, seed=0) as scenario:
        scenario.world.start_worker()

        def iterate(seed: int) -> Result:
            scenario.load.reseed(seed)
            began = restart(scenario, own, end)
            return scenario.outcome(f"broker {end}", seed, began)

        yield iterate


def restart(scenario: Scenario, own: OwnBroker, end: str) -> float:
    """End the broker in the midst of work and start it again; returns when it was back, once all is settled."""
    in_the_midst_of_work(scenario)
    own.kill() if end == "killed" else own.stop()
    own.start()
    began = time.monotonic()
    scenario.world.wait(lambda: settled(scenario), f"everything is stored after the broker was {end}", RESTART_SECONDS)
    return began


def in_the_midst_of_work(scenario: Scenario) -> None:
    """Send, and return as soon as a part of it is stored; again when the worker was done before anybody looked."""
    rows = "SELECT count() FROM raw_readings"
    for _ in range(5):
        before = scenario.world.value(rows)
        sent = scenario.load.send(250)
        now = wait_until(lambda before=before: max(0, scenario.world.value(rows) - before), "it stores", poll=0.01)  # type: ignore[misc]
        if now < sent * 0.9:
            return
    raise AssertionError("The worker had no work left, five times; the fault would prove nothing.")


def settled(scenario: Scenario) -> bool:
    """As the scenario says, and not while the broker cannot say."""
    try:
        return scenario.settled()
    except KafkaException:
        return False


@contextmanager
def postgres(stack: StackUnderTest, folder: Path) -> Iterator[Iterate]:
    """Postgres is away under load, until the worker says so."""
    with scenario_on(stack, folder, seed=0) as scenario, proxy_to_postgres(stack.settings) as proxy:
        dsn = dsn_through(scenario.world.settings, proxy)
        worker = scenario.world.start_worker(WEIR_POSTGRES__DSN=dsn)

        def iterate(seed: int) -> Result:
            scenario.load.reseed(seed)
            before = worker.log.count("stays in use")
            proxy.set(ProxyFault("refuse"))
            scenario.load.send(ROUNDS)
            scenario.world.wait(lambda: worker.log.count("stays in use") > before, "the worker says so")
            scenario.load.send(ROUNDS)
            proxy.set(PASS)
            return scenario.outcome("Postgres away", seed)

        yield iterate


FAULTS: dict[str, Fault] = {
    **{f"ClickHouse {name}": partial(clickhouse, name) for name in CLICKHOUSE},
    **{f"broker {end}": partial(broker, end) for end in ("stopped", "killed")},
    "Postgres away": postgres,
}
