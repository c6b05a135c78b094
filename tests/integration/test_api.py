"""The API as its callers meet it: what each subject's routes do, and what comes back when they do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.api_world import PASSWORD, Tenant, client_for, superuser, two_tenants
from tests.one_server import postgres_database
from tests.stack_under_test import StackUnderTest


@dataclass(frozen=True)
class Api:
    """The application on a filled database; ``as_`` calls it with a key of acme."""

    client: httpx.Client
    acme: Tenant
    birch: Tenant
    root: str
    dsn: str

    def as_(self, role: str, method: str, path: str, body: Any = None, **query: Any) -> Any:
        response = self.client.request(method, path, json=body, params=query, headers=self.acme.headers(role))
        assert response.status_code < 300, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def refused(self, role: str, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, str]:
        response = self.client.request(method, path, json=body, params=query, headers=self.acme.headers(role))
        assert set(response.json()) == {"error_code", "message"}
        return response.status_code, response.json()["message"]

    def happened(self, event_type: str) -> list[dict[str, Any]]:
        """Data of the events of a type, the newest first, as acme sees them."""
        return [event["data"] for event in self.as_("viewer", "GET", "/events", event_type=event_type)["items"]]


@pytest.fixture(scope="module")
def api(stack: StackUnderTest) -> Iterator[Api]:
    with postgres_database(stack) as dsn:
        acme, birch = two_tenants(dsn)
        with client_for(dsn) as client:
            yield Api(client, acme, birch, superuser(dsn), dsn)


def test_a_device_is_made_changed_moved_and_retired_with_its_history_in_the_log(api: Api) -> None:
    new = {
        "key": "d 1/ä",
        "entity_type": "device.esp32",
        "name": "Oven probe",
        "project": "acme-hall",
        "properties": {"hardware": {"model": "ESP32-S3"}},
    }
    made = api.as_("editor", "POST", "/devices", new)
    path = "/devices/" + quote("d 1/ä", safe="")
    assert made["organisation"] == "acme"
    changed = api.as_("editor", "PATCH", path, {"status": "online", "merge": {"config": {"readingInterval": 60}}})
    assert (changed["status"], changed["properties"]["config"]["readingInterval"]) == ("online", 60)
    api.as_("editor", "POST", "/projects", {"key": "acme-cellar"})
    moved = api.as_("editor", "PUT", f"{path}/project", {"project": "acme-cellar", "at": "2026-01-01T00:00:00Z"})
    assert moved["from_key"] == "acme-cellar"
    assert not api.as_("editor", "DELETE", path)["is_active"]
    assert not api.as_("viewer", "GET", path)["is_active"]
    events = api.as_("viewer", "GET", "/events", entity=made["id"])["items"]
    assert {event["event_type"] for event in events} >= {"device.created", "device.status_changed", "device.deleted"}
    assert {event["actor"] for event in events} == {"key:" + api.acme.keys["editor"].split("_")[1]}


def test_devices_are_found_by_what_their_properties_hold(api: Api) -> None:
    for interval in (60, 300, 900):
        api.as_(
            "editor",
            "POST",
            "/devices",
            {"key": f"r{interval}", "properties": {"config": {"readingInterval": interval}}},
        )
    found = api.as_("viewer", "GET", "/devices", range="config.readingInterval:60:300")["items"]
    assert {each["key"] for each in found} >= {"r60", "r300"}
    assert "r900" not in {each["key"] for each in found}
    exact = api.as_("viewer", "GET", "/devices", contains='{"config": {"readingInterval": 900}}')["items"]
    assert [each["key"] for each in exact] == ["r900"]


def test_a_merge_patch_changes_what_it_names_and_null_takes_away(api: Api) -> None:
    api.as_("editor", "POST", "/projects", {"key": "merged", "properties": {"a": {"b": 1, "c": 2}, "d": 3}})
    changed = api.as_("editor", "PATCH", "/projects/merged", {"merge": {"a": {"b": None, "e": 4}, "d": None}})
    assert changed["properties"] == {"a": {"c": 2, "e": 4}}


def test_pages_follow_each_other_without_a_gap(api: Api) -> None:
    everything = [each["id"] for each in api.as_("viewer", "GET", "/entities", limit=1000)["items"]]
    pages, cursor = [], None
    while True:
        page = api.as_("viewer", "GET", "/entities", limit=3, **({"cursor": cursor} if cursor else {}))
        pages += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert pages == everything
    assert len(set(pages)) == len(pages) > 3


def test_sensors_are_made_and_retired_under_their_device(api: Api) -> None:
    path = f"/devices/{api.acme.spare}/sensors"
    api.as_("editor", "POST", path, {"key": "t/2", "properties": {"metric": "hall.temperature", "max_value": 30}})
    assert [each["key"] for each in api.as_("viewer", "GET", path)["items"]] == ["t/2"]
    api.as_("editor", "PATCH", f"{path}/t%2F2", {"merge": {"max_value": 40}})
    assert api.as_("viewer", "GET", f"{path}/t%2F2")["properties"]["max_value"] == 40
    api.as_("editor", "DELETE", f"{path}/t%2F2")
    assert api.as_("viewer", "GET", path)["items"] == []


def test_the_graph_is_asked_by_entity(api: Api) -> None:
    device = f"/entities/{api.acme.device_id}"
    monitors = api.as_("viewer", "GET", f"{device}/relationships", relationship_type="monitors")["items"]
    assert [each["id"] for each in monitors] == [api.acme.relationship]
    below = api.as_("viewer", "GET", f"/entities/{api.acme.project_id}/descendants")
    assert {each["entity"]["key"]: each["depth"] for each in below} == {api.acme.device: 1, "t acme": 2, "oven 1": 2}
    new = {
        "relationship_type": "part_of",
        "from_entity": str(api.acme.thing_id),
        "to_entity": str(api.acme.project_id),
    }
    made = api.as_("editor", "POST", "/relationships", new)
    ended = api.as_("editor", "POST", f"/relationships/{made['id']}/end", {})
    assert ended["valid_to"] is not None


def test_a_type_of_ones_own_needs_a_schema_and_then_no_code(api: Api) -> None:
    assert api.refused("editor", "POST", "/entities", {"entity_type": "kiln", "key": "k1"})[0] == 422
    definition = {
        "max_heat": {"type": "number", "required": True, "min": 0},
        "fuel": {"type": "string", "default": "gas"},
    }
    added = api.as_("admin", "POST", "/schemas", {"entity_type": "kiln", "definition": definition})
    assert (added["version"], added["organisation"]) == (1, "acme")
    checked = api.as_("viewer", "POST", "/schemas/kiln/check", {"fields": {"max_heat": 900}})
    assert checked == {"fields": {"max_heat": 900, "fuel": "gas"}}
    kiln = {"entity_type": "kiln", "key": "k1", "properties": {"max_heat": 900}}
    assert api.as_("editor", "POST", "/entities", kiln)["properties"]["fuel"] == "gas"
    status, message = api.refused("editor", "POST", "/entities", kiln | {"key": "k2", "properties": {"max_heat": -1}})
    assert status == 422
    assert "max_heat" in message
    assert [each["version"] for each in api.as_("viewer", "GET", "/schemas", entity_type="kiln")["items"]] == [1]


def test_metrics_are_found_by_regular_expression(api: Api) -> None:
    api.as_("editor", "POST", "/metrics", {"name": "greenhouse.climate.humidity", "unit": "percent"})
    found = api.as_("viewer", "GET", "/metrics", regex=r"^greenhouse\.climate\..*")["items"]
    assert [each["name"] for each in found] == ["greenhouse.climate.humidity"]
    assert api.refused("viewer", "GET", "/metrics", regex="(")[0] == 422


def test_a_process_is_defined_started_and_ended(api: Api) -> None:
    api.as_(
        "editor",
        "POST",
        "/processes",
        {"name": "rye", "version": "1", "process_type": "recipe", "definition": {"steps": []}},
    )
    begun = api.as_("editor", "POST", "/processes/rye/instances", {"batch_id": "b-1", "parameters": {"kg": 4}})
    ended = api.as_(
        "editor", "POST", f"/processes/instances/{begun['id']}/end", {"status": "completed", "results": {"ok": True}}
    )
    assert (ended["status"], ended["results"]) == ("completed", {"ok": True})
    assert [each["batch_id"] for each in api.as_("viewer", "GET", "/processes/rye/instances")["items"]] == ["b-1"]
    assert api.as_("editor", "DELETE", "/processes/rye", version="1")["status"] == "retired"


def test_a_device_takes_its_commands_and_answers_once(api: Api) -> None:
    path = f"/devices/{quote(api.acme.device, safe='')}/commands"
    sent = api.as_("editor", "POST", path, {"command": "set_interval", "parameters": {"seconds": 30}})
    before = {each["id"]: each["status"] for each in api.as_("viewer", "GET", path)}
    assert before[sent["id"]] == "pending", "people who look deliver nothing"
    taken = {each["id"]: each["status"] for each in api.as_("device", "GET", path)}
    assert taken[sent["id"]] == "delivered"
    answer = {"answer": {"done": True}}
    assert api.as_("device", "POST", f"{path}/{sent['id']}/answer", answer)["status"] == "answered"
    assert api.as_("device", "POST", f"{path}/{sent['id']}/answer", answer)["status"] == "answered"
    assert api.refused("device", "POST", f"{path}/{sent['id']}/answer", {"answer": {"done": False}})[0] == 409
    assert sent["id"] not in {each["id"] for each in api.as_("device", "GET", path)}
    assert sent["id"] in {each["id"] for each in api.as_("viewer", "GET", f"{path}/history")["items"]}


def test_the_log_says_who_tried_what_and_no_more_than_sixty_times_a_minute(api: Api) -> None:
    body = {"key": "mine"}
    for _ in range(65):
        assert api.refused("viewer", "POST", "/projects", body)[0] == 403
    mine = "key:" + api.acme.keys["viewer"].split("_")[1]
    refused = api.as_("admin", "GET", "/events", event_type="access.refused", limit=1000)["items"]
    of_viewer = [event for event in refused if event["actor"] == mine]
    assert 0 < len(of_viewer) <= 60
    newest = of_viewer[0]["data"]
    assert (newest["status"], newest["method"], newest["route"]) == (403, "POST", "/projects")
    assert of_viewer[0]["entity_key"] == "acme"


def test_a_known_key_with_a_wrong_secret_is_told_to_its_organisation(api: Api) -> None:
    prefix = api.acme.keys["editor"].split("_")[1]
    wrong = f"wr_{prefix}_{'x' * 32}"
    response = api.client.get("/devices", headers={"X-API-Key": wrong})
    assert (response.status_code, response.json()["error_code"]) == (401, "unauthorised")
    events = api.as_("viewer", "GET", "/events", event_type="access.refused")["items"]
    assert events[0]["actor"] == f"key:{prefix}"
    assert events[0]["data"]["status"] == 401
    unknown = api.client.get("/devices", headers={"X-API-Key": f"wr_{'A' * 12}_{'x' * 32}"})
    assert unknown.content == response.content, "whether there is such a key is not told"


@pytest.mark.parametrize("header", ["bearer", "x-api-key", "basic"])
def test_a_key_is_taken_in_three_ways(api: Api, header: str) -> None:
    text = api.acme.keys["viewer"]
    _, prefix, secret = text.split("_")
    if header == "bearer":
        response = api.client.get("/organisations", headers={"Authorization": f"Bearer {text}"})
    elif header == "x-api-key":
        response = api.client.get("/organisations", headers={"X-API-Key": text})
    else:
        response = api.client.get("/organisations", auth=(prefix, secret))
    assert [each["key"] for each in response.json()["items"]] == ["acme"]


def test_a_revoked_key_is_refused_with_the_very_next_request(api: Api) -> None:
    made = api.as_("admin", "POST", "/keys", {"role": "viewer", "name": "short"})
    headers = {"X-API-Key": made["secret"]}
    assert api.client.get("/projects", headers=headers).status_code == 200
    api.as_("admin", "DELETE", f"/keys/{made['prefix']}")
    assert api.client.get("/projects", headers=headers).status_code == 401
    assert "secret" not in api.as_("admin", "GET", f"/keys/{made['prefix']}")
    rotated = api.as_("admin", "POST", "/keys", {"role": "viewer"})
    new = api.as_("admin", "POST", f"/keys/{rotated['prefix']}/rotate", {})
    assert api.client.get("/projects", headers={"X-API-Key": rotated["secret"]}).status_code == 401
    assert api.client.get("/projects", headers={"X-API-Key": new["secret"]}).status_code == 200


def opened(api: Api, email: str, password: str = PASSWORD) -> dict[str, str]:
    response = api.client.post("/sessions", json={"email": email, "password": password})
    assert response.status_code == 201, response.text
    return {"Authorization": f"Bearer {response.json()['token']}"}


def test_a_session_ends_with_a_logout_or_another_password(api: Api) -> None:
    first, second = opened(api, "editor@acme.example"), opened(api, "editor@acme.example")
    assert api.client.get("/projects", headers=first).status_code == 200
    assert api.client.delete("/sessions", headers=first).status_code == 204
    assert [api.client.get("/projects", headers=each).status_code for each in (first, second)] == [401, 401]
    again = opened(api, "editor@acme.example")
    changed = api.client.put("/users/editor@acme.example/password", json={"password": PASSWORD + "!"}, headers=again)
    assert changed.status_code == 204, changed.text
    assert api.client.get("/projects", headers=again).status_code == 401
    assert api.client.get("/projects", headers=opened(api, "editor@acme.example", PASSWORD + "!")).status_code == 200
    logins = api.happened("user.login")
    assert len(logins) >= 3


def test_a_lost_role_counts_from_the_next_request(api: Api) -> None:
    api.as_("admin", "POST", "/users", {"email": "eve@acme.example", "role": "editor", "password": PASSWORD})
    eve = opened(api, "eve@acme.example")
    assert api.client.post("/projects", json={"key": "eve-1"}, headers=eve).status_code == 201
    api.as_("admin", "PUT", "/users/eve@acme.example/roles/acme", {"role": "viewer"})
    assert api.client.post("/projects", json={"key": "eve-2"}, headers=eve).status_code == 403
    api.as_("admin", "DELETE", "/users/eve@acme.example")
    assert api.client.get("/projects", headers=eve).status_code == 401


def test_a_wrong_password_and_an_unknown_address_are_refused_alike(api: Api) -> None:
    wrong = api.client.post("/sessions", json={"email": "admin@acme.example", "password": "not it at all"})
    unknown = api.client.post("/sessions", json={"email": "nobody@acme.example", "password": "not it at all"})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.content == unknown.content
    assert api.happened("user.login_failed")[0]["reason"] == "wrong password"


def test_a_token_that_was_changed_or_signed_elsewhere_is_refused(api: Api) -> None:
    token = opened(api, "admin@acme.example")["Authorization"].split(" ")[1]
    claims, _, signature = token.removeprefix("ws_").partition(".")
    with client_for(api.dsn) as elsewhere:
        assert elsewhere.get("/projects", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    for forged in (f"ws_{claims[:-2]}AA.{signature}", f"ws_{claims}.", "ws_.", f"ws_{claims}.{signature[::-1]}"):
        assert api.client.get("/projects", headers={"Authorization": f"Bearer {forged}"}).status_code == 401


def test_a_session_holds_for_its_time_and_in_every_process_with_the_same_secret(api: Api) -> None:
    secret = "s" * 32
    with client_for(api.dsn, session_secret=secret, session_seconds=60) as one:
        opened_there = one.post("/sessions", json={"email": "admin@acme.example", "password": PASSWORD}).json()
        headers = {"Authorization": f"Bearer {opened_there['token']}"}
        assert opened_there["expires_in"] == 60
    with client_for(api.dsn, session_secret=secret) as other:
        assert other.get("/projects", headers=headers).status_code == 200


def test_a_superuser_sees_every_organisation_and_founds_new_ones(api: Api) -> None:
    root = opened(api, api.root)
    seen = {each["key"] for each in api.client.get("/organisations", headers=root).json()["items"]}
    assert seen >= {"acme", "birch"}
    assert api.client.post("/organisations", json={"key": "cedar"}, headers=root).status_code == 201
    assert (
        api.client.post("/projects", json={"key": "cedar-1", "organisation": "cedar"}, headers=root).status_code == 201
    )
    assert api.client.post("/projects", json={"key": "nowhere"}, headers=root).status_code == 422


HOSTILE = [
    (b"{", 400, "not JSON"),
    (b'{"key": "a", "key": "b"}', 400, "'key' twice"),
    (b'{"key": "a", "properties": {"x": NaN}}', 400, "NaN"),
    (b'{"key": "a", "properties": {"x": 1e999}}', 400, "1e999"),
    (b'{"key": "a", "properties": {"x": "\\u0000"}}', 400, "NUL"),
    (b'{"key": "a", "name": "\\ud800"}', 400, "surrogate"),
    (b'{"key": "a", "name": "\xff"}', 400, "UTF-8"),
    (b'{"key": "a", "properties": ' + b'{"x": ' * 70 + b"1" + b"}" * 71, 400, "levels"),
    (b'{"key": "a", "properties": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", 400, "levels"),
    (b'{"key": "a", "properties": {"x": ' + b"9" * 5_000 + b"}}", 400, "too long"),
    (b'{"key": "a", "properties": {"x": "' + b"y" * 10_000_000 + b'"}}', 413, "larger"),
    (b'{"key": "a", "properties": {"x": "' + b"y" * 1_050_000 + b'"}}', 422, "KiB|MB|MiB"),
    (b'{"key": "a", "colour": "red"}', 422, "colour"),
    (b'{"key": 7}', 422, "key"),
    (b"[]", 422, "body"),
    (b"", 422, "body"),
]


@pytest.mark.parametrize(("body", "status", "words"), HOSTILE, ids=[words for _, _, words in HOSTILE])
def test_a_hostile_body_gets_one_sentence_and_writes_nothing(api: Api, body: bytes, status: int, words: str) -> None:
    headers = api.acme.headers("editor") | {"Content-Type": "application/json"}
    before = api.as_("viewer", "GET", "/projects", limit=1000)
    response = api.client.post("/projects", content=body, headers=headers)
    assert response.status_code == status, response.text
    assert any(word in response.json()["message"] for word in words.split("|")), response.text
    assert len(response.content) < 2_000
    assert api.as_("viewer", "GET", "/projects", limit=1000) == before


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/devices/" + quote("'; DROP TABLE entities; --", safe=""), 404),
        ("/devices/..%2F..%2Fetc%2Fpasswd", 404),
        ("/devices/%00", 400),
        ("/devices/%ff", 404),
        ("/devices/" + "k" * 5_000, 404),
        ("/entities/not-a-uuid", 422),
        ("/relationships/99999999999999999999999/end", 404),
        ("/devices?cursor=%00", 422),
        ("/devices?cursor=WzEsMl0", 422),
        ("/devices?limit=100000", 422),
        ("/devices?contains=%7B%22a%22:NaN%7D", 400),
        ("/devices?contains=[1]", 422),
        ("/devices?contains={%22a%22:%22%5Cu0000%22}", 400),
        ("/devices?range=a.b", 422),
        ("/devices?range=a:x:y", 422),
        ("/devices?range=a:nan:1", 422),
        ("/devices?status=%00", 422),
        ("/events?since=yesterday", 422),
        ("/metrics?regex=(a%2B)%2B%24%5B", 422),
        ("/nowhere", 404),
    ],
)
def test_a_hostile_address_gets_one_sentence(api: Api, path: str, status: int) -> None:
    if path.startswith("/relationships"):
        response = api.client.post(path, json={}, headers=api.acme.headers("editor"))
    else:
        response = api.client.get(path, headers=api.acme.headers("editor"))
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error_code", "message"}
    assert len(response.content) < 6_000


def test_a_body_that_is_no_json_is_refused_by_its_type(api: Api) -> None:
    headers = api.acme.headers("editor") | {"Content-Type": "text/plain"}
    response = api.client.post("/projects", content=b'{"key": "typed"}', headers=headers)
    assert response.status_code == 400
    assert "application/json" in response.json()["message"]


def test_service_pages_need_no_credentials_and_know_no_organisation(api: Api) -> None:
    for path in ("/health", "/ready", "/prometheus", "/openapi.json", "/docs"):
        response = api.client.get(path)
        assert response.status_code == 200, path
        assert api.acme.marker not in response.text
        assert "acme" not in response.text
    counted = api.client.get("/prometheus").text
    assert 'weir_api_requests_total{method="GET",route="/devices/{key}",status="404"}' in counted
    assert 'weir_api_seconds_bucket{le="0.005",method="GET",route="/devices"}' in counted


def test_without_a_database_it_lives_and_is_not_ready() -> None:
    with client_for("postgresql://postgres@127.0.0.1:1/weir") as client:
        assert client.get("/health").status_code == 200
        response = client.get("/ready")
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert "127.0.0.1" not in response.text, "where the database is stays in the log"
        keyed = client.get("/devices", headers={"X-API-Key": f"wr_{'A' * 12}_{'x' * 32}"})
        assert keyed.status_code == 503
