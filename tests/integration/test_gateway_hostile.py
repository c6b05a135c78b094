"""A running gateway and bytes that no client would send: it answers or hangs up, and is there for the next one."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.gateway.openapi import openapi
from tests.contract.gateway_contract import still_healthy
from tests.gateway_routes import all_routes
from tests.gateway_world import GatewayWorld, gateway_world
from tests.raw_http import chunked, rendered
from tests.stack_under_test import StackUnderTest

STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
SCHEMA: Any = schemathesis.openapi.from_dict(openapi(all_routes()))
UNCHECKED: Final = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much)


@pytest.fixture(scope="module")
def gateway(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with gateway_world(stack, tmp_path_factory.mktemp("gateway")) as running, still_healthy(running):
        yield running


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[float, int, bytes]]:
    """Where (as a part of the whole), how many bytes are taken out there, and what is put in."""
    filling = st.binary(max_size=6) | st.sampled_from(
        [b"\r\n", b"\r\n\r\n", b"\0", b"Content-Length: 9\r\n", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b" "]
    )
    return draw(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), filling), max_size=3))


def mutated(request: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for place, taken, filling in changes:
        at = int(place * len(request))
        request = request[:at] + filling + request[at + taken :]
    return request


def statuses(port: int, request: bytes, seconds: float) -> list[int]:
    """Of all answers until the server hangs up, or says nothing for so long: much that is sent has no end."""
    received = b""
    with socket.create_connection(("127.0.0.1", port)) as connection, suppress(OSError):
        connection.settimeout(seconds)
        connection.sendall(request)
        while piece := connection.recv(65_536):
            received += piece
    return [int(each) for each in STATUS.findall(received)]


def requests(gateway: GatewayWorld) -> list[bytes]:
    """A few good ones, to be bent."""
    places, headers = gateway.places, gateway.acme.headers("editor") | {"Content-Type": "application/json"}
    topic = f"/v3/clusters/{places['cluster']}/topics/{gateway.acme.topic}/records"
    record = json.dumps({"value": {"type": "JSON", "data": {"a": [1, 2]}}}).encode()
    v2 = headers | {"Content-Type": "application/vnd.kafka.json.v2+json"}
    body = json.dumps({"records": [{"value": 1}]}).encode()
    return [
        rendered("POST", f"/topics/{gateway.acme.topic}", v2, body),
        rendered("POST", f"/topics/{gateway.acme.topic}", v2 | {"Transfer-Encoding": "chunked"}) + chunked(body),
        rendered("POST", topic, headers | {"Transfer-Encoding": "chunked"}) + chunked(record, record),
        rendered("POST", f"{topic}:batch", headers, b'{"entries": [{"id": "1", ' + record[1:] + b"]}"),
        rendered("GET", f"/topics/{gateway.acme.topic}/partitions/0", headers) * 3,
    ]


@settings(max_examples=150, suppress_health_check=UNCHECKED)
@given(which=st.integers(0, 4), changes=mutations())
def test_bytes_on_the_wire_bring_no_fault(
    gateway: GatewayWorld, which: int, changes: list[tuple[float, int, bytes]]
) -> None:
    assert 500 not in statuses(gateway.process.port, mutated(requests(gateway)[which], changes), 0.1)


def test_what_is_not_bent_is_served(gateway: GatewayWorld) -> None:
    """The positive control."""
    found = [statuses(gateway.process.port, request, 1.0) for request in requests(gateway)]
    assert found == [[200], [200], [200], [207], [200, 200, 200]]


@SCHEMA.parametrize()  # type: ignore[untyped-decorator]  # schemathesis does not say what it returns
@settings(max_examples=25, suppress_health_check=UNCHECKED)
def test_what_the_description_of_the_routes_suggests_brings_no_fault(gateway: GatewayWorld, case: Any) -> None:
    answer = case.call(base_url=gateway.process.url, headers=gateway.acme.headers("editor"))
    assert answer.status_code < 500, (answer.status_code, answer.text)
