"""Stock clients and what they do: curl, the standard library, httpx; many at once, again, and gone too soon."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from connectors.entities.key_models import KeyCreate
from connectors.entities.models import EntityCreate
from tests.gateway_world import GatewayWorld, gateway_world
from tests.raw_http import raw_connection, rendered
from tests.stack_under_test import StackUnderTest
from tests.waiting import patient, wait_until

V2_JSON = {"Content-Type": "application/vnd.kafka.json.v2+json"}
V3_JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def gateway(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    limits = {"key_seconds": 0.5, "body_seconds": 5.0}
    with gateway_world(stack, tmp_path_factory.mktemp("gateway"), limits) as running:
        yield running


def readings(device: str, *values: float) -> dict[str, Any]:
    now = time.time_ns() // 1_000_000
    return {
        "records": [
            {"value": {"device_id": device, "sensor": "t", "ts": now + place, "value": value}}
            for place, value in enumerate(values)
        ]
    }


def curl(*arguments: str, content: str = "") -> tuple[int, Any]:
    """Status and body of what curl is answered."""
    program = shutil.which("curl")
    assert program is not None, "these tests need curl"
    ran = subprocess.run(
        [program, "-sS", "-w", "\n%{http_code}", *arguments],
        input=content,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    body, _, status = ran.stdout.rpartition("\n")
    return int(status), json.loads(body) if body else None


@pytest.mark.parametrize("protocol", ["--http1.1", "--http1.0", "--http2"])
def test_curl_posts_a_reading_with_its_key_as_user_and_password(gateway: GatewayWorld, protocol: str) -> None:
    _, prefix, secret = gateway.acme.keys["device"].split("_")
    status, answer = curl(
        *(
            protocol,
            "-u",
            f"{prefix}:{secret}",
            "-H",
            f"Content-Type: {V2_JSON['Content-Type']}",
            "--data-binary",
            "@-",
        ),
        f"{gateway.process.url}/topics/{gateway.settings.topics.readings}",
        content=json.dumps(readings(gateway.acme.device, 21.5)),
    )
    assert (status, len(answer["offsets"])) == (200, 1)
    assert answer["offsets"][0]["error_code"] is None


def test_curl_streams_what_it_reads_from_a_pipe(gateway: GatewayWorld) -> None:
    lines = [json.dumps({"value": {"type": "JSON", "data": each}}) for each in range(50)]
    program = shutil.which("curl")
    ran = subprocess.run(
        [
            *(str(program), "-sS", "-X", "POST", "-T", "-", "-H", "Content-Type: application/json"),
            *("-H", f"X-API-Key: {gateway.acme.keys['editor']}"),
            f"{gateway.process.url}/v3/clusters/{gateway.cluster}/topics/{gateway.acme.topic}/records",
        ],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=True,
    )
    reports = [json.loads(line) for line in ran.stdout.splitlines() if line]
    assert [report["error_code"] for report in reports] == [200] * 50
    stored = [gateway.message(gateway.acme.topic, each["partition_id"], each["offset"]).value() for each in reports]
    assert stored == [str(number).encode() for number in range(50)]


def test_the_standard_library_posts(gateway: GatewayWorld) -> None:
    request = urllib.request.Request(  # noqa: S310  # the gateway's own address
        f"{gateway.process.url}/topics/{gateway.settings.topics.readings}",
        data=json.dumps(readings(gateway.acme.device, 1.0, 2.0)).encode(),
        headers=V2_JSON | gateway.acme.headers(),
    )
    with urllib.request.urlopen(request, timeout=patient(10)) as answer:  # noqa: S310  # the same
        assert [each["error_code"] for each in json.load(answer)["offsets"]] == [None, None]


def test_one_connection_serves_many_requests(gateway: GatewayWorld) -> None:
    path = f"/topics/{gateway.settings.topics.readings}"
    body = json.dumps(readings(gateway.acme.device, 1.0)).encode()
    request = rendered("POST", path, V2_JSON | gateway.acme.headers(), body)
    with raw_connection(gateway.process.port) as connection:
        for _ in range(20):
            connection.send(request)
            assert connection.receive().status == 200


def test_a_stream_is_reported_while_it_goes_on(gateway: GatewayWorld) -> None:
    path = f"/v3/clusters/{gateway.cluster}/topics/{gateway.acme.topic}/records"
    headers = V3_JSON | gateway.acme.headers("editor") | {"Transfer-Encoding": "chunked"}
    record = json.dumps({"value": {"type": "JSON", "data": "x"}}).encode()
    chunk = b"%x\r\n%s\r\n" % (len(record), record)
    with raw_connection(gateway.process.port) as connection:
        connection.send(rendered("POST", path, headers))
        for place in range(3):
            connection.send(chunk)
            report = connection.receive_until(b'"error_code":200', place + 1)
            assert report, "a report comes before the next record is sent"
        connection.send(b"0\r\n\r\n")
        assert connection.receive_until(b"0\r\n\r\n", 1)


def test_many_clients_at_once_lose_nothing_and_mix_nothing_up(gateway: GatewayWorld) -> None:
    topic = gateway.acme.topic
    before = gateway.end(topic)

    def post(number: int) -> list[tuple[int, int, str]]:
        values = [f"{number}-{place}" for place in range(25)]
        with httpx.Client(base_url=gateway.process.url, timeout=patient(30), trust_env=False) as client:
            answer = client.post(
                f"/topics/{topic}",
                json={"records": [{"value": value} for value in values]},
                headers=V2_JSON | gateway.acme.headers("editor"),
            )
        offsets = answer.json()["offsets"]
        return [(each["partition"], each["offset"], value) for each, value in zip(offsets, values, strict=True)]

    with ThreadPoolExecutor(8) as threads:
        places = [place for posted in threads.map(post, range(40)) for place in posted]
    assert gateway.end(topic) == before + 1_000
    assert len({place[:2] for place in places}) == 1_000, "two records were told the same offset"
    for partition, offset, value in places[::97]:
        assert gateway.message(topic, partition, offset).value() == json.dumps(value).encode()


def test_the_same_request_twice_at_the_same_moment_is_carried_out_once(gateway: GatewayWorld) -> None:
    topic = gateway.acme.topic
    before = gateway.end(topic)
    headers = V2_JSON | gateway.acme.headers("editor") | {"Idempotency-Key": "at once"}
    gate = threading.Barrier(6)

    def post(_: int) -> str:
        gate.wait(10)
        return httpx.post(
            f"{gateway.process.url}/topics/{topic}", json={"records": [{"value": 1}]}, headers=headers, trust_env=False
        ).text

    with ThreadPoolExecutor(6) as threads:
        answers = set(threads.map(post, range(6)))
    assert len(answers) == 1
    assert gateway.end(topic) == before + 1


def test_a_client_that_leaves_in_the_middle_of_its_body_stores_nothing(gateway: GatewayWorld) -> None:
    topic = gateway.acme.topic
    before = gateway.end(topic)
    headers = V2_JSON | gateway.acme.headers("editor") | {"Content-Length": "1000"}
    for _ in range(5):
        with raw_connection(gateway.process.port) as connection:
            connection.send(rendered("POST", f"/topics/{topic}", headers) + b'{"records": [{"value": 1}]}')
    assert gateway.process.is_ready()
    assert gateway.end(topic) == before


def test_a_key_that_is_revoked_ends_within_seconds_and_a_new_one_works_at_once(gateway: GatewayWorld) -> None:
    def post(key: str) -> int:
        body = readings(gateway.acme.device, 1.0)
        path = f"/topics/{gateway.settings.topics.readings}"
        return gateway.client.post(path, json=body, headers=V2_JSON | {"X-API-Key": key}).status_code

    with open_directory(gateway.world.dsn, SYSTEM) as directory:
        made = directory.keys.create(KeyCreate(device=gateway.acme.device))
    assert post(made.secret) == 200
    with open_directory(gateway.world.dsn, SYSTEM) as directory:
        directory.keys.revoke(made.prefix)
    wait_until(lambda: post(made.secret) == 401, "the key has ended", 5.0)


def test_a_device_that_was_registered_a_moment_ago_may_post(gateway: GatewayWorld) -> None:
    def post() -> int:
        path = f"/topics/{gateway.settings.topics.readings}"
        headers = V2_JSON | gateway.acme.headers()
        return gateway.client.post(path, json=readings("newcomer", 1.0), headers=headers).status_code

    assert post() == 403
    with open_directory(gateway.world.dsn, SYSTEM) as directory:
        directory.entities.create(EntityCreate(entity_type="device", key="newcomer", organisation=gateway.acme.slug))
    wait_until(lambda: post() == 200, "the new device is known", 5.0)
