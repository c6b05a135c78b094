"""No credentials of one organisation reach a row of another, on any route, with any parameter: by enumeration."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import psycopg
import pytest

from connectors.api.app import make_app
from tests.api_routes import BODIES, OPEN, Route, attribute_of, routes_of
from tests.api_world import PASSWORD, Tenant, client_for, superuser, two_tenants
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest, settings_from

ORDER = ("GET", "PATCH", "PUT", "DELETE", "POST")
"""What makes things comes last: an organisation may give its own things the names that another uses."""

ROUTES = sorted(
    routes_of(make_app(settings_from({})).openapi()), key=lambda route: (ORDER.index(route.method), -len(route.path))
)
TABLES = (
    "entities",
    "relationships",
    "events",
    "schemas",
    "processes",
    "process_instances",
    "commands",
    "api_keys",
)
TAKEN_EVERYWHERE = {("/devices", "key"), ("/projects", "key"), ("/entities", "key"), ("/users", "email")}
"""Keys that are unique over all organisations: that one is taken cannot be hidden from whoever wants it, too."""


@dataclass(frozen=True)
class Site:
    client: httpx.Client
    acme: Tenant
    birch: Tenant
    nobody: Tenant
    callers: dict[str, dict[str, str]]
    root: dict[str, str]
    dsn: str


@pytest.fixture(scope="module")
def site(stack: StackUnderTest) -> Iterator[Site]:
    with postgres_database(stack) as dsn:
        acme, birch = two_tenants(dsn)
        root = superuser(dsn)
        with client_for(dsn) as client:
            callers = {"device": acme.headers("device")}
            callers["admin who logged in"] = opened(client, "admin@acme.example")
            yield Site(client, acme, birch, who_is_not_there(birch), callers, opened(client, root), dsn)


def opened(client: httpx.Client, email: str) -> dict[str, str]:
    token = client.post("/sessions", json={"email": email, "password": PASSWORD}).json()["token"]
    return {"Authorization": f"Bearer {token}"}


def who_is_not_there(like: Tenant) -> Tenant:
    """Names of the same shape that nothing has."""
    return replace(
        like,
        slug="cedar",
        id=uuid.uuid4(),
        project="cedar-hall",
        project_id=uuid.uuid4(),
        device="cedar/probe 1",
        device_id=uuid.uuid4(),
        sensor="t cedar",
        thing_id=uuid.uuid4(),
        thing_type="oven_cedar",
        email="viewer@cedar.example",
        key_prefix="C" * 12,
        relationship=10**9,
        process="bread cedar",
        instance=uuid.uuid4(),
        command=uuid.uuid4(),
    )


def rows_of(dsn: str, tenant: Tenant) -> dict[str, list[Any]]:
    """Every row of an organisation, as text."""
    with psycopg.connect(dsn) as connection:
        found = {
            table: connection.execute(
                f"SELECT to_jsonb(t)::text FROM {table} t WHERE organisation_id = %s ORDER BY 1", (tenant.id,)
            ).fetchall()
            for table in TABLES
        }
        found["user_credentials"] = connection.execute(
            "SELECT to_jsonb(c)::text FROM user_credentials c JOIN entities u ON u.id = c.user_id"
            " WHERE u.organisation_id = %s ORDER BY 1",
            (tenant.id,),
        ).fetchall()
    assert all(found.values()), "a table without a row of that organisation proves nothing"
    return found


def comparable(response: httpx.Response, route: Route, foreign: tuple[str, str], names: Tenant) -> str:
    """The body with what the caller itself wrote taken out."""
    written = str(getattr(names, attribute_of(route.path, foreign[1]) or ""))
    return re.sub(rf"\b{re.escape(written)}\b", "<written>", response.text)


def test_every_route_and_parameter_is_known_to_the_enumeration() -> None:
    assert len(ROUTES) > 50
    assert {str(route): route.unknown for route in ROUTES if route.unknown} == {}
    bodies = {
        f"{method.upper()} {path}"
        for path, methods in make_app(settings_from({})).openapi()["paths"].items()
        for method, described in methods.items()
        if "requestBody" in described
    }
    assert bodies == set(BODIES)


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_nothing_of_another_organisation_is_told_or_changed(site: Site, route: Route) -> None:
    before = rows_of(site.dsn, site.birch)
    for caller, headers in site.callers.items():
        for foreign in (None, *route.named) if route.method == "GET" else route.named:
            asked = site.client.request(**route.request(site.acme, site.birch, foreign), headers=headers)
            where = f"{caller}: {route} with a foreign {foreign}: {asked.status_code} {asked.text[:500]}"
            assert site.birch.marker not in asked.text, where
            assert asked.status_code != 500, where
            if foreign is None or (foreign[0] == "body" and (route.path, foreign[1]) in TAKEN_EVERYWHERE):
                continue
            absent = site.client.request(**route.request(site.acme, site.nobody, foreign), headers=headers)
            assert asked.status_code == absent.status_code, f"{where}, but {absent.status_code} for what is not there"
            if asked.status_code >= 300 or route.method == "GET":
                same = comparable(absent, route, foreign, site.nobody)
                assert comparable(asked, route, foreign, site.birch) == same, where
            elif foreign[0] == "path":
                pytest.fail(f"{where}: a foreign path was served")
    after = rows_of(site.dsn, site.birch)
    assert after == before, f"{route} changed rows of another organisation"


def test_the_superuser_reaches_what_the_others_must_not(site: Site) -> None:
    """The positive control: the same requests, whole, tell the marker to whoever may see it."""
    told = 0
    for route in ROUTES:
        if route.method == "GET" and route.named and route.path not in OPEN:
            answer = site.client.request(**route.request(site.birch), headers=site.root)
            told += site.birch.marker in answer.text
    assert told >= 12


def test_a_taken_key_tells_no_more_than_that_it_is_taken(site: Site) -> None:
    answer = site.client.post("/devices", json={"key": site.birch.device}, headers=site.acme.headers("editor"))
    assert answer.status_code == 409
    assert "birch" not in answer.text.replace(site.birch.device, "")
    assert site.birch.marker not in answer.text


def test_lists_hold_rows_of_the_callers_organisation_only(site: Site) -> None:
    for route in ROUTES:
        if route.method != "GET" or "{" in route.path or route.path == "/metrics":
            continue
        items = site.client.get(route.path, params={"limit": 1000}, headers=site.acme.headers("admin")).json()["items"]
        owners = {item.get("organisation", item.get("key")) for item in items}
        assert owners <= {"acme", None}, route
        assert owners, route


def test_what_was_refused_across_organisations_is_in_the_log_of_the_caller_alone(site: Site) -> None:
    fresh = site.client.post("/keys", json={"role": "editor", "name": "curious"}, headers=site.acme.headers("admin"))
    headers = {"X-API-Key": fresh.json()["secret"]}
    assert site.client.get(f"/entities/{site.birch.device_id}", headers=headers).status_code == 404
    mine = site.client.get("/events", params={"event_type": "access.refused"}, headers=site.acme.headers("admin"))
    newest = mine.json()["items"][0]
    assert newest["actor"] == f"key:{fresh.json()['prefix']}"
    assert newest["data"]["path"] == f"/entities/{site.birch.device_id}"
    theirs = site.client.get("/events", params={"event_type": "access.refused"}, headers=site.birch.headers("admin"))
    assert theirs.json()["items"] == []


def test_a_device_key_reaches_no_other_device_of_its_own_organisation(site: Site) -> None:
    own = f"/devices/{site.acme.spare}/commands"
    answer = site.client.get(own, headers=site.acme.headers("device"))
    assert answer.status_code == 404
    assert site.client.get(own, headers=site.acme.headers("gateway")).status_code == 200


def test_without_credentials_no_route_is_served(site: Site) -> None:
    for route in ROUTES:
        if str(route) != "POST /sessions":
            answer = site.client.request(**route.request(site.acme))
            assert (answer.status_code, json.loads(answer.text)["error_code"]) == (401, "unauthorised"), route


def test_the_parameters_of_the_enumeration_name_what_is_there(site: Site) -> None:
    """Another positive control: with its own names an admin is served, so the refusals above are about the names."""
    for route in ROUTES:
        if route.method == "GET" and "{" in route.path and not route.path.startswith("/metrics"):
            answer = site.client.request(**route.request(site.birch), headers=site.birch.headers("admin"))
            assert answer.status_code == 200, f"{route}: {answer.text}"
            assert all(attribute_of(route.path, name) for place, name in route.named if place == "path")
