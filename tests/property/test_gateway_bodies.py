"""Whatever is posted to whichever route: an answer in the gateway's words, never a fault, never another's reading."""

from __future__ import annotations

import base64
import io
import json
import logging
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import murmur2
from fastavro import parse_schema, schemaless_reader
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from connectors.gateway.content.reading import Reading
from connectors.gateway.content.reading_encoder import ReadingEncoder
from connectors.gateway.http import Route
from schemas import load_schema
from tests.gateway_in_process import (
    CLUSTER,
    KEY,
    NOTE_ID,
    NOTES,
    PARTITIONS,
    READING_ID,
    TEXTS,
    Answer,
    GatewayInProcess,
)
from tests.gateway_routes import all_routes, named

POSTS: Final = [route for route in all_routes() if route.method == "POST"]
READING: Final[dict[str, Any]] = {"device_id": "a", "sensor": "t", "ts": time.time_ns() // 1_000_000, "value": 21.5}
FOREIGN: Final = READING | {"device_id": "foreign"}
FRAMED: Final = base64.b64encode(ReadingEncoder(load_schema("Reading"), READING_ID).encode(Reading(**READING))).decode()
BOXED: Final = READING | {"value": {"double": 21.5}}
REFUSALS: Final = {400, 401, 403, 404, 405, 406, 408, 413, 415, 422, 429}
SCHEMA: Final = parse_schema(dict(load_schema("Reading")))
FEW: Final = settings(
    max_examples=250, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)

WORDS: Final = st.sampled_from(
    [
        *("records", "value", "key", "partition", "partition_id", "value_schema", "value_schema_id", "key_schema"),
        *("key_schema_id", "entries", "id", "headers", "name", "type", "data", "schema", "schema_id", "schema_version"),
        *("subject", "subject_name_strategy", "timestamp", "device_id", "sensor", "ts", "str_value", "double", "text"),
        *("JSON", "BINARY", "STRING", "AVRO", "PROTOBUF", "a", "t", "foreign", "AAAAAAM=", "2026-01-02T03:04:05Z"),
        *(TEXTS[READING_ID], TEXTS[NOTE_ID], '"string"', '{"type": "array", "items": "long"}', "TOPIC_NAME"),
    ]
)
NUMBERS: Final = st.sampled_from([0, -1, 1, READING_ID, NOTE_ID, 2**31, 2**63, -(2**63) - 1, 10**30, 1e308, 0.1])
LEAVES: Final = st.one_of(
    st.none(), st.booleans(), NUMBERS, st.integers(), st.floats(), WORDS, st.text(max_size=8), st.just("\ud800")
)
VALUES: Final = st.recursive(
    LEAVES | st.sampled_from([READING, BOXED, FOREIGN]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=4),
    max_leaves=6,
)
DATA: Final = st.sampled_from(
    [
        {"type": "JSON", "data": READING},
        {"type": "JSON", "data": FOREIGN},
        {"type": "BINARY", "data": FRAMED},
        {"type": "AVRO", "schema": TEXTS[READING_ID], "data": BOXED},
        {"type": "AVRO", "schema": TEXTS[NOTE_ID], "data": {"text": "x"}},
        {"schema_id": READING_ID, "data": READING},
        {"schema_version": 1, "data": {"text": "x"}},
        {"type": "STRING", "data": "a"},
    ]
)
V3_RECORD: Final = st.fixed_dictionaries(
    {"value": DATA},
    optional={
        "key": st.just({"type": "STRING", "data": "a"}),
        "headers": st.just([{"name": "n", "value": "AAAA"}]),
        "timestamp": st.just("2026-01-02T03:04:05Z"),
        "partition_id": st.sampled_from([0, 1, 9]),
    },
)
V2_VALUE: Final = st.sampled_from([READING, FOREIGN, BOXED, {"text": "x"}, FRAMED, 1, None])
V2_BODY: Final = st.fixed_dictionaries(
    {"records": st.lists(V2_VALUE.map(lambda value: {"value": value}), min_size=1, max_size=4)},
    optional={
        "value_schema_id": st.sampled_from([READING_ID, NOTE_ID]),
        "value_schema": st.sampled_from([TEXTS[READING_ID], TEXTS[NOTE_ID]]),
        "key_schema": st.just('"string"'),
    },
)


def batch_of(records: list[dict[str, Any]]) -> dict[str, Any]:
    """A batch with its entries numbered."""
    return {"entries": [{"id": str(place), **record} for place, record in enumerate(records)]}


BATCH: Final = st.lists(V3_RECORD, min_size=1, max_size=4).map(batch_of)
STREAM: Final = st.lists(V3_RECORD, min_size=1, max_size=4)


def nodes(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON value, its own first."""
    yield path
    for key, inner in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield from nodes(inner, (*path, key))


def replaced(tree: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """The same value with one inner value changed."""
    if not path:
        return change(tree)
    copy = tree.copy()
    copy[path[0]] = replaced(tree[path[0]], path[1:], change)
    return copy


def changed(tree: Any, word: str | None, value: Any) -> Any:
    """Another value, or with one thing more in it, or in a list."""
    if word is None:
        return value
    return tree | {word: value} if isinstance(tree, dict) else [*tree, value] if isinstance(tree, list) else [tree]


@st.composite
def bent(draw: st.DrawFn, whole: st.SearchStrategy[Any], lines: bool) -> bytes:
    """A good body, or with a value or two that is another or one too many, and sometimes other bytes.

    ``lines``: it is a stream of what is in the list.
    """
    tree = draw(whole)
    for _ in range(draw(st.integers(0, 2))):
        path = draw(st.sampled_from(list(nodes(tree))))
        value = draw(VALUES)
        word = None if draw(st.booleans()) else draw(WORDS)
        tree = replaced(tree, path, partial(changed, word=word, value=value))
    trees = tree if lines and isinstance(tree, list) else [tree]
    body = b"\n".join(json.dumps(each).encode() for each in trees)
    return draw(bytes_bent(body)) if draw(st.integers(0, 3)) == 0 else body


@st.composite
def bytes_bent(draw: st.DrawFn, body: bytes) -> bytes:
    """The same with bytes cut off, put in, left out or doubled."""
    place = draw(st.integers(0, len(body)))
    before, after = body[:place], body[place:]
    filling = draw(st.sampled_from([b"", b"[" * 50, b"NaN", b"\\u0022", before[-20:]]) | st.binary(max_size=4))
    return draw(st.sampled_from([before, before + filling + after, before + filling + after[1:]]))


BODIES: Final = {
    "/topics/{topic}": V2_BODY,
    "/topics/{topic}/partitions/{partition}": V2_BODY,
    "/v3/clusters/{cluster_id}/topics/{topic}/records": STREAM,
    "/v3/clusters/{cluster_id}/topics/{topic}/records:batch": BATCH,
}
"""What is bent for each route."""
EXTRA: Final = st.lists(
    st.sampled_from(
        [
            (b"content-encoding", b"gzip"),
            (b"content-encoding", b"deflate"),
            (b"idempotency-key", b"one"),
            (b"idempotency-key", b"\xff\0"),
            (b"accept", b"*/*;q=nan, \xff, */*"),
        ]
    ),
    max_size=1,
)


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayInProcess]:
    with tempfile.TemporaryDirectory() as folder:
        made = GatewayInProcess(Path(folder), body_bytes=20_000, records=10, json_depth=16)
        yield made
        made.close()


@pytest.fixture
def faults(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.ERROR, logger="connectors.gateway")
    return caplog


def path_of(route: Route, topic: str) -> str:
    places = {"topic": topic, "partition": str(murmur2(b"a", PARTITIONS)), "cluster_id": CLUSTER}
    path = route.template
    for name, value in places.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def check(answer: Answer, faults: pytest.LogCaptureFixture) -> None:
    """It is one of the answers that the documentation has, and nobody had to be told of a fault."""
    said = f"{answer.status} {answer.body[:500]!r}"
    assert faults.records == [], said
    assert answer.status in {200, 207} | REFUSALS, said
    if answer.status in REFUSALS:
        refusal = json.loads(answer.body)
        assert str(refusal["error_code"]).startswith(str(answer.status)), said
        assert refusal["message"], said
        assert refusal.keys() >= {"error_code", "message"}


def check_stored(gateway: GatewayInProcess, before: int) -> None:
    """What came to the log is acme's: readings of its device that every reader can read, or its own topic's."""
    for record in gateway.log.records[before:]:
        assert record.topic in (gateway.settings.topics.readings, NOTES)
        if record.topic == gateway.settings.topics.readings:
            assert record.value is not None
            assert record.value[:5] == b"\0" + READING_ID.to_bytes(4, "big")
            reading: Any = schemaless_reader(io.BytesIO(record.value[5:]), SCHEMA, None)
            assert (record.key, reading["device_id"]) == (b"a", "a")
            assert reading["value"] is None or abs(reading["value"]) <= 1e150
            assert record.partition == -1


def stored_by(gateway: GatewayInProcess, topic: str, answer: Answer, before: int) -> None:
    """What is said to be stored is what was."""
    if answer.status not in (200, 207) or "idempotency-replayed" in answer.headers:
        return
    reports = [json.loads(line) for line in answer.body.split(b"\r\n") if line]
    told = reports[0].get("offsets", reports[0].get("successes")) if len(reports) == 1 else None
    taken = [each for each in told if each.get("error_code") is None] if told is not None else []
    if told is None:
        taken = [each for each in reports if each["error_code"] == 200]
    assert len(taken) == len(gateway.log.records) - before, answer
    event(f"{topic}: {'something' if taken else 'nothing'} stored")


@pytest.mark.parametrize("topic", ["readings", "notes"])
@pytest.mark.parametrize("route", POSTS, ids=named)
@FEW
@given(data=st.data())
def test_no_body_brings_a_fault_or_stores_what_is_not_its_senders(
    gateway: GatewayInProcess, faults: pytest.LogCaptureFixture, route: Route, topic: str, data: st.DataObject
) -> None:
    body = data.draw(bent(BODIES[route.template], route.streams), "body")
    media_type = data.draw(st.sampled_from([*route.consumes[:3] * 3, *route.consumes]), "media type")
    extra = data.draw(EXTRA, "headers")
    if (b"content-encoding", b"deflate") in extra:
        body = zlib.compress(body)
    before = len(gateway.log.records)
    headers = [(b"x-api-key", KEY), (b"content-type", media_type.encode()), *extra]
    step = data.draw(st.sampled_from([7, 100, 20_000]), "bytes of a piece")
    pieces = [body[begin : begin + step] for begin in range(0, len(body), step)]
    named_topic = gateway.settings.topics.readings if topic == "readings" else NOTES
    answer = gateway.ask("POST", path_of(route, named_topic), headers, *pieces)
    check(answer, faults)
    check_stored(gateway, before)
    stored_by(gateway, topic, answer, before)


PARTS: Final = st.sampled_from(
    [
        "topics",
        "partitions",
        "offsets",
        "brokers",
        "v3",
        "clusters",
        CLUSTER,
        "records",
        "records:batch",
        NOTES,
        "0",
        "",
    ]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "FOO"]),
    path=st.lists(PARTS | st.text(max_size=6), max_size=8).map(lambda parts: "/" + "/".join(parts)),
    headers=st.lists(
        st.tuples(
            st.sampled_from([b"accept", b"content-type", b"content-encoding", b"authorization", b"idempotency-key"]),
            st.binary(max_size=20) | st.sampled_from([b"Basic " + b"=" * 9, b"Bearer " + KEY, b"*/*", b"gzip"]),
        ),
        max_size=4,
    ),
    key=st.booleans(),
)
def test_no_method_path_or_header_brings_a_fault(
    gateway: GatewayInProcess,
    faults: pytest.LogCaptureFixture,
    method: str,
    path: str,
    headers: list[tuple[bytes, bytes]],
    key: bool,
) -> None:
    answer = gateway.ask(method, path, [*headers, *([(b"x-api-key", KEY)] if key else [])], b"{}")
    assert faults.records == []
    assert answer.status in {200, 207, 431} | REFUSALS, answer


def test_a_fault_would_be_seen(
    gateway: GatewayInProcess, faults: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive control."""

    async def broken(*_: object) -> None:
        raise KeyError("broken on purpose")

    monkeypatch.setattr(gateway.log, "send", broken)
    headers = [(b"x-api-key", KEY), (b"content-type", b"application/vnd.kafka.json.v2+json")]
    body = json.dumps({"records": [{"value": READING}]}).encode()
    answer = gateway.ask("POST", path_of(POSTS[0], gateway.settings.topics.readings), headers, body)
    with pytest.raises(AssertionError):
        check(answer, faults)
