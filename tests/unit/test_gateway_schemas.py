"""Schemas that are made to hurt, and questions about schemas by those who ask too much."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from connectors.gateway.content.formats import serialise
from connectors.gateway.content.schema_questions import (
    MOST_KEPT,
    MOST_OF_ONE,
    NEGATIVE_SECONDS,
    THREADS,
    Answer,
    Found,
    Key,
    Questions,
    Refused,
)
from connectors.gateway.content.schema_text import MOST_TEXT, RegisteredSchema, parse
from connectors.gateway.content.schemas import Schemas
from connectors.gateway.errors import CONVERSION_FAILED, INVALID_SCHEMA, KAFKA_RETRIABLE, GatewayError
from connectors.registry import Version
from schemas import load_schema
from weir.errors import TransientError
from weir.settings import Settings

READINGS = Settings().topics.readings
READING = json.dumps(load_schema("Reading"))
MISSING = Refused(42207, "no such schema")


def registered(schema: object, schema_id: int = 7) -> RegisteredSchema:
    return RegisteredSchema(schema_id, "subject", 1, *parse(json.dumps(schema, separators=(",", ":"))))


def took(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def nested(depth: int, fields: int) -> Any:
    inner: Any = {"type": "record", "name": "Z", "fields": [{"name": f"a{n}", "type": "int"} for n in range(fields)]}
    for level in range(depth):
        field = {"name": "f", "type": {"type": "array", "items": inner}, "default": []}
        inner = {"type": "record", "name": f"R{level}", "fields": [field]}
    return inner


# -- schemas and values that are made to hurt --------------------------------------------------------------------------


def test_defaults_within_defaults_do_not_double_the_work() -> None:
    """A third of a second for each is twenty times what it takes; it was minutes for the second."""
    assert took(lambda: registered(nested(13, 800))) < 0.3
    assert took(lambda: registered(nested(14, 1_400))) < 0.3


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "record", "name": "A", "fields": [{"name": f"a{n}", "type": "int"} for n in range(2_000)]},
        [{"type": "fixed", "name": f"a{n}", "size": 1} for n in range(1_400)] + ["null"] * 600,
        {
            "type": "record",
            "name": "A",
            "namespace": "n" * 30_000,
            "fields": [{"name": f"a{n}", "type": {"type": "fixed", "name": f"F{n}", "size": 1}} for n in range(500)],
        },
    ],
    ids=["fields", "branches", "names"],
)
def test_a_schema_that_would_take_much_memory_is_refused(schema: Any) -> None:
    text = json.dumps(schema, separators=(",", ":"))
    assert len(text) < MOST_TEXT
    with pytest.raises(GatewayError) as refused:
        parse(text)
    assert refused.value.code == INVALID_SCHEMA


def test_a_long_key_is_not_copied_for_every_item_below_it() -> None:
    schema = registered({"type": "map", "values": {"type": "array", "items": "int"}})
    value = {"k" * 1_000_000: [1] * 20_000}
    assert took(lambda: serialise("avro", value, schema)) < 0.3


def test_fields_that_are_left_out_cost_nothing_each() -> None:
    fields = [{"name": f"a{n}", "type": "null", "default": None} for n in range(1_000)]
    schema = registered({"type": "array", "items": {"type": "record", "name": "A", "fields": fields}})
    assert took(lambda: serialise("avro", [{}] * 20_000, schema)) < 0.5


def test_a_short_value_cannot_stand_for_gigabytes() -> None:
    fields = [{"name": f"a{n}", "type": "string", "default": "x" * 90} for n in range(20)]
    record = {"type": "record", "name": "A", "fields": fields}
    with pytest.raises(GatewayError) as refused:
        serialise("avro", [{}] * 40_000, registered({"type": "array", "items": record}))
    assert refused.value.code == CONVERSION_FAILED
    fields = fields[:5]
    with pytest.raises(GatewayError, match="leave out fewer fields"):
        serialise("avro", [{}] * 40_000, registered({"type": "array", "items": record | {"fields": fields}}))


def test_a_value_of_very_many_parts_is_refused_before_it_is_written() -> None:
    schema = registered({"type": "array", "items": {"type": "array", "items": "null"}})
    with pytest.raises(GatewayError, match=r"Field \[\d+\] must hold at most 50000 values in all\."):
        serialise("avro", [[None] * 1_000] * 1_000, schema)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ([{"type": "fixed", "name": f"a{n:04d}", "size": 1} for n in range(1_400)], 1),
        (["null", {"type": "fixed", "name": "a" * 240, "size": 1}], 1),
        ({"type": "record", "name": "a" * 240, "fields": []}, 1),
        ({"type": "record", "name": "a" * 240, "fields": []}, {"b" * 100_000: 1}),
        ({"type": "record", "name": "a", "fields": [{"name": "b" * 60_000, "type": "int"}]}, {}),
        ({"type": "record", "name": "a", "fields": [{"name": "b" * 60_000, "type": "int"}]}, {"b" * 60_000: "x"}),
        ({"type": "enum", "name": "a" * 240, "symbols": ["b"]}, "c" * 100_000),
        ({"type": "map", "values": "int"}, {"é" * 100_000: "x" * 100_000}),
        ([], 1),
    ],
)
def test_what_is_said_of_a_misfit_is_short(schema: Any, value: Any) -> None:
    with pytest.raises(GatewayError) as refused:
        serialise("avro", value, registered(schema))
    assert len(refused.value.message) < 400


def test_records_come_out_in_the_order_of_the_schema_whichever_fields_came_how() -> None:
    names = ["a", "b", "c", "d"]
    fields = [{"name": name, "type": "int", "default": place} for place, name in enumerate(names)]
    schema = registered({"type": "record", "name": "A", "fields": fields})
    for given in ({}, {"d": 9}, {"a": 9}, {"c": 9, "b": 8}, {"d": 4, "c": 3, "b": 2, "a": 1}):
        expected = bytes(2 * given.get(name, place) for place, name in enumerate(names))
        assert serialise("avro", given, schema) == schema.frame + expected


# -- questions ---------------------------------------------------------------------------------------------------------


class Desk:
    """What a thread asks: waits until it may answer, and counts."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.may_answer = threading.Event()

    def about(self, name: object, answer: Answer = MISSING) -> Callable[[], Answer]:
        def ask() -> Answer:
            self.asked.append(name)
            assert self.may_answer.wait(5)
            return answer

        return ask


