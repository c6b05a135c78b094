"""Whatever a client's JSON looks like: streams are cut where objects end, and Avro is what fastavro makes of it."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
from hypothesis import given
from hypothesis import strategies as st

from connectors.gateway.content.avro_json import compiled
from connectors.gateway.content.json_stream import JsonStream
from connectors.gateway.errors import CONVERSION_FAILED, GatewayError

MOST_LEVELS = 4
TEXTS = st.text(st.characters(codec="utf-8"), max_size=6) | st.text('{}"\\[]', max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)
PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "string": TEXTS,
    "bytes": st.text(st.characters(max_codepoint=255), max_size=5),
}


@given(
    st.lists(st.dictionaries(TEXTS, JSON, max_size=3), max_size=5),
    st.sampled_from([None, 1]),
    st.booleans(),
    st.sampled_from(["", "\n", " \r\n\t"]),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_a_stream_gives_its_objects_however_it_is_cut(
    objects: list[dict[str, Any]], indent: int | None, ascii_only: bool, between: str, cuts: list[int]
) -> None:
    texts = [json.dumps(each, indent=indent, ensure_ascii=ascii_only) for each in objects]
    body = between.join([*texts, ""]).encode()
    stream, found, at, place = JsonStream(100_000), list[bytes](), 0, 0
    while at < len(body):
        size = cuts[place % len(cuts)]
        complete, fault = stream.feed(body[at : at + size])
        assert fault is None
        found += complete
        at, place = at + size, place + 1
    assert [each.decode() for each in found] == texts
    assert not stream.is_amid_object


@given(st.binary(max_size=60) | st.text('{}"\\[] a1,:\n', max_size=60).map(str.encode), st.integers(1, 60))
def test_no_bytes_break_a_stream_and_it_gives_the_same_however_they_are_cut(body: bytes, size: int) -> None:
    def fed(cut: int) -> tuple[list[bytes], int | None]:
        stream, found = JsonStream(1_000), list[bytes]()
        for at in range(0, len(body), cut):
            complete, fault = stream.feed(body[at : at + cut])
            found += complete
            if fault is not None:
                return found, fault.code
        return found, None

    assert fed(size) == fed(len(body) or 1)


@st.composite
def typed(draw: st.DrawFn, names: list[str], level: int = 0) -> tuple[Any, st.SearchStrategy[Any]]:
    """A schema, and a strategy of values in Avro's JSON encoding."""
    nested = ["record", "array", "map", "enum", "fixed", "union"] if level < MOST_LEVELS else []
    kind = draw(st.sampled_from([*PRIMITIVES, *nested]))
    if kind in PRIMITIVES:
        return kind, PRIMITIVES[kind]
    if kind in ("array", "map"):
        inner, values = draw(typed(names, level + 1))
        if kind == "array":
            return {"type": "array", "items": inner}, st.lists(values, max_size=3)
        return {"type": "map", "values": inner}, st.dictionaries(TEXTS, values, max_size=2)
    if kind == "union":
        return draw(unions(names, level))
    names.append(f"N{len(names)}")
    name = names[-1]
    if kind == "enum":
        return {"type": "enum", "name": name, "symbols": ["a", "b"]}, st.sampled_from(["a", "b"])
    if kind == "fixed":
        return {"type": "fixed", "name": name, "size": 2}, st.text(
            st.characters(max_codepoint=255), min_size=2, max_size=2
        )
    fields = [draw(typed(names, level + 1)) for _ in range(draw(st.integers(0, 3)))]
    return (
        {
            "type": "record",
            "name": name,
            "fields": [{"name": f"f{n}", "type": each} for n, (each, _) in enumerate(fields)],
        },
        st.fixed_dictionaries({f"f{n}": values for n, (_, values) in enumerate(fields)}),
    )


@st.composite
def unions(draw: st.DrawFn, names: list[str], level: int) -> tuple[Any, st.SearchStrategy[Any]]:
    branches: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {}
    for _ in range(draw(st.integers(1, 3))):
        schema, values = draw(typed(names, level + 1))
        name = schema if isinstance(schema, str) else None
        if isinstance(schema, dict):
            name = schema.get("name", schema["type"])
        if name is not None:
            branches[name] = schema, values
    branches.setdefault("null", ("null", st.none()))

    def boxed(name: str) -> st.SearchStrategy[Any]:
        return branches[name][1].map(lambda value: value if name == "null" else {name: value})

    return [schema for schema, _ in branches.values()], st.one_of([boxed(name) for name in branches])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, Any]:
    schema, values = draw(typed([]))
    return schema, draw(values)


@given(cases())
def test_values_are_written_as_fastavro_writes_what_it_reads(case: tuple[Any, Any]) -> None:
    schema, value = case
    parsed = fastavro.parse_schema(schema)
    ours = compiled(parsed)(value, b"")
    read: Any = list(fastavro.json_reader(io.StringIO(json.dumps(value)), parsed))
    stored: Any = fastavro.schemaless_reader(io.BytesIO(ours), parsed, None)
    assert [stored] == read


@given(cases(), JSON)
def test_a_value_that_does_not_fit_is_refused_and_never_breaks_anything(case: tuple[Any, Any], value: Any) -> None:
    schema, _ = case
    parsed = fastavro.parse_schema(schema)
    try:
        out = compiled(parsed)(value, b"")
    except GatewayError as error:
        assert error.code == CONVERSION_FAILED
    else:
        fastavro.schemaless_reader(io.BytesIO(out), parsed, None)
