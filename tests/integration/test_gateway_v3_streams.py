"""Streams of REST Proxy v3: reports while the request goes on, what ends one, and that what came before is written."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from connectors.entities.actor import SYSTEM
from connectors.entities.directory import open_directory
from connectors.entities.key_models import KeyCreate
from tests.free_ports import free_port
from tests.gateway_world import GatewayProcess, GatewayWorld, Tenant, gateway_world
from tests.stack_under_test import StackUnderTest
from tests.v3_produce import json_value, path, posted, reports_of
from tests.waiting import patient, wait_until
from tests.world import World


@pytest.fixture(scope="module")
def gateway(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    limits = {"key_seconds": 0.5, "body_seconds": 2.0, "body_bytes": 65_536, "records": 20}
    with gateway_world(stack, tmp_path_factory.mktemp("gateway"), limits) as running:
        yield running


class Stream:
    """A request whose body goes on, over a socket of its own."""

    def __init__(self, gateway: GatewayWorld, tenant: Tenant, topic: str, key: str | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", gateway.process.port), timeout=patient(20.0))
        authorisation = tenant.headers()["Authorization"] if key is None else f"Bearer {key}"
        head = f"POST {path(gateway, topic)} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorisation}\r\n"
        self._socket.sendall(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        self._received = b""

    def send(self, content: bytes) -> None:
        self._socket.sendall(b"%x\r\n%b\r\n" % (len(content), content))

    def end(self) -> None:
        self._socket.sendall(b"0\r\n\r\n")

    def report(self) -> dict[str, Any]:
        """The next report; they are of one line each, and no line of the framing begins with a brace."""
        while True:
            *lines, self._received = self._received.split(b"\r\n")
            for place, line in enumerate(lines):
                if line.startswith(b"{"):
                    self._received = b"\r\n".join([*lines[place + 1 :], self._received])
                    found: dict[str, Any] = json.loads(line)
                    return found
            more = self._socket.recv(65_536)
            if not more:
                raise EOFError(self._received)
            self._received += more

    def close(self) -> None:
        self._socket.close()


@contextlib.contextmanager
def stream_of(gateway: GatewayWorld, topic: str, key: str | None = None) -> Iterator[Stream]:
    stream = Stream(gateway, gateway.acme, topic, key)
    try:
        yield stream
    finally:
        stream.close()


def test_reports_come_while_the_request_goes_on(gateway: GatewayWorld) -> None:
    with stream_of(gateway, gateway.acme.topic) as stream:
        text = json.dumps(json_value({"x": '}{"'})).encode()
        stream.send(text[:10])
        stream.send(text[10:] + b"\n" + text)
        first, second = stream.report(), stream.report()
        assert (first["error_code"], second["error_code"]) == (200, 200)
        stream.send(text)
        third = stream.report()
        assert third["error_code"] == 200
        stream.end()


def test_a_stream_ends_at_what_is_no_json_and_what_came_before_is_written(gateway: GatewayWorld) -> None:
    topic, good = gateway.acme.topic, json.dumps(json_value(1))
    for bad in ("]", "[1]", "nonsense", '"text"'):
        answer = gateway.client.post(
            path(gateway, topic),
            content=f"{good}{bad}{good}",
            headers={"Content-Type": "application/json", **gateway.acme.headers()},
        )
        assert [each["error_code"] for each in reports_of(answer.text)] == [200, 400]
    for bad in ("{,}", '{"value":}', '{"value":{"data":NaN}}', "{'value': 1}"):
        answer = gateway.client.post(
            path(gateway, topic),
            content=f"{good}{bad}{good}",
            headers={"Content-Type": "application/json", **gateway.acme.headers()},
        )
        codes = [each["error_code"] for each in reports_of(answer.text)]
        assert codes[0] == codes[2] == 200
        assert codes[1] in (400, 42206)


def test_a_stream_that_is_cut_amid_a_record_says_so(gateway: GatewayWorld) -> None:
    answer = gateway.client.post(
        path(gateway, gateway.acme.topic),
        content=json.dumps(json_value(1)) + '{"value":',
        headers={"Content-Type": "application/json", **gateway.acme.headers()},
    )
    assert [each["error_code"] for each in reports_of(answer.text)] == [200, 400]


def test_a_record_that_is_too_large_ends_the_stream_before_it_fills_memory(gateway: GatewayWorld) -> None:
    with stream_of(gateway, gateway.acme.topic) as stream:
        stream.send(json.dumps(json_value(1)).encode())
        assert stream.report()["error_code"] == 200
        stream.send(b'{"value":{"type":"JSON","data":"' + b"x" * 65_536)
        assert stream.report()["error_code"] == 413


def test_an_empty_body_is_refused(gateway: GatewayWorld) -> None:
    answer = gateway.client.post(
        path(gateway, gateway.acme.topic),
        content=b"",
        headers={"Content-Type": "application/json", **gateway.acme.headers()},
    )
    assert (answer.status_code, answer.json()["error_code"]) == (422, 42206)


def test_a_silent_stream_ends_with_408(gateway: GatewayWorld) -> None:
    with stream_of(gateway, gateway.acme.topic) as stream:
        stream.send(json.dumps(json_value(1)).encode())
        assert stream.report()["error_code"] == 200
        begun = time.monotonic()
        assert stream.report()["error_code"] == 408
        assert time.monotonic() - begun < patient(10)


def test_a_stream_ends_soon_after_its_key_is_revoked(gateway: GatewayWorld) -> None:
    with open_directory(gateway.world.dsn, SYSTEM) as directory:
        key = directory.keys.create(KeyCreate(role="device", organisation=gateway.acme.slug))
    with stream_of(gateway, gateway.acme.topic, key.secret) as stream:
        stream.send(json.dumps(json_value(1)).encode())
        assert stream.report()["error_code"] == 200
        with open_directory(gateway.world.dsn, SYSTEM) as directory:
            directory.keys.revoke(key.prefix)
        codes = []
        for _ in range(round(patient(50))):
            stream.send(json.dumps(json_value(1)).encode())
            codes.append(stream.report()["error_code"])
            if codes[-1] != 200:
                break
            time.sleep(0.1)
        assert codes[-1] == 40101


def test_a_client_that_leaves_has_what_it_sent_written(gateway: GatewayWorld) -> None:
    topic = gateway.acme.topic
    before = gateway.end(topic)
    with stream_of(gateway, topic) as stream:
        stream.send(json.dumps(json_value(1)).encode() * 200)
    wait_until(lambda: gateway.end(topic) == before + 200, "all records are in Kafka", 10.0)


def test_a_gateway_that_stops_ends_its_streams_first(gateway: GatewayWorld) -> None:
    own = gateway.settings.gateway.model_copy(
        update={"port": free_port(), "data_dir": gateway.world.folder / "second", "body_seconds": 60.0}
    )
    world = World(gateway.settings.model_copy(update={"gateway": own}), gateway.world.folder)
    second = GatewayProcess(world, 2)
    try:
        wait_until(second.is_ready, "the second gateway is ready", 30.0)
        with stream_of(replace(gateway, process=second), gateway.acme.topic) as stream:
            stream.send(json.dumps(json_value(1)).encode())
            assert stream.report()["error_code"] == 200
            begun = time.monotonic()
            os.kill(second.pid, signal.SIGTERM)
            assert stream.report()["error_code"] == 50003
            assert time.monotonic() - begun < patient(3)
    finally:
        second.stop()


def test_a_client_that_sends_everything_before_it_reads_gets_every_report(gateway: GatewayWorld) -> None:
    records = [json_value(number) for number in range(5_000)]
    reports = posted(gateway, gateway.acme.topic, *records)
    assert [each["error_code"] for each in reports] == [200] * 5_000