def key(name: int) -> Key:
    return "id", "subject", name


async def outcome(questions: Questions, owner: str, name: int, ask: Callable[[], Answer]) -> object:
    try:
        return await questions.answer(owner, key(name), ask)
    except GatewayError as error:
        return error.code


def test_one_who_asks_much_is_told_to_wait_while_others_are_answered() -> None:
    async def run() -> None:
        questions, desk = Questions(time.monotonic), Desk()
        tasks = [asyncio.create_task(outcome(questions, "a", n, desk.about(n))) for n in range(100)]
        await asyncio.sleep(0.05)
        assert [each.result() for each in tasks if each.done()] == [KAFKA_RETRIABLE] * (100 - MOST_OF_ONE)
        other = asyncio.create_task(outcome(questions, "b", 1_000, desk.about(1_000)))
        await asyncio.sleep(0)
        desk.may_answer.set()
        assert await other == 42207
        assert {await each for each in tasks} == {KAFKA_RETRIABLE, 42207}
        assert await outcome(questions, "a", 500, desk.about(500)) == 42207
        await questions.close()

    asyncio.run(run())


def test_a_question_is_not_put_for_one_who_went_away() -> None:
    async def run() -> None:
        questions, desk = Questions(time.monotonic), Desk()
        tasks = [asyncio.create_task(outcome(questions, "a", n, desk.about(n))) for n in range(8)]
        await asyncio.sleep(0.05)
        started = len(desk.asked)
        for each in tasks:
            each.cancel()
        await asyncio.sleep(0.05)
        again = asyncio.create_task(outcome(questions, "a", 7, desk.about("again")))  # as one that nobody put
        desk.may_answer.set()
        assert await again == 42207
        await questions.close()
        assert started < 8
        assert desk.asked == [*range(started), "again"]

    asyncio.run(run())


def test_one_of_two_who_goes_away_does_not_end_the_question_of_the_other() -> None:
    async def run() -> None:
        questions, desk = Questions(time.monotonic), Desk()
        before = [asyncio.create_task(outcome(questions, "a", n, desk.about(n))) for n in range(THREADS)]
        first, second = (asyncio.create_task(outcome(questions, "a", 9, desk.about(9))) for _ in range(2))
        await asyncio.sleep(0.02)
        first.cancel()
        await asyncio.sleep(0.02)
        desk.may_answer.set()
        assert await second == 42207
        assert desk.asked == [*range(THREADS), 9]
        assert [await each for each in before] == [42207] * THREADS
        await questions.close()

    asyncio.run(run())


def test_answers_of_one_who_has_many_are_forgotten_before_those_of_others() -> None:
    async def run() -> None:
        questions, desk = Questions(lambda: 0.0), Desk()
        desk.may_answer.set()
        known = registered("int")
        await questions.answer("b", key(1), desk.about("b", Found(known, 5)))
        for number in range(MOST_KEPT + 10):
            await outcome(questions, "a", number, desk.about(number))
        assert questions.known("b", key(1)) is known
        assert await questions.answer("b", key(1), desk.about("b again")) is known
        await outcome(questions, "a", 0, desk.about("a again"))
        assert desk.asked[-1] == "a again"
        await questions.close()

    asyncio.run(run())


# -- the readings topic ------------------------------------------------------------------------------------------------


class FakeRegistry:
    """A registry with versions of the readings subject; counts what it is asked."""

    def __init__(self) -> None:
        self.texts = {1: READING}
        self.asked: list[str] = []
        self.is_away = False

    def versions(self, subject: str) -> list[int]:
        self.asked.append(subject)
        if self.is_away:
            raise TransientError("away")
        return list(self.texts)

    def version(self, subject: str, number: int) -> Version | None:
        return Version(100 + number, number, self.texts[number])

    def close(self) -> None:
        return None


