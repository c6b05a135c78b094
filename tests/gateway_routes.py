"""Every route of the gateway, taken from its router, and a request to each that fits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from unittest.mock import MagicMock

from connectors.gateway.http import Route
from connectors.gateway.parts import Parts, routes
from tests.stack_under_test import settings_from

V2_JSON: Final = "application/vnd.kafka.json.v2+json"
READING: Final = {"device_id": "{device}", "sensor": "t", "ts": "{now}", "value": 21.5}

BODIES: Final[Mapping[str, Any]] = {
    "/topics/{topic}": {"records": [{"value": READING}]},
    "/topics/{topic}/partitions/{partition}": {"records": [{"value": READING}]},
    "/v3/clusters/{cluster_id}/topics/{topic}/records": {"value": {"type": "JSON", "data": READING}},
    "/v3/clusters/{cluster_id}/topics/{topic}/records:batch": {
        "entries": [{"id": "1", "value": {"type": "JSON", "data": READING}}]
    },
}
"""A body that fits, of every route that takes one."""

PARAMETERS: Final = frozenset({"topic", "partition", "cluster_id", "broker_id", "partition_id"})
"""What paths name; only the topic is anybody's."""


def all_routes() -> list[Route]:
    """The routes as the gateway itself puts them together; their handlers are of no use."""
    parts = MagicMock(spec=Parts)
    parts.settings = settings_from({})
    return routes(parts)


def named(route: Route) -> str:
    """Method and path, as the id of a test."""
    return f"{route.method} {route.template}"


def parameters_of(route: Route) -> set[str]:
    """The parameters of its path."""
    return set(re.findall(r"\{(\w+)\}", route.template))


def media_type_of(route: Route) -> str:
    """The content type that its body in :data:`BODIES` has."""
    return V2_JSON if V2_JSON in route.consumes else "application/json"
