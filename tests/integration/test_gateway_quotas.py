"""Quotas, sampling, new values and the ledger of usage, as a device and an owner meet them at a running gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway_world import GatewayProcess, GatewayWorld, Tenant, gateway_world
from tests.stack_under_test import StackUnderTest
from tests.waiting import wait_until
from tests.weir_command import weir

V2_JSON = "application/vnd.kafka.json.v2+json"
BACKLOG_MS = 120_000


SOON = {"key_seconds": 0.5, "usage_seconds": 0.3}


@pytest.fixture(scope="module")
def gateway(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with gateway_world(stack, tmp_path_factory.mktemp("gateway"), SOON) as running:
        yield running


def post(
    gateway: GatewayWorld, tenant: Tenant, *values: float, device: str = "", age_ms: int = 0, **fields: Any
) -> httpx.Response:
    """Readings of one sensor, a millisecond apart and the last one ``age_ms`` old; ``fields`` are of all of them."""
    first = time.time_ns() // 1_000_000 - age_ms - len(values)
    reading = {"device_id": device or tenant.device, "sensor": "t", **fields}
    records = [{"value": {**reading, "ts": first + place, "value": value}} for place, value in enumerate(values)]
    return gateway.client.post(
        f"/topics/{gateway.settings.topics.readings}",
        json={"records": records},
        headers={**tenant.headers(), "Content-Type": V2_JSON},
    )


def usage(gateway: GatewayWorld, tenant: Tenant) -> dict[str, tuple[int, int, int]]:
    """Accepted, sampled out and rejected records by reason."""
    rows = gateway.world.query(
        "SELECT reason, sum(accepted), sum(sampled_out), sum(rejected) FROM usage"
        " WHERE org_id = {org:String} GROUP BY reason",
        org=tenant.slug,
    )
    return {reason: (int(accepted), int(sampled), int(rejected)) for reason, accepted, sampled, rejected in rows}


def offsets(answer: httpx.Response) -> list[int | None]:
    assert answer.status_code == 200, answer.text
    return [each["offset"] for each in answer.json()["offsets"]]


def test_a_sender_over_its_quota_is_told_how_long_to_wait_and_then_let_in(gateway: GatewayWorld) -> None:
    thrift = gateway.tenants["thrift"]  # one a second, five at once
    assert all(offset is not None and offset >= 0 for offset in offsets(post(gateway, thrift, *range(5))))
    refused = post(gateway, thrift, 1.0, 2.0)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= refused.json()["retry_after_seconds"] > 1.0
    assert len(offsets(post(gateway, thrift, *range(50), age_ms=BACKLOG_MS))) == 50, "a backlog is no live reading"
    time.sleep(refused.json()["retry_after_seconds"])
    assert len(offsets(post(gateway, thrift, 1.0, 2.0))) == 2
    too_many = post(gateway, thrift, *range(6))
    assert too_many.json()["at_once"] == 5
    assert "Retry-After" not in too_many.headers
    counted = {"": (57, 0, 0), "over_quota": (0, 0, 8)}
    wait_until(lambda: usage(gateway, thrift) == counted, "usage is written while the gateway runs")
    assert usage(gateway, gateway.birch) == {}


def test_a_changed_quota_is_in_force_without_a_restart(gateway: GatewayWorld) -> None:
    acme = gateway.acme
    assert len(offsets(post(gateway, acme, *range(100)))) == 100
    limit = 'quotas={"records_per_second": 1, "burst_seconds": 3}'
    changed = weir(gateway.world.environment, "devices", "set", acme.device, "--property", limit)
    assert changed.code == 0, changed.err
    refused = wait_until(lambda: limited(post(gateway, acme, *range(4))), "the limit holds", 10.0)
    assert refused is not None
    assert refused.json()["limit"] == "device.records_per_second"
    other = post(gateway, acme, *range(100), device=acme.spare)
    assert len(offsets(other)) == 100, "it is the limit of that device alone"


def limited(answer: httpx.Response) -> httpx.Response | None:
    return answer if answer.status_code == 429 else None


def test_what_was_seen_and_what_was_counted_outlive_the_process(stack: StackUnderTest, tmp_path: Path) -> None:
    with gateway_world(stack, tmp_path, {}) as gateway:
        stop_and_start(gateway, gateway.tenants["novel"])


def stop_and_start(gateway: GatewayWorld, novel: Tenant) -> None:
    """``novel`` stores changes only, and has two new values a day."""
    assert [offset == -2 for offset in offsets(post(gateway, novel, 1.0, 1.0, 2.0, 2.0))] == [False, True, False, True]
    assert offsets(post(gateway, novel, 3.0, unit="celsius", source="esp32"))[0] != -2
    assert post(gateway, novel, 4.0, fw_ver="1.0").status_code == 429
    gateway.process.stop()
    expected = {"": (3, 0, 0), "sampling": (0, 2, 0), "new_dimensions": (0, 0, 1)}
    assert usage(gateway, novel) == expected

    following = GatewayProcess(gateway.world, 2)
    try:
        wait_until(following.is_ready, "the next gateway is ready", 60.0)
        assert offsets(post(gateway, novel, 5.0, unit="celsius", source="esp32"))[0] != -2
        refused = post(gateway, novel, 6.0, fw_ver="1.0")
        assert (refused.status_code, refused.json()["error_code"]) == (429, 42902)
    finally:
        following.stop()
    assert usage(gateway, novel) == {"": (4, 0, 0), "sampling": (0, 2, 0), "new_dimensions": (0, 0, 2)}