def schemas_of(registry: FakeRegistry, clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> Schemas:
    monkeypatch.setattr("connectors.gateway.content.schemas.Registry", lambda *_, **__: registry)
    return Schemas(Settings(), clock)


async def refusal(question: Any) -> int:
    with pytest.raises(GatewayError) as refused:
        await question
    return refused.value.code


def test_made_up_ids_of_readings_ask_the_registry_once(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, now = FakeRegistry(), [0.0]

    async def run() -> None:
        schemas = schemas_of(registry, lambda: now[0], monkeypatch)
        found = [schemas.by_id(READINGS, False, number) for number in range(1_000, 1_400)]
        assert {await refusal(each) for each in found} == {42207}
        assert (await schemas.by_id(READINGS, False, 101)).version == 1
        assert registry.asked == [f"{READINGS}-value"]
        wider = load_schema("Reading")
        wider["fields"].append({"name": "more", "type": ["null", "int"], "default": None})
        registry.texts[2] = json.dumps(wider)
        assert await refusal(schemas.by_id(READINGS, False, 102)) == 42207
        now[0] += NEGATIVE_SECONDS
        assert (await schemas.by_id(READINGS, False, 102)).version == 2
        assert (await schemas.latest(READINGS, False)).version == 2
        assert (await schemas.by_version(READINGS, False, 1)).id == 101
        assert len(registry.asked) == 2
        await schemas.close()

    asyncio.run(run())


def test_only_the_subject_of_readings_counts_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = FakeRegistry()

    async def run() -> None:
        schemas = schemas_of(registry, lambda: 0.0, monkeypatch)
        other = f"{READINGS}-Made.Up"
        assert await refusal(schemas.latest(READINGS, False, other)) == 42207
        assert await refusal(schemas.by_version(READINGS, False, 1, other)) == 400
        assert await refusal(schemas.by_id(READINGS, True, 101)) == 42207
        assert await refusal(schemas.by_text(READINGS, False, READING, other)) == 42205
        assert schemas.known(READINGS, True, 101) is None
        await schemas.close()

    asyncio.run(run())
    assert not registry.asked


def test_the_text_of_readings_may_be_written_in_any_way_that_means_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = load_schema("Reading")
    full = {name: part for name, part in schema.items() if name != "namespace"} | {"name": "io.weir.Reading"}

    async def run() -> None:
        schemas = schemas_of(FakeRegistry(), lambda: 0.0, monkeypatch)
        for text in (READING, json.dumps(schema, indent=4, sort_keys=True), json.dumps(full)):
            assert (await schemas.by_text(READINGS, False, text)).id == 101
        for text in ('"int"', "{", json.dumps(schema | {"fields": schema["fields"][1:]}), "[" * 9_000, "5"):
            assert await refusal(schemas.by_text(READINGS, False, text)) == 42205
        await schemas.close()

    asyncio.run(run())


def test_versions_that_were_loaded_hold_while_the_registry_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, now = FakeRegistry(), [0.0]

    async def run() -> None:
        schemas = schemas_of(registry, lambda: now[0], monkeypatch)
        registry.is_away = True
        assert await refusal(schemas.by_id(READINGS, False, 101)) == KAFKA_RETRIABLE
        assert await refusal(schemas.by_text(READINGS, False, READING)) == KAFKA_RETRIABLE
        assert len(registry.asked) == 1  # not once a record
        registry.is_away = False
        now[0] += 2
        assert (await schemas.by_id(READINGS, False, 101)).version == 1
        registry.is_away = True
        now[0] += 1_000
        assert (await schemas.by_id(READINGS, False, 101)).version == 1
        assert (await schemas.latest(READINGS, False)).version == 1
        assert (await schemas.by_text(READINGS, False, READING)).version == 1
        assert await refusal(schemas.by_id(READINGS, False, 5)) == KAFKA_RETRIABLE
        await schemas.close()

    asyncio.run(run())


def test_a_schema_that_is_long_to_read_does_not_hold_up_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(nested(13, 1_900), separators=(",", ":"))
    assert 50_000 < len(text) < MOST_TEXT
    registry = FakeRegistry()
    loop_thread = threading.get_ident()
    parsing_threads: set[int] = set()

    def watched(text: str) -> Any:
        parsing_threads.add(threading.get_ident())
        return parse(text)

    for module in ("schemas", "readings_schemas"):
        monkeypatch.setattr(f"connectors.gateway.content.{module}.parse", watched)

    async def run() -> None:
        schemas = schemas_of(registry, lambda: 0.0, monkeypatch)
        assert await refusal(schemas.by_text(READINGS, False, text)) == 42205
        assert await refusal(schemas.by_text("acme.notes", False, '{"type":"array"}')) == 42205
        await schemas.close()

    asyncio.run(run())
    assert parsing_threads
    assert loop_thread not in parsing_threads
