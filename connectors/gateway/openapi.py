"""``/openapi.json`` and ``/docs``: every route, made from the routes themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from importlib.metadata import version
from typing import Any, Final

from connectors.gateway.http import JSON, Reply, Request, Route, json_reply

HTML: Final = "text/html; charset=utf-8"

MEANINGS: Final = {
    400: "The request cannot be read.",
    401: "No key, or none that holds.",
    403: "Not for this key.",
    404: "There is no such thing, or not for this key.",
    406: "An answer of that type is not given.",
    408: "The body did not arrive in time.",
    409: "The first request with this Idempotency-Key was broken off.",
    413: "The body or a record is too large.",
    415: "That content type is not spoken.",
    422: "What was sent does not fit.",
    429: "Over a limit; Retry-After says how long.",
    502: "Kafka refused the records for good.",
    503: "Kafka, Postgres or the registry is away; try again.",
    507: "Kafka is away and the spool is full.",
}
"""What a status means; 405 and 431 are given without looking at a route."""

ERROR: Final = {
    "type": "object",
    "required": ["error_code", "message"],
    "properties": {"error_code": {"type": "integer"}, "message": {"type": "string"}},
}


def routes(described: Callable[[], Sequence[Route]]) -> list[Route]:
    """The two pages; ``described`` gives the routes that they tell of."""

    async def document(_: Request) -> Reply:
        return json_reply(200, openapi(described()))

    async def page(_: Request) -> Reply:
        return Reply(200, html_page(described()).encode(), HTML)

    return [
        Route("GET", "/openapi.json", document, is_open=True, summary="This description"),
        Route("GET", "/docs", page, produces=(HTML.partition(";")[0],), is_open=True, summary="The same for people"),
    ]


def openapi(described: Sequence[Route]) -> dict[str, Any]:
    """The description of all routes as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for route in described:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    schemes = {
        "basic": {"type": "http", "scheme": "basic", "description": "Prefix and secret of a key."},
        "bearer": {"type": "http", "scheme": "bearer", "description": "A whole key."},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A whole key."},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Weir gateway", "version": version("weir"), "summary": "Kafka REST Proxy v2 and v3."},
        "paths": paths,
        "components": {"securitySchemes": schemes, "schemas": {"Error": ERROR}},
    }


def html_page(described: Sequence[Route]) -> str:
    """A table of all routes, without anything from elsewhere."""
    rows = "".join(
        f"<tr><td>{each.method}</td><td><code>{escape(each.template)}</code></td><td>{escape(each.summary)}</td>"
        f"<td>{escape(', '.join(each.consumes))}</td></tr>"
        for each in sorted(described, key=lambda route: (route.template, route.method))
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Weir gateway</title>'
        "<style>body{font:15px sans-serif;margin:2em}td,th{text-align:left;padding:.3em 1em .3em 0}</style>"
        '<h1>Weir gateway</h1><p>Kafka REST Proxy v2 and v3; the same for programs: <a href="/openapi.json">'
        "openapi.json</a>.</p><table><tr><th>Method</th><th>Path</th><th></th><th>Content types</th></tr>"
        f"{rows}</table></html>"
    )


def _operation(route: Route) -> dict[str, Any]:
    good: dict[str, Any] = {"schema": route.answer_schema} if route.answer_schema else {}
    responses: dict[str, Any] = {
        "default": {
            "description": "Refused.",
            "content": _content(route.produces, {"$ref": "#/components/schemas/Error"}),
        }
    }
    responses["2XX"] = {"description": "Done.", "content": {each: good for each in route.produces}}
    for status, meaning in MEANINGS.items():
        responses[str(status)] = {"description": meaning}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", route.template)
        ],
        "responses": responses,
        "security": [] if route.is_open else [{"basic": []}, {"bearer": []}, {"header": []}],
    }
    if route.consumes:
        operation["requestBody"] = {"required": True, "content": _content(route.consumes, route.body_schema or {})}
    return operation


def _content(media_types: Sequence[str], schema: Any) -> dict[str, Any]:  # noqa: ANN401  # a JSON Schema
    return {each: {"schema": schema} for each in media_types or (JSON,)}
