"""Every route of the API, as its own OpenAPI document lists them, and how the tests fill in its parameters.

A parameter or route that is not known here fails the tests that enumerate: whoever adds one says what it names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from tests.api_world import METRIC, Tenant

Document = dict[str, Any]

OPEN: Final = {"/health", "/ready", "/prometheus"}
"""Routes that need no credentials."""

NAMES: Final[dict[str, str]] = {
    "/organisations key": "slug",
    "/projects key": "project",
    "/devices key": "device",
    "/devices device": "device",
    "/devices sensor": "sensor",
    "/devices command": "command",
    "/users email": "email",
    "/keys prefix": "key_prefix",
    "/entities entity": "thing_id",
    "/entities key": "device",
    "/events entity": "thing_id",
    "/relationships relationship": "relationship",
    "/processes name": "process",
    "/processes instance": "instance",
    "/sessions email": "email",
    "organisation": "slug",
    "project": "project",
    "parent": "device",
    "device": "device",
    "from_entity": "device_id",
    "to_entity": "thing_id",
    "entity_type": "thing_type",
}
"""What each parameter that names something names, as an attribute of a tenant; the longer key wins."""

SCALARS: Final = """
    limit cursor status include_inactive include_revoked contains range at since until event_type max_depth direction
    relationship_type regex wait version batch_id description properties merge is_active strength valid_from valid_to
    definition fields process_type parameters results command answer expires_at grace_seconds role password
    is_superuser value_type unit min_value max_value bounds_action enum_values json_schema
"""
NAMED_FREELY: Final = ("metrics", "organisations", "projects", "devices", "entities", "users", "keys")
INNOCENT: Final = {*SCALARS.split(), *(f"/{each} name" for each in NAMED_FREELY), "/devices/{device}/sensors key"}
"""Parameters that name nothing of an organisation."""

BODIES: Final[dict[str, Mapping[str, Any]]] = {
    "POST /sessions": {"email": "admin@acme.example", "password": "not it at all"},
    "POST /organisations": {"key": "new-one"},
    "PATCH /organisations/{key}": {"description": "d"},
    "POST /projects": {"key": "p-new"},
    "PATCH /projects/{key}": {"description": "d"},
    "POST /devices": {"key": "d-new"},
    "PATCH /devices/{key}": {"description": "d"},
    "PUT /devices/{key}/project": {"project": None},
    "POST /devices/{device}/sensors": {"key": "s-new", "properties": {"metric": METRIC}},
    "PATCH /devices/{device}/sensors/{sensor}": {"description": "d"},
    "POST /devices/{key}/commands": {"command": "restart"},
    "POST /devices/{key}/commands/{command}/answer": {"answer": {}},
    "POST /users": {"email": "new@acme.example"},
    "PUT /users/{email}/password": {"password": "another long one"},
    "PUT /users/{email}/roles/{organisation}": {"role": "viewer"},
    "POST /keys": {"role": "viewer"},
    "POST /keys/{prefix}/rotate": {},
    "POST /entities": {"entity_type": "project", "key": "e-new"},
    "PATCH /entities/{entity}": {"description": "d"},
    "POST /relationships": {"relationship_type": "monitors"},
    "POST /relationships/{relationship}/end": {},
    "POST /schemas": {"entity_type": "shelf", "definition": {}},
    "POST /schemas/{entity_type}/check": {"fields": {}},
    "POST /metrics": {"name": "hall.new"},
    "PATCH /metrics/{name}": {"description": "d"},
    "POST /processes": {"name": "new", "version": "1", "process_type": "recipe", "definition": {}},
    "POST /processes/instances/{instance}/end": {"status": "cancelled"},
    "POST /processes/{name}/instances": {},
}
"""A body that fits, of every route that takes one."""


@dataclass(frozen=True)
class Route:
    """One method on one path; ``named`` are the parameters that name something, as (place, parameter)."""

    method: str
    path: str
    named: tuple[tuple[str, str], ...] = ()
    unknown: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def request(
        self, own: Tenant, other: Tenant | None = None, foreign: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        """Arguments of a client's ``request``: all names are ``own``'s, but ``foreign`` is ``other``'s."""
        path = self.path
        query: dict[str, str] = {}
        body: dict[str, Any] | None = None
        if str(self) in BODIES:
            body = dict(BODIES[str(self)])
        for place, name in self.named:
            owner = other if (place, name) == foreign and other else own
            value = str(getattr(owner, attribute_of(self.path, name) or ""))
            if place == "path":
                path = path.replace(f"{{{name}}}", quote(value, safe=""))
            elif (place, name) == foreign or self._needs(place, name):
                target = query if place == "query" else body
                assert target is not None, f"{self} lacks a body in BODIES"
                target[name] = value
        if self.path.startswith("/metrics/"):
            path = f"/metrics/{METRIC}"
        if str(self) == "DELETE /processes/{name}":
            query["version"] = "1"
        return {"method": self.method, "url": path, "params": query, "json": body}

    def _needs(self, place: str, name: str) -> bool:
        return self.path == "/relationships" and place == "body" and name in ("from_entity", "to_entity")


def attribute_of(path: str, name: str) -> str | None:
    """Which attribute of a tenant a parameter takes."""
    subject = "/" + path.split("/")[1]
    if f"{path} {name}" in INNOCENT:
        return None
    return NAMES.get(f"{subject} {name}") or NAMES.get(name)


def routes_of(document: Document) -> list[Route]:
    """Every route of an OpenAPI document, except those that are open to everybody."""
    return [
        _route(document, method.upper(), path, described)
        for path, methods in document["paths"].items()
        if path not in OPEN
        for method, described in methods.items()
    ]


def _route(document: Document, method: str, path: str, described: Document) -> Route:
    named, unknown = [], []
    for place, name in (*_parameters(described), *_fields(document, described)):
        subject = "/" + path.split("/")[1]
        if attribute_of(path, name) and f"{subject} {name}" not in INNOCENT:
            named.append((place, name))
        elif not {name, f"{subject} {name}", f"{path} {name}"} & INNOCENT:
            unknown.append(name)
    return Route(method, path, tuple(named), tuple(unknown))


def _parameters(described: Document) -> Iterator[tuple[str, str]]:
    for parameter in described.get("parameters", ()):
        yield parameter["in"], parameter["name"]


def _fields(document: Document, described: Document) -> Iterator[tuple[str, str]]:
    content = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in content:
        schema = document["components"]["schemas"][content["$ref"].rsplit("/", 1)[1]]
        for name in schema.get("properties", {}):
            yield "body", name
