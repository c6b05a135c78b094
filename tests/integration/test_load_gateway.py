"""``weir load --gateway`` against a real gateway: what it acknowledged is stored, and the key is seen by nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from connectors.entities.key_models import KeyCreate
from tests.fake_gateway import KEY as NO_KEY
from tests.free_ports import free_port
from tests.gateway_world import GatewayProcess
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient, wait_until
from tests.weir_command import Ended, weir
from tests.world import World, world_on
from weir.load.load import register_fleet
from weir.load.plan import LoadPlan

FAULTS = "--disorder 0.05 --resends 0.02 --conflicts 0.02 --late 0.02 --texts 0.02 --bad 0.02"


@dataclass(frozen=True)
class Opened:
    """A world with a gateway and a worker, and a key of the organisation ``load``."""

    world: World
    url: str
    key: str

    def load(self, ledger: Path, *arguments: str, key: str | None = None) -> Ended:
        """Run ``weir load`` through the gateway."""
        environment = self.world.environment | {"WEIR_GATEWAY_KEY": self.key if key is None else key}
        options = ("--ledger", str(ledger), "--gateway", self.url, "--json", *arguments)
        return weir(environment, "load", *options, seconds=90)


@pytest.fixture(scope="module")
def opened(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("gateway-load")
    own = {"port": free_port(), "data_dir": folder / "gateway"}
    with world_on(stack, folder, {"gateway": own}) as world:
        register_fleet(world.settings, LoadPlan("first", devices=1, seconds=1.0), "load")
        with open_directory(world.dsn, SYSTEM) as directory:
            key = directory.keys.create(KeyCreate(organisation="load")).secret
        gateway = GatewayProcess(world)
        try:
            world.start_worker()
            wait_until(gateway.is_ready, "the gateway is ready", 60.0)
            yield Opened(world, gateway.url, key)
        finally:
            gateway.stop()


@pytest.mark.parametrize("form", ["--json-values", "--avro-values"])
def test_what_the_gateway_acknowledged_is_stored_as_it_was_sent(opened: Opened, tmp_path: Path, form: str) -> None:
    ended = opened.load(tmp_path / "l", "--rate", "500", "--readings", "2000", "--devices", "15", form, *FAULTS.split())
    assert ended.code == 0, ended.err
    told = ended.json()
    assert told["acknowledged"] + told["turned_away"] == told["sent"] > 2_000
    assert told["turned_away"] > 20, "a gateway lets few bad records in"
    assert 0 < told["p50"] <= told["p99"]
    compared = weir(opened.world.environment, "verify", str(tmp_path / "l"), "--json", "--wait", "60", seconds=90)
    assert compared.code == 0, compared.out
    messages = compared.json()["messages"]
    assert (messages["acknowledged"], messages["spooled"]) == (told["acknowledged"], 0)
    assert compared.json()["readings"]["distinct"] > 1_900


def test_the_key_stands_in_no_command_line_and_not_in_the_ledger(opened: Opened, tmp_path: Path) -> None:
    file, ledger = tmp_path / "key", tmp_path / "l"
    file.write_text(f"{opened.key}\n")
    options = ("--gateway", opened.url, "--key-file", str(file), "--seconds", "60", "--rate", "50")
    command = [sys.executable, "-m", "weir", "load", "--ledger", str(ledger), *options]
    with subprocess.Popen(command, env=opened.world.environment, stderr=subprocess.PIPE, text=True) as load:
        wait_until(lambda: ledger.exists() and b'"acknowledged"' in ledger.read_bytes(), "it has sent")
        assert not [each for each in psutil.process_iter(["cmdline"]) if opened.key in str(each.info["cmdline"])]
        load.terminate()
        _, said = load.communicate(timeout=patient(30))
    secret = opened.key.split("_")[2]
    assert secret not in ledger.read_text() + said


@pytest.mark.parametrize(
    ("key", "words"), [("", "WEIR_GATEWAY_KEY"), (NO_KEY, "does not take this key"), ("wr_ä", "characters")]
)
def test_without_a_key_that_holds_it_ends_with_a_sentence(opened: Opened, tmp_path: Path, key: str, words: str) -> None:
    ended = opened.load(tmp_path / "l", "--seconds", "20", key=key)
    assert ended.code == 2, ended.err
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert not key or key not in ended.err


def test_devices_of_another_organisation_are_refused_and_the_load_says_so(opened: Opened, tmp_path: Path) -> None:
    ended = opened.load(tmp_path / "l", "--readings", "100", "--rate", "500", "--org", "somebody-else")
    assert ended.code == 1, ended.err
    assert (ended.json()["failed"], ended.json()["acknowledged"]) == (100, 0)
    assert '"why":"40301' in (tmp_path / "l").read_text()


def test_a_gateway_that_is_not_there_ends_it_after_its_patience(opened: Opened, tmp_path: Path) -> None:
    options = ("--gateway", "http://127.0.0.1:9", "--patience", "1", "--seconds", "20", "--rate", "50", "--json")
    environment = opened.world.environment | {"WEIR_GATEWAY_KEY": opened.key}
    ended = weir(environment, "load", "--ledger", str(tmp_path / "l"), *options)
    assert ended.code == 1
    assert "The gateway did not answer within 1 s" in ended.err
