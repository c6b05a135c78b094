"""The broker is killed, and the gateway restarted, under a load that goes through it: acknowledged means stored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from connectors.entities.key_models import KeyCreate
from tests.fault.own_broker import OwnBroker
from tests.free_ports import free_port
from tests.gateway_world import GatewayProcess
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient, wait_until
from tests.world import World, world_on
from weir.load.gateway_door import Door
from weir.load.load import Load, register_fleet
from weir.load.plan import LoadPlan
from weir.verify.ledger import ACKNOWLEDGED, SPOOLED, Sent, read_ledgers
from weir.verify.report import Report
from weir.verify.verification import Patience, verify

PLAN = LoadPlan(
    "door",
    devices=20,
    rate=400.0,
    seconds=300.0,
    disorder=0.05,
    resends=0.02,
    conflicts=0.02,
    bad=0.01,
    json_values=True,
)
PRODUCE_SECONDS = 1.0
"""How long the gateway waits for Kafka before it spools; the default would only make the tests longer."""


@dataclass
class _Scene:
    """A broker of its own, a world on it, a gateway before it, and a load that posts to that."""

    broker: OwnBroker
    world: World
    gateway: GatewayProcess
    ledger: Path
    restarts: int = 1

    def restart_gateway(self, meanwhile: float = 0.0) -> None:
        """SIGTERM, its end, and a new one."""
        self.gateway.stop()
        time.sleep(meanwhile)
        self.restarts += 1
        self.gateway = GatewayProcess(self.world, self.restarts)

    def sent(self) -> Sent:
        """What the ledger says by now."""
        return read_ledgers([self.ledger])

    def await_spooled(self, more_than: int) -> int:
        """Wait until the gateway acknowledges from its spool; how many the ledger has then."""
        wait_until(lambda: self.sent().count(SPOOLED) > more_than, "readings are acknowledged from the spool", 30.0)
        return self.sent().count(SPOOLED)

    def await_empty_spool(self) -> None:
        """Wait until Kafka has everything that was spooled."""
        wait_until(lambda: self.spooled() == 0, "the spool is empty", 60.0)

    def spooled(self) -> float:
        """Records in the spool, by the gateway's own metrics; -1 while it does not answer."""
        try:
            page = httpx.get(f"{self.gateway.url}/metrics", timeout=patient(5.0), trust_env=False).text
        except httpx.TransportError:
            return -1
        line = next(each for each in page.splitlines() if each.startswith("weir_gateway_spool_records "))
        return float(line.split()[1])

    def verified(self, seconds: float) -> Report:
        """What is stored against the ledger, once a worker has had the time to store it."""
        self.world.start_worker()
        return verify(self.world.settings, self.sent(), Patience(patient(seconds)), print)


@contextmanager
def _scene(stack: StackUnderTest, folder: Path) -> Iterator[_Scene]:
    own = {"port": free_port(), "data_dir": folder / "gateway", "produce_seconds": PRODUCE_SECONDS}
    with (
        OwnBroker(folder / "broker") as broker,
        world_on(broker.before(stack), folder, {"gateway": own}) as world,
    ):
        register_fleet(world.settings, PLAN, "acme")
        scene = _Scene(broker, world, GatewayProcess(world), folder / "run.ledger")
        try:
            wait_until(scene.gateway.is_ready, "the gateway is ready", 60.0)
            yield scene
        finally:
            scene.gateway.stop()
            broker.start()  # else the world could not drop its topics


def _load(scene: _Scene) -> Load:
    with open_directory(scene.world.dsn, SYSTEM) as directory:
        key = directory.keys.create(KeyCreate(organisation="acme")).secret
    return Load(scene.world.settings, PLAN, scene.ledger, door=Door(scene.gateway.url, key))


def test_what_the_gateway_acknowledged_is_stored_though_broker_and_gateway_end_under_load(
    stack: StackUnderTest, tmp_path: Path
) -> None:
    with _scene(stack, tmp_path) as scene:
        with _load(scene) as load:
            wait_until(lambda: load.acknowledged > 400, "readings are acknowledged")
            scene.broker.kill()
            spooled = scene.await_spooled(0)
            scene.restart_gateway()  # the spool outlives it, and grows on
            spooled = scene.await_spooled(spooled + 100)
            scene.broker.start()
            scene.await_empty_spool()  # under load: it goes from the spool to Kafka again
            scene.broker.kill()
            scene.await_spooled(spooled)
            scene.broker.start()
            scene.await_empty_spool()
            scene.restart_gateway(meanwhile=1.0)
            placed = scene.sent().count(ACKNOWLEDGED)
            again = lambda: scene.sent().count(ACKNOWLEDGED) > placed + 400  # noqa: E731
            wait_until(again, "Kafka takes readings after all that", 60.0)
        scene.await_empty_spool()
        tally = load.finish()
        report = scene.verified(120.0)
    assert report.faults == {}, report.differences[:10]
    assert (report.caught_up, report.unfinished) == (True, 0)
    assert tally.failed == tally.turned_away, "only bad records were refused"
    assert (report.unknown, report.spooled > spooled) == (0, True)
    assert report.distinct > 1_500


def test_a_spool_that_is_lost_is_noticed(stack: StackUnderTest, tmp_path: Path) -> None:
    """The positive control: without it, the test above would pass for a comparison that sees nothing."""
    with _scene(stack, tmp_path) as scene:
        with _load(scene) as load:
            wait_until(lambda: load.acknowledged > 400, "readings are acknowledged")
            scene.broker.kill()
            scene.await_spooled(100)
        scene.gateway.stop()
        spool = sorted(path for path in (tmp_path / "gateway").rglob("*") if path.is_file() and path.suffix != ".lock")
        assert spool, "it was on disk"
        for path in spool:
            path.unlink()
        scene.broker.start()
        report = scene.verified(5.0)
    assert report.found("readings")["lost"] > 50
