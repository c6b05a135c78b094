"""Paths and search terms of requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from connectors.api.path_segments import KeySegment, PathSegments
from connectors.api.property_search import contained, ranges_of
from connectors.entities.errors import InvalidError
from connectors.entities.values import SLASH
from weir.errors import UsageError


def routed(raw: bytes, decoded: str) -> str:
    """The path that routes are matched against."""
    seen: list[str] = []

    async def inner(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["path"])

    async def receive() -> Message:
        return {}

    async def send(_message: Message) -> None:
        return

    asyncio.run(PathSegments(inner)({"type": "http", "path": decoded, "raw_path": raw}, receive, send))
    return seen[0]


def test_a_slash_within_a_key_is_no_end_of_a_segment() -> None:
    path = routed(b"/devices/hall%2F2%20b/sensors", "/devices/hall/2 b/sensors")
    assert path == f"/devices/hall{SLASH}2 b/sensors"
    assert KeySegment().convert(path.split("/")[2]) == "hall/2 b"


@pytest.mark.parametrize("raw", [b"/devices/hall/2", b"/devices/%252F"])
def test_other_paths_stay_as_they_are(raw: bytes) -> None:
    assert routed(raw, "as decoded") == "as decoded"


def test_a_range_may_have_both_bounds_or_one() -> None:
    both, low, high = ranges_of(["config.readingInterval:60:300", "a:1:", "a::-2.5"])
    assert (both.path, both.min, both.max) == ("config.readingInterval", 60, 300)
    assert (low.min, low.max, high.min, high.max) == (1, None, None, -2.5)


@pytest.mark.parametrize("text", ["", "a", "a:1", "a:1:2:3", ":1:2", "a:x:1", "a:nan:1", "a:1:inf"])
def test_what_is_no_range_is_told_with_an_example(text: str) -> None:
    with pytest.raises(InvalidError, match="such as config.readingInterval:60:300"):
        ranges_of([text])


@pytest.mark.parametrize(("text", "found"), [(None, None), ("{}", {}), ('{"a": [1]}', {"a": [1]})])
def test_contains_is_an_object(text: str | None, found: Any) -> None:
    assert contained(text) == found


@pytest.mark.parametrize("text", ["", "1", "[1]", "{", '{"a": 1, "a": 2}', '{"a": NaN}'])
def test_contains_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        contained(text)
