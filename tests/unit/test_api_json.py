"""JSON is read as one meaning or refused with a sentence."""

from __future__ import annotations

import json

import pytest

from connectors.api.errors import BadRequestError
from connectors.api.strict_json import MOST_LEVELS, read_json


def test_ordinary_json_is_read_as_it_is() -> None:
    value = {"a": [1, -2.5, 1e10, True, None, "ü \U0001f600"], "b": {"c": {}}}
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON: Expecting property name"),
        (b'{"a": 1} x', "not JSON: Extra data"),
        (b"\xff", "not UTF-8: byte 0"),
        (b'{"a": {"x": 1, "y": 2, "x": 3}}', "'x' twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "-Infinity"),
        (b"[-1e400]", "-1e400"),
        (b"[" + b"1" * 5_000 + b"]", "too long"),
        (b'"\\u0000"', "NUL"),
        (b'{"a\\u0000": 1}', "NUL"),
        (b'"\\udc00"', "surrogate"),
    ],
)
def test_what_could_be_read_in_two_ways_or_not_be_stored_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(BadRequestError, match=words):
        read_json(text)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_only_so_many_levels_are_taken(opening: bytes, closing: bytes) -> None:
    read_json(opening * MOST_LEVELS + b"1" + closing * MOST_LEVELS)
    for levels in (MOST_LEVELS + 1, 200_000):
        with pytest.raises(BadRequestError, match="more than 64 levels"):
            read_json(opening * levels + b"1" + closing * levels)


def test_a_body_of_many_keys_twice_is_refused_in_a_moment() -> None:
    keys = ",".join(f'"k{number}": 1' for number in range(100_000))
    with pytest.raises(BadRequestError, match="'k99999' twice"):
        read_json(("{" + keys + ',"k99999": 2}').encode())
