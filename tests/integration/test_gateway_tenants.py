"""No key of one organisation reaches anything of another, on any route of the gateway's router: by enumeration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import httpx
import pytest

from connectors.gateway.http import Route
from tests.gateway_routes import BODIES, PARAMETERS, all_routes, media_type_of, named, parameters_of
from tests.gateway_world import GatewayWorld, Tenant, gateway_world
from tests.stack_under_test import StackUnderTest

ROUTES = all_routes()
CLOSED = [route for route in ROUTES if not route.is_open]
OF_TOPICS = [route for route in CLOSED if "topic" in parameters_of(route)]
POSTS = [route for route in CLOSED if route.method == "POST"]
KEYS = ("device", "organisation", "viewer", "editor", "admin")
REFUSED = (401, 403, 404)


@pytest.fixture(scope="module")
def gateway(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with gateway_world(stack, tmp_path_factory.mktemp("gateway"), {}) as running:
        yield running


def ask(
    gateway: GatewayWorld, route: Route, headers: Mapping[str, str], *, topic: str = "", device: str = ""
) -> httpx.Response:
    """A request that fits the route, to a topic (of readings by default), about a device."""
    places = {
        "topic": topic or gateway.settings.topics.readings,
        "partition": "0",
        "partition_id": "0",
        "broker_id": "1",
        "cluster_id": gateway.cluster,
    }
    path = route.template
    for name, value in places.items():
        path = path.replace(f"{{{name}}}", value)
    content = None
    if route.method == "POST":
        text = json.dumps(BODIES[route.template]).replace("{device}", device or gateway.acme.device)
        content = text.replace('"{now}"', gateway.places["now"])
        headers = {**headers, "Content-Type": media_type_of(route)}
    return gateway.client.request(route.method, path, content=content, headers=dict(headers))


def comparable(answer: httpx.Response, written: str) -> str:
    """What was said, with what the caller itself wrote taken out."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "content-length")}
    return f"{answer.status_code} {json.dumps(headers)} {answer.text}".replace(written, "<written>")


def refused_code(answer: httpx.Response) -> int:
    """The status, or the one that the only record's error stands for, where that is told in a 200 or 207."""
    if answer.status_code == 207:
        return int(str(answer.json()["failures"][0]["error_code"])[:3])
    if answer.status_code == 200:
        return int(str(answer.json()["error_code"])[:3])
    return answer.status_code


def told_of(text: str, tenant: Tenant) -> list[str]:
    return [name for name in (tenant.slug, tenant.marker, tenant.topic) if name in text]


def test_every_route_is_known_to_the_enumeration() -> None:
    assert len(CLOSED) >= 15
    assert {
        named(route): parameters_of(route) - PARAMETERS for route in ROUTES if parameters_of(route) - PARAMETERS
    } == {}
    assert {route.template for route in POSTS} == set(BODIES), "a route that takes a body needs one in BODIES"
    assert {route.method for route in ROUTES} == {"GET", "POST"}


@pytest.mark.parametrize("route", CLOSED, ids=named)
def test_whoever_has_no_key_that_holds_is_told_one_and_the_same_thing(gateway: GatewayWorld, route: Route) -> None:
    acme = gateway.acme
    kinds = ("unknown", "with another secret", "revoked", "of a retired device", "expired", "no key")
    answers = [ask(gateway, route, {}), *(ask(gateway, route, acme.headers(kind)) for kind in kinds)]
    answers.append(ask(gateway, route, {}, topic="there-is.no-such-topic"))
    assert {answer.status_code for answer in answers} == {401}
    assert len({comparable(answer, "-") for answer in answers if named(route)}) == 1


@pytest.mark.parametrize("route", CLOSED, ids=named)
def test_nothing_of_another_organisation_is_told_to_anybody_of_this_one(gateway: GatewayWorld, route: Route) -> None:
    for kind in KEYS:
        answer = ask(gateway, route, gateway.acme.headers(kind))
        assert answer.status_code < 500, answer.text
        assert told_of(answer.text + str(answer.headers), gateway.birch) == []


@pytest.mark.parametrize("route", OF_TOPICS, ids=named)
def test_a_topic_of_another_organisation_is_as_if_it_did_not_exist(gateway: GatewayWorld, route: Route) -> None:
    birch, absent = gateway.birch.topic, f"cedar-{gateway.settings.namespace}.notes"
    inner = gateway.settings.topics.alerts
    before = gateway.end(birch)
    for kind in KEYS:
        headers = gateway.acme.headers(kind)
        foreign = ask(gateway, route, headers, topic=birch)
        assert foreign.status_code in REFUSED, foreign.text
        missing = comparable(ask(gateway, route, headers, topic=absent), absent)
        assert comparable(foreign, birch) == missing
        assert comparable(ask(gateway, route, headers, topic=inner), inner) == missing
    assert gateway.end(birch) == before


@pytest.mark.parametrize("route", POSTS, ids=named)
def test_a_device_of_another_organisation_is_as_if_it_did_not_exist(gateway: GatewayWorld, route: Route) -> None:
    readings = gateway.settings.topics.readings
    before = gateway.end(readings)
    for kind in KEYS:
        headers = gateway.acme.headers(kind)
        foreign = ask(gateway, route, headers, device=gateway.birch.device)
        assert refused_code(foreign) in REFUSED, foreign.text
        missing = ask(gateway, route, headers, device="cedar-1")
        assert comparable(foreign, gateway.birch.device) == comparable(missing, "cedar-1")
    own = ask(gateway, route, gateway.acme.headers("device"), device=gateway.acme.spare)
    assert refused_code(own) in REFUSED, "a device's key wrote for another device"
    assert gateway.end(readings) == before


@pytest.mark.parametrize("route", OF_TOPICS, ids=named)
def test_its_owner_is_served_by_the_same_requests(gateway: GatewayWorld, route: Route) -> None:
    """The positive control: what is refused above is refused for whose it is, and for nothing else."""
    birch = gateway.birch
    answer = ask(gateway, route, birch.headers("editor"), topic=birch.topic)
    assert answer.status_code in (200, 207), answer.text
    if route.method == "POST":
        before = gateway.end(gateway.settings.topics.readings)
        own = ask(gateway, route, birch.headers("device"), device=birch.device)
        # the partition in the path need not be the one that the device's id chooses
        if "partition" not in parameters_of(route):
            assert own.status_code in (200, 207), own.text
            assert gateway.end(gateway.settings.topics.readings) == before + 1


@pytest.mark.parametrize("route", [route for route in ROUTES if route.is_open], ids=named)
def test_what_is_open_to_everybody_names_nobody(gateway: GatewayWorld, route: Route) -> None:
    ask(gateway, POSTS[0], gateway.birch.headers(), device=gateway.birch.device)
    answer = ask(gateway, route, {})
    assert answer.status_code == 200, answer.text
    for tenant in gateway.tenants.values():
        assert told_of(answer.text + str(answer.headers), tenant) == []


def test_an_idempotency_key_of_another_organisation_is_nothing_to_us(gateway: GatewayWorld) -> None:
    post = next(route for route in POSTS if route.template == "/topics/{topic}")
    again = {"Idempotency-Key": "the same for both"}
    first = ask(gateway, post, gateway.birch.headers() | again, device=gateway.birch.device)
    assert first.status_code == 200, first.text
    second = ask(gateway, post, gateway.acme.headers() | again, device=gateway.birch.device)
    assert second.status_code == 403
    third = ask(gateway, post, gateway.acme.headers("editor") | again)
    assert third.status_code == 200
    assert "idempotency-replayed" not in third.headers
