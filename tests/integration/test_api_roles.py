"""Which role each route takes, for every route."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from connectors.api.app import make_app
from connectors.entities.actor import RANK, Role
from tests.api_routes import routes_of
from tests.api_world import PASSWORD, Tenant, client_for, superuser, two_tenants
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest, settings_from

ROUTES = {str(route): route for route in routes_of(make_app(settings_from({})).openapi()) if route.path != "/sessions"}

LEAST: dict[str, Role] = {
    "POST /organisations": "superuser",
    "DELETE /organisations/{key}": "admin",
    "PATCH /organisations/{key}": "admin",
    "GET /users": "admin",
    "GET /users/{email}": "admin",
    "POST /users": "admin",
    "PUT /users/{email}/password": "admin",
    "PUT /users/{email}/roles/{organisation}": "admin",
    "DELETE /users/{email}": "admin",
    "GET /keys": "admin",
    "POST /keys": "admin",
    "GET /keys/{prefix}": "admin",
    "POST /keys/{prefix}/rotate": "admin",
    "DELETE /keys/{prefix}": "admin",
    "POST /schemas": "admin",
    "POST /schemas/{entity_type}/check": "viewer",
    "PATCH /metrics/{name}": "superuser",  # both organisations measure it
    "GET /devices/{key}/commands": "device",
    "POST /devices/{key}/commands/{command}/answer": "device",
}
"""What differs from the rule: reading takes a viewer, changing an editor."""

NOT_FOR_VIEWERS = "POST /devices/{key}/commands/{command}/answer"
"""A device answers for itself, and an editor in its place; a viewer only reads."""


def least(route: str) -> Role:
    return LEAST.get(route, "viewer" if route.startswith("GET ") else "editor")


@pytest.fixture(scope="module")
def site(stack: StackUnderTest) -> Iterator[tuple[httpx.Client, Tenant, dict[Role, dict[str, str]]]]:
    with postgres_database(stack) as dsn:
        acme, _ = two_tenants(dsn)
        root = superuser(dsn)
        with client_for(dsn) as client:
            token = client.post("/sessions", json={"email": root, "password": PASSWORD}).json()["token"]
            headers: dict[Role, dict[str, str]] = {role: acme.headers(role) for role in ("viewer", "editor", "admin")}
            headers |= {"device": acme.headers("gateway"), "superuser": {"Authorization": f"Bearer {token}"}}
            yield client, acme, headers


def test_the_exceptions_are_routes() -> None:
    assert set(LEAST) <= set(ROUTES)


AT_THE_END = sorted(
    (name for name in ROUTES if name.startswith("DELETE")), key=lambda name: name.startswith("DELETE /organisations")
)
"""What is retired is not there for other routes; the organisation is the last, since its keys end with it."""


@pytest.mark.parametrize("name", [*(name for name in ROUTES if name not in AT_THE_END), *AT_THE_END])
def test_a_route_takes_its_role_and_no_less(
    site: tuple[httpx.Client, Tenant, dict[Role, dict[str, str]]], name: str
) -> None:
    client, acme, headers = site
    for role in sorted(RANK, key=lambda each: RANK[each]):
        asked = ROUTES[name].request(acme)
        if role == "superuser" and ("query", "organisation") in ROUTES[name].named:
            asked["params"]["organisation"] = acme.slug
        answer = client.request(**asked, headers=headers[role])
        if RANK[role] < RANK[least(name)] or (role, name) == ("viewer", NOT_FOR_VIEWERS):
            assert answer.status_code == 403, f"{role}: {name}: {answer.status_code} {answer.text}"
            assert answer.json()["error_code"] == "forbidden"
            assert acme.marker not in answer.text
        else:
            assert answer.status_code not in (401, 403, 404, 500), f"{role}: {name}: {answer.status_code} {answer.text}"
