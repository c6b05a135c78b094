"""`weir probe` on real servers: it sees what arrives, says what is in the way, and goes on."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fault.proxied_servers import proxy_to, through
from tests.fault.tcp_proxy import PASS, Fault
from tests.free_ports import free_port
from tests.gateway_world import GatewayWorld, gateway_world
from tests.stack_under_test import StackUnderTest
from tests.waiting import wait_until
from tests.weir_command import Ended, weir
from weir.stack.child import Child, Command

SEEN = 'weir_probe_seconds_count{stage="queryable"}'


@pytest.fixture(scope="module")
def gateway(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    """A gateway and one worker."""
    with gateway_world(stack, tmp_path_factory.mktemp("probe"), {}) as running:
        running.world.start_worker()
        yield running


def variables(gateway: GatewayWorld, **own: str) -> dict[str, str]:
    """The environment of a prober that is a device of acme."""
    acme = gateway.acme
    probe = {
        "WEIR_PROBE__KEY": acme.keys["device"],
        "WEIR_PROBE__ORGANISATION": acme.slug,
        "WEIR_PROBE__DEVICE": acme.device,
        "WEIR_PROBE__SENSOR": "t",
        "WEIR_PROBE__PORT": str(free_port()),
        "WEIR_PROBE__INTERVAL_SECONDS": "0.1",
    }
    return gateway.world.environment | probe | own


def once(gateway: GatewayWorld, *options: str, **own: str) -> Ended:
    return weir(variables(gateway, **own), "probe", "--once", *options)


class ProberProcess:
    """`weir probe --json`, its metrics and its log."""

    def __init__(self, child: Child, page: str) -> None:
        self._child, self._page = child, page
        self.log = child.log

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]

    def metric(self, sample: str) -> float:
        found = re.search(rf"^{re.escape(sample)} (\S+)$", httpx.get(self._page, trust_env=False).text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def wait_said(self, words: str, seconds: float = 30.0) -> None:
        wait_until(lambda: words in self.text(), f"{words!r} in the log", seconds)

    def wait_seen(self) -> None:
        """Until one more probe was seen."""
        before = self.metric(SEEN)
        wait_until(lambda: self.metric(SEEN) > before, "a probe is seen", 30.0)


@contextmanager
def prober(gateway: GatewayWorld, folder: Path, **own: str) -> Iterator[ProberProcess]:
    environment = variables(gateway, **own)
    command = Command([sys.executable, "-m", "weir", "probe", "--json"])
    child = Child("prober", command, environment, folder / "prober.log")
    page = f"http://127.0.0.1:{environment['WEIR_PROBE__PORT']}/metrics"
    running = ProberProcess(child, page)
    try:
        running.wait_said("Probing every 0.1 s")
        yield running
    finally:
        child.request_stop()
        child.wait_stopped()
    assert child.exit_code() == 0, running.text()


def test_one_probe_is_queryable_within_seconds_and_says_its_milliseconds(gateway: GatewayWorld) -> None:
    began = time.time()
    ended = once(gateway, "--json")
    assert ended.code == 0, ended.err
    told = ended.json()
    assert 0 < told["acknowledged_ms"] < told["queryable_ms"] < 1_000 * (time.time() - began)
    assert told["reason"] is None
    stored = (
        "SELECT count() FROM readings WHERE device_id = {device:String} AND source = 'probe' AND ts >= {ts:Float64}"
    )
    assert gateway.world.value(stored, device=gateway.acme.device, ts=told["due"] - 0.002) == 1
    assert re.fullmatch(r"Queryable after [\d.]+ ms, acknowledged after [\d.]+ ms\.\n", once(gateway).out)


def test_a_key_that_is_not_taken_is_told_in_one_sentence_that_says_how_to_get_one(gateway: GatewayWorld) -> None:
    ended = once(gateway, WEIR_PROBE__KEY=gateway.acme.keys["with another secret"])
    assert ended.code == 1
    assert "does not take WEIR_PROBE__KEY" in ended.sentence()
    assert f"weir keys add --device {gateway.acme.device}" in ended.sentence()
    assert gateway.acme.keys["with another secret"] not in ended.err


def test_without_a_key_nothing_begins(gateway: GatewayWorld) -> None:
    ended = once(gateway, WEIR_PROBE__KEY="")
    assert ended.code == 2
    assert "WEIR_PROBE__KEY" in ended.sentence()


def test_a_device_that_nobody_registered_is_told_with_the_commands_that_register_it(gateway: GatewayWorld) -> None:
    ended = once(gateway, "--json", WEIR_PROBE__DEVICE="nobody-1", WEIR_PROBE__KEY=gateway.acme.keys["organisation"])
    assert ended.code == 1
    assert ended.json()["reason"] == "refused"
    assert f"weir devices add nobody-1 --org {gateway.acme.slug}" in ended.sentence()


def test_a_gateway_or_a_clickhouse_that_goes_away_is_told_once_and_probing_goes_on(
    gateway: GatewayWorld, tmp_path: Path
) -> None:
    url = gateway.settings.clickhouse.url
    with proxy_to(gateway.process.url) as door, proxy_to(url) as store:
        own = {
            "WEIR_PROBE__GATEWAY_URL": through(gateway.process.url, door),
            "WEIR_CLICKHOUSE__URL": through(url, store),
            "WEIR_PROBE__TIMEOUT_SECONDS": "20",
        }
        with prober(gateway, tmp_path, **own) as probing:
            probing.wait_seen()
            door.set(Fault("refuse"))
            wait_until(lambda: probing.metric('weir_probe_failures_total{reason="gateway"}') >= 5, "posts fail", 30.0)
            door.set(PASS)
            probing.wait_seen()
            store.set(Fault("refuse"))
            probing.wait_said("ClickHouse at")
            away = len(probing.told())
            store.set(PASS)
            wait_until(lambda: len(probing.told()) > away, "those that waited are seen", 30.0)
            probing.wait_seen()
            assert probing.metric('weir_probe_failures_total{reason="clickhouse"}') == 0
            assert probing.metric("weir_probe_success_age_seconds") < 30.0
        lines = probing.text().splitlines()
        assert len([line for line in lines if "does not answer" in line and "WARNING" in line]) == 1
        assert len([line for line in lines if line.endswith("The gateway takes probes.")]) == 2
        assert len([line for line in lines if "WARNING" in line and "ClickHouse at" in line]) == 1
        assert len([line for line in lines if line.endswith("ClickHouse answers.")]) == 2


def test_readings_that_no_worker_stores_are_told_as_missing_until_one_does(
    gateway: GatewayWorld, tmp_path: Path
) -> None:
    with prober(gateway, tmp_path, WEIR_PROBE__TIMEOUT_SECONDS="2") as probing:
        probing.wait_seen()
        gateway.world.stop_workers()
        probing.wait_said("not queryable after 2 s")
        wait_until(lambda: probing.metric('weir_probe_failures_total{reason="missing"}') >= 5, "probes fail", 30.0)
        missing = [each for each in probing.told() if each["reason"] == "missing"]
        assert all(each["acknowledged_ms"] is not None and each["queryable_ms"] is None for each in missing)
        gateway.world.start_worker()
        probing.wait_seen()
        wait_until(lambda: probing.text().count("Probes are queryable.") >= 2, "it is over", 30.0)


def test_a_port_that_is_taken_ends_it_with_a_sentence(gateway: GatewayWorld) -> None:
    ended = weir(variables(gateway, WEIR_PROBE__PORT=str(gateway.process.port)), "probe")
    assert ended.code == 2
    assert "set WEIR_PROBE__PORT to a free port" in ended.err
