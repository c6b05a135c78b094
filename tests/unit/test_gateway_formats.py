"""Keys and values of topics that are not readings: forms, Avro's JSON encoding, schemas, and whose topic is whose."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any

import fastavro
import msgspec
import pytest

from connectors.gateway.content.formats import Form, serialise
from connectors.gateway.content.schema_text import MOST_TEXT, RegisteredSchema, chosen_subject, parse, subject_of
from connectors.gateway.errors import (
    BAD_REQUEST,
    CONVERSION_FAILED,
    FORBIDDEN,
    INVALID_SCHEMA,
    KEY_SCHEMA_MISSING,
    TOPIC_NOT_FOUND,
    VALUE_SCHEMA_MISSING,
    GatewayError,
)
from connectors.gateway.records import Caller
from connectors.gateway.visible_topics import is_visible, writing_refusal
from weir.settings import Settings

ORDER = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["open", "paid"]}, "default": "open"},
        {"name": "items", "type": {"type": "array", "items": "double"}, "default": []},
        {"name": "before", "type": ["null", "Order"], "default": None},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 2}, "default": "\u0000\u00ff"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}, "default": 0},
    ],
}


def registered(schema: object, schema_id: int = 7) -> RegisteredSchema:
    text = json.dumps(schema)
    return RegisteredSchema(schema_id, "subject", 1, *parse(text))


def read(schema: RegisteredSchema, framed: bytes | None) -> Any:
    assert framed is not None
    assert framed[:5] == b"\0" + schema.id.to_bytes(4, "big")
    return fastavro.schemaless_reader(io.BytesIO(framed[5:]), schema.parsed, None)


@pytest.mark.parametrize(
    ("form", "data", "expected"),
    [
        ("binary", "Zm9v", b"foo"),
        ("binary", "Zg==", b"f"),
        ("binary", "Zg", b"f"),
        ("binary", "", b""),
        ("string", "é", "é".encode()),
        ("string", "", b""),
        ("json", {"b": [1, 2.5, None], "a": "é"}, '{"b":[1,2.5,null],"a":"é"}'.encode()),
        ("json", "text", b'"text"'),
        ("json", 0, b"0"),
        ("json", False, b"false"),
        ("json", 10**30, b"1" + b"0" * 30),
        ("binary", None, None),
        ("string", None, None),
        ("json", None, None),
        ("avro", None, None),
    ],
)
def test_data_becomes_bytes_and_null_becomes_a_tombstone(form: Form, data: object, expected: bytes | None) -> None:
    assert serialise(form, data) == expected
    assert serialise(form, msgspec.Raw(json.dumps(data).encode())) == (
        expected if form != "json" or expected is None else msgspec.json.format(json.dumps(data).encode(), indent=-1)
    )


def test_json_that_is_passed_on_keeps_its_numbers_and_loses_its_white_space() -> None:
    assert serialise("json", msgspec.Raw(b'{ "a" : 1.10,\n "b": 1E+2, "c d": "e  f" }')) == (
        b'{"a":1.10,"b":1E+2,"c d":"e  f"}'
    )


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("binary", "%"),
        ("binary", "Zm9v\n"),
        ("binary", "Z"),
        ("binary", 5),
        ("binary", {"a": 1}),
        ("string", 5),
        ("string", ["a"]),
        ("string", "\ud800"),
    ],
)
def test_data_that_is_not_of_its_form_does_not_fit(form: Form, data: object) -> None:
    with pytest.raises(GatewayError) as refused:
        serialise(form, data)
    assert refused.value.code == CONVERSION_FAILED


def test_avro_takes_defaults_branches_and_records_within_records() -> None:
    schema = registered(ORDER)
    least: dict[str, Any] = {
        "id": 1,
        "note": None,
        "state": "open",
        "items": [],
        "before": None,
        "hash": b"\x00\xff",
    }
    found = read(schema, serialise("avro", {"id": 1}, schema))
    assert {name: found[name] for name in least} == least
    data = {
        "id": 2.0,
        "note": {"string": "é"},
        "state": "paid",
        "items": [1, 2.5],
        "before": {"shop.Order": {"id": 1}},
        "hash": "ab",
        "at": 5,
    }
    found = read(schema, serialise("avro", data, schema))
    assert (found["id"], found["note"], found["state"], found["items"]) == (2, "é", "paid", [1.0, 2.5])
    assert found["before"]["id"] == 1
    assert found["hash"] == b"ab"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "The data must be an object with the fields of shop.Order, and is an array."),
        ({}, "Field id is missing."),
        ({"id": 1.5}, "Field id must be a whole number of 64 bits, and is the number 1.5."),
        ({"id": 2**63}, "Field id must be a whole number of 64 bits, and is the number 9223372036854775808."),
        ({"id": True}, "Field id must be a whole number of 64 bits, and is a boolean."),
        ({"id": 1, "note": "bare"}, "Field note must be null or {\"string\": …}, and is the string 'bare'."),
        ({"id": 1, "note": {"text": "x"}}, "Field note must be null or {\"string\": …}, and is the string 'x'."),
        ({"id": 1, "note": {"null": None}}, None),
        ({"id": 1, "state": "lost"}, "Field state must be one of the symbols of shop.State, and is the string 'lost'."),
        ({"id": 1, "items": [1, "2"]}, "Field items[1] must be a number, and is the string '2'."),
        ({"id": 1, "hash": "abc"}, "Field hash must be 2 bytes, and is the string 'abc'."),
        ({"id": 1, "hash": "a€"}, "Field hash must be bytes, as a string of characters up to U+00FF, and is"),
        ({"id": 1, "colour": 1}, "shop.Order has no field colour."),
        ({"id": 1, "before": {"shop.Order": {"id": "x"}}}, "Field before.id must be a whole number of 64 bits"),
        ({"id": 1, "before": {"Order": {"id": 1}}}, "Field before must be null or"),
        (None, "The data must be an object"),
    ],
)
def test_a_misfit_is_told_by_the_path_to_it(data: object, words: str | None) -> None:
    schema = registered(ORDER)
    if words is None:
        assert serialise("avro", data, schema) is not None
        return
    with pytest.raises(GatewayError) as refused:
        serialise("avro", data, schema)
    assert refused.value.code == CONVERSION_FAILED
    assert words in refused.value.message


def test_null_is_a_tombstone_where_the_schema_allows_it() -> None:
    assert serialise("avro", None, registered(["null", "string"])) is None


@pytest.mark.parametrize(("is_key", "code"), [(True, KEY_SCHEMA_MISSING), (False, VALUE_SCHEMA_MISSING)])
def test_avro_without_a_schema_is_refused(is_key: bool, code: int) -> None:
    with pytest.raises(GatewayError) as refused:
        serialise("avro", 1, None, is_key)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "5",
        "null",
        '"nothing"',
        '{"type":"record"}',
        '{"type":"record","name":"A","fields":[{"name":"x"}]}',
        '{"type":"record","name":"A","fields":[{"name":"x","type":"B"}]}',
        '{"type":"fixed","name":"A","size":"x"}',
        '{"type":"array"}',
        '["null",["string"]]',
        '{"__fastavro_parsed__":true,"type":"B"}',
        "[" * 5_000 + "]" * 5_000,
        '{"type":"array","items":' * 900 + '"int"' + "}" * 900,
        '"' + "x" * MOST_TEXT + '"',
    ],
)
def test_what_is_no_schema_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(GatewayError) as refused:
        parse(text)
    assert refused.value.code == INVALID_SCHEMA
    assert len(refused.value.message) < 300


def test_defaults_of_records_are_not_multiplied() -> None:
    record: Any = {"type": "record", "name": "R0", "fields": []}
    for level in range(1, 20):
        inner = record
        record = {
            "type": "record",
            "name": f"R{level}",
            "fields": [
                {"name": "a", "type": inner, "default": {}},
                {"name": "b", "type": inner["name"], "default": {}},
            ],
        }
    with pytest.raises(GatewayError) as refused:
        serialise("avro", {}, registered(record))
    assert refused.value.code == CONVERSION_FAILED


SLUGS = ["acme", "acme.x", "acme-x", "acme.x-y", "weir", "weir.x", "a", "acme.notes-value"]
NAMES = ["notes", "x", "x-y", "notes-value", "readings", "a_b", "key"]


def caller(slug: str, **more: Any) -> Caller:
    return Caller("prefix", slug, more.pop("role", "device"), **more)


def test_every_topic_has_one_owner_at_most() -> None:
    settings = Settings()
    topics = {f"{slug}.{name}" for slug in SLUGS for name in NAMES} | {"acme", "__consumer_offsets", "acme.", ".x"}
    for topic in topics - {settings.topics.readings}:
        owners = [slug for slug in SLUGS if is_visible(settings, caller(slug), topic)]
        assert len(owners) <= 1, topic
        assert not owners or (topic.startswith(f"{owners[0]}.") and not topic.startswith("weir."))
    assert is_visible(settings, caller("acme"), "acme.notes")
    assert is_visible(settings, caller("acme.x"), "acme.x.notes")
    assert not is_visible(settings, caller("acme"), "acme.x.notes")
    assert not is_visible(settings, caller("weir"), "weir.deadletters")


def test_no_two_organisations_share_a_subject() -> None:
    owner_of: dict[str, str] = {}
    records = ["Note", "a.b", "notes", "x.y.Note"]
    for slug, name, is_key in itertools.product(SLUGS, NAMES, [True, False]):
        topic = f"{slug}.{name}"
        own = [subject_of(topic, is_key), *(f"{topic}-{record}" for record in records)]
        for subject in own:
            assert chosen_subject(topic, is_key, subject, None, None) == subject
            assert owner_of.setdefault(subject, slug) == slug
    for subject, (slug, name) in itertools.product(owner_of, itertools.product(SLUGS, NAMES)):
        try:
            chosen_subject(f"{slug}.{name}", False, subject, None, None)
        except GatewayError as error:
            assert error.code == BAD_REQUEST
        else:
            assert owner_of[subject] == slug, (subject, slug, name)


def test_the_strategy_of_all_topics_at_once_is_refused() -> None:
    with pytest.raises(GatewayError) as refused:
        chosen_subject("acme.notes", False, None, "RECORD_NAME", json.dumps(ORDER))
    assert refused.value.code == BAD_REQUEST
    assert chosen_subject("acme.notes", False, None, "TOPIC_RECORD_NAME", json.dumps(ORDER)) == "acme.notes-shop.Order"
    assert chosen_subject("acme.notes", True, None, None, None) == "acme.notes-key"


@pytest.mark.parametrize(
    ("role", "device", "topic", "code"),
    [
        ("device", None, "acme.notes", None),
        ("device", None, "weir.readings", None),
        ("device", "acme-1", "weir.readings", None),
        ("device", "acme-1", "acme.notes", TOPIC_NOT_FOUND),
        ("editor", None, "acme.notes", None),
        ("viewer", None, "acme.notes", FORBIDDEN),
        ("viewer", None, "weir.readings", FORBIDDEN),
        ("viewer", None, "birch.notes", TOPIC_NOT_FOUND),
        ("admin", None, "weir.alerts", TOPIC_NOT_FOUND),
        ("admin", None, "acme.a b", TOPIC_NOT_FOUND),
        ("admin", None, "acme." + "x" * 250, TOPIC_NOT_FOUND),
    ],
)
def test_who_may_write_where(role: Any, device: str | None, topic: str, code: int | None) -> None:
    refusal = writing_refusal(Settings(), caller("acme", role=role, device=device), topic)
    assert (refusal.code if refusal else None) == code
