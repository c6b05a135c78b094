"""Holds a running gateway against one case of its contract: sends it, compares the answer, reads what Kafka has."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
from _pytest.mark.structures import ParameterSet
from confluent_kafka import Message
from fastavro import parse_schema, schemaless_reader

from schemas import load_schema
from tests.contract.gateway_cases.case import JSON, V2, Case, Group, Some, Stored, compressed, filled
from tests.gateway_world import GatewayWorld, basic
from tests.raw_http import RawAnswer, chunked, raw_connection, rendered

READING_SCHEMA: Final = parse_schema(dict(load_schema("Reading")))
READING_BODY: Final = b'{"records":[{"value":{"device_id":"{acme}-1","sensor":"t","ts":{now},"value":21.5}}]}'


@dataclass(frozen=True)
class Prepared:
    """A case with all its names filled in."""

    case: Case
    places: Mapping[str, str]
    headers: dict[str, str]
    body: bytes

    def text(self, text: str) -> str:
        """A text of the case with its names."""
        return filled(text, self.places)

    def value(self, value: Any) -> Any:
        """The same for every text in a JSON value; ``{now}`` becomes a number."""
        if isinstance(value, dict):
            return {name: self.value(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each) for each in value]
        if isinstance(value, bytes):
            return self.text(value.decode("latin-1")).encode("latin-1")
        if isinstance(value, str):
            return int(self.places["now"]) if value == "{now}" else self.text(value)
        return value.filled(self.places) if isinstance(value, Some) else value


def exchanges(groups: Sequence[Group]) -> list[ParameterSet]:
    """Each case with each client that can send it, as parameters of a test."""
    return [
        pytest.param(case, via, id=f"{group.title}: {case.name} ({via})")
        for group in groups
        for case in group.cases
        for via in ("raw", "httpx")
        if case.only in (None, via) and (case.raw is None or via == "raw")
    ]


def hold(world: GatewayWorld, case: Case, via: str) -> None:
    """Raise AssertionError unless the gateway does as the case says; ``via`` is httpx or raw."""
    places = world.places
    if case.first is not None:
        first = prepared(world, case.first, places)
        _ask_with_httpx(world, first)
        places = places | {"now": str(int(places["now"]) + 1)}  # the same reading again would be one reading
    ready = prepared(world, case, places)
    answer, closed = _ask_with_httpx(world, ready) if via == "httpx" else _ask_raw(world, ready)
    said = f"{answer.status} {answer.body.decode(errors='replace')[:2000]}"
    assert answer.status == case.status, said
    _compare_body(ready, answer, said)
    _compare_headers(ready, answer)
    if case.closes and via == "raw":
        assert closed, "the server keeps a connection that it should close"
    if case.stored:
        _compare_stored(world, ready, json_of(answer.body, lines=case.lines))


def prepared(world: GatewayWorld, case: Case, places: Mapping[str, str]) -> Prepared:
    """Fill in the names of a case."""
    headers = {name: filled(value, places) for name, value in (case.headers or {}).items()}
    if case.media_type is not None:
        headers["Content-Type"] = case.media_type
    if case.encoding is not None:
        headers["Content-Encoding"] = case.encoding
    key = ""
    if case.key is not None:
        tenant, kind = world.tenant_of(case.key)
        key = tenant.keys[kind]
        scheme = {"bearer": f"Bearer {key}", "basic": basic(key)}
        headers |= {"X-API-Key": key} if case.scheme == "x-api-key" else {"Authorization": scheme[case.scheme]}
    one = filled(READING_BODY.decode(), places).encode()
    places = {**places, "key": key, "a reading in a chunk": chunked(one[:30], one[30:]).decode()}
    content = case.content()
    filled_in = filled(content.decode("latin-1"), places).encode("latin-1") if content else b""
    return Prepared(case, places, headers, compressed(filled_in, case.encoding))


def json_of(body: bytes, *, lines: bool) -> Any:
    """The JSON value of a body, or the list of those in it."""
    if not lines:
        return json.loads(body)
    found, text, decoder = [], body.decode().strip(), json.JSONDecoder()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].lstrip()
    return found


def _ask_with_httpx(world: GatewayWorld, ready: Prepared) -> tuple[RawAnswer, bool]:
    case = ready.case
    answer = world.client.request(case.method, ready.text(case.path), content=ready.body or None, headers=ready.headers)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return RawAnswer(answer.status_code, headers, answer.content), False


def _ask_raw(world: GatewayWorld, ready: Prepared) -> tuple[RawAnswer, bool]:
    case = ready.case
    if case.raw is not None:
        request = ready.text(case.raw.decode("latin-1")).encode("latin-1")
    else:
        request = rendered(case.method, ready.text(case.path), ready.headers, ready.body)
    with raw_connection(world.process.port) as connection:
        connection.send(request)
        answer = connection.receive(case.method)
        return answer, case.closes and connection.is_closed()


def _compare_body(ready: Prepared, answer: RawAnswer, said: str) -> None:
    case = ready.case
    if case.answer is None:
        assert answer.body == b"", said
        return
    assert answer.headers["content-type"] in (JSON, V2)
    assert json_of(answer.body, lines=case.lines) == ready.value(case.answer), said


def _compare_headers(ready: Prepared, answer: RawAnswer) -> None:
    for name, value in (ready.case.answer_headers or {}).items():
        assert answer.headers.get(name) == ready.value(value), f"{name} of {answer.headers}"


def _compare_stored(world: GatewayWorld, ready: Prepared, answer: Any) -> None:
    """What Kafka holds where the answer says that something was stored."""
    topic = ready.text(ready.case.path).split("/topics/")[1].split("/")[0]
    places = list(_places_of(answer))
    assert len(places) == len(ready.case.stored), f"{len(places)} records are said to be stored"
    for (partition, offset), wanted in zip(places, ready.case.stored, strict=True):
        message = world.message(topic, partition, offset)
        is_reading = topic == world.settings.topics.readings
        assert _stored(message, is_reading=is_reading, wanted=wanted) == replace(
            wanted,
            value=_with_absent_fields(ready.value(wanted.value)) if is_reading else ready.value(wanted.value),
            key=ready.value(wanted.key),
        )


def _places_of(answer: Any) -> Iterator[tuple[int, int]]:
    reports = answer.get("offsets", answer.get("successes")) if isinstance(answer, dict) else answer
    for each in reports or ():
        if each.get("error_code") in (None, 200):
            yield each.get("partition", each.get("partition_id")), each["offset"]


def _stored(message: Message, *, is_reading: bool, wanted: Stored) -> Stored:
    value: Any = message.value()
    if is_reading:
        assert value[:1] == b"\0", "readings are stored as Avro, by the id of their schema"
        value = schemaless_reader(io.BytesIO(value[5:]), READING_SCHEMA, None)
        value["ts"] = round(value["ts"].timestamp() * 1000)
    headers: Any = tuple(message.headers() or ())
    return Stored(value, message.key(), headers, None if wanted.timestamp is None else message.timestamp()[1])


def _with_absent_fields(reading: Mapping[str, Any]) -> dict[str, Any]:
    absent = {field["name"]: None for field in load_schema("Reading")["fields"]}
    return absent | dict(reading)


@contextmanager
def still_healthy(world: GatewayWorld) -> Iterator[None]:
    """Raise AssertionError when the gateway is not there and ready after the block."""
    began = time.monotonic()
    yield
    world.process.check()
    assert world.process.is_ready(), f"not ready any more after {time.monotonic() - began:.1f} s"
    assert "Traceback" not in world.process.log, world.process.log[-4000:]
