"""Records through REST Proxy v3: what each becomes in Kafka, or why it is refused; as one body and as a batch."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import fastavro
import httpx
import pytest

from connectors.registry import Registry, value_subject
from tests.gateway_world import GatewayWorld, gateway_world
from tests.stack_under_test import StackUnderTest
from tests.v3_produce import json_value, path, posted, reports_of

NOTE = json.dumps({"type": "record", "name": "Memo", "fields": [{"name": "n", "type": ["null", "long"]}]})


@pytest.fixture(scope="module")
def gateway(stack: StackUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with gateway_world(stack, tmp_path_factory.mktemp("gateway"), {"records": 20}) as running:
        yield running


def reading(device: str, value: float = 21.5, **more: Any) -> dict[str, Any]:
    return {"device_id": device, "sensor": "t", "ts": time.time_ns() // 1_000_000, "value": value, **more}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_reading_becomes_avro_under_its_device(gateway: GatewayWorld) -> None:
    topic, device = gateway.settings.topics.readings, gateway.acme.device
    [report] = posted(gateway, topic, json_value(reading(device, 21.5)), key="device")
    assert report["error_code"] == 200
    assert report["cluster_id"] == gateway.cluster
    assert report["topic_name"] == topic
    message = gateway.message(topic, report["partition_id"], report["offset"])
    value = message.value()
    assert message.key() == device.encode()
    assert value is not None
    assert value[:5] == b"\0" + gateway.readings_schema.to_bytes(4, "big")
    with Registry(gateway.settings.registry) as registry:
        schema = registry.schema(gateway.readings_schema)
    stored: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    assert stored["value"] == 21.5


def test_readings_come_as_json_avro_or_base64_and_their_reports_keep_the_order(gateway: GatewayWorld) -> None:
    topic, device = gateway.settings.topics.readings, gateway.acme.device
    with Registry(gateway.settings.registry) as registry:
        latest = registry.latest(value_subject(topic))
    assert latest is not None
    framed = io.BytesIO()
    framed.write(b"\0" + latest.id.to_bytes(4, "big"))
    fastavro.schemaless_writer(framed, latest.schema, reading(device, 4.0))
    boxed = reading(device) | {"value": {"double": 3.0}, "unit": {"string": "celsius"}}
    reports = posted(
        gateway,
        topic,
        json_value(reading(device, 1.0)),
        {"value": {"data": reading(device, 2.0)}},
        {"value": {"schema_id": latest.id, "data": boxed}},
        {"value": {"type": "AVRO", "schema": json.dumps(latest.schema), "data": boxed}},
        {"value": {"type": "BINARY", "data": encoded(framed.getvalue())}},
        {"value": {"type": "BINARY", "data": encoded(json.dumps(reading(device, 5.0)).encode())}},
        {"key": {"type": "BINARY", "data": encoded(device.encode())}, **json_value(reading(device, 6.0))},
        {"key": {"type": "STRING", "data": device}, **json_value(reading(device, 7.0))},
    )
    assert [each["error_code"] for each in reports] == [200] * 8, reports
    assert [each["offset"] for each in reports] == list(range(reports[0]["offset"], reports[0]["offset"] + 8))


def test_a_reading_cannot_pass_for_one_that_was_refused_before(gateway: GatewayWorld) -> None:
    names = ("trace", "first_seen", "replay_count")
    headers = [{"name": name, "value": encoded(b"7")} for name in names]
    topic = gateway.settings.topics.readings
    [report] = posted(gateway, topic, {"headers": headers, **json_value(reading(gateway.acme.device))})
    message = gateway.message(topic, report["partition_id"], report["offset"])
    assert message.headers() == [("trace", b"7")]


@pytest.mark.parametrize(
    ("record", "code", "words"),
    [
        ({}, 42203, "must have a value"),
        ({"value": None}, 42203, "must have a value"),
        (json_value({"device_id": "{device}"}), 42203, "sensor"),
        (json_value({"device_id": "{birch}-1", "sensor": "t", "ts": 1, "value": 1}), 40301, "may not write"),
        (json_value({"device_id": "nobodys", "sensor": "t", "ts": 1, "value": 1}), 40301, "may not write"),
        ({"value": {"type": "STRING", "data": "x"}}, 42203, "JSON, AVRO or BINARY"),
        ({"value": {"type": "PROTOBUF", "data": "x"}}, 400, "not offered"),
        ({"value": {"type": "XML", "data": "x"}}, 400, "one of"),
        ({"value": {"type": "JSON", "schema_id": 1, "data": {}}}, 400, "cannot be used with 'schema_id'"),
        ({"value": {"schema_id": 999_999, "data": {}}}, 42207, "999999"),
        ({"value": {"type": "AVRO", "schema": '"int"', "data": {}}}, 42205, "no version"),
        ({"value": {"type": "BINARY", "data": "%"}}, 400, "base64"),
        ({"value": {"type": "BINARY", "data": "AAAPQj8A"}}, 42207, "schema id"),
        ({"partition_id": 99_999}, 40402, "Partition not found"),
        ({"partition_id": -1}, 40402, "Partition not found"),
        ({"partition_id": "0"}, 400, "partition_id"),
        ({"value": {"type": "JSON", "dta": 1}}, 400, "dta"),
        ({"timestamp": "yesterday"}, 400, "timestamp"),
        ({"headers": [{"name": "a", "value": "%"}], "value": {"type": "JSON"}}, 42203, ""),
    ],
)
def test_what_is_wrong_with_a_record_stands_in_its_report_and_its_neighbours_are_written(
    gateway: GatewayWorld, record: dict[str, Any], code: int, words: str
) -> None:
    topic, device = gateway.settings.topics.readings, gateway.acme.device
    bent = json.loads(json.dumps(record).replace("{device}", device).replace("{birch}", gateway.birch.slug))
    good = json_value(reading(device))
    before, report, after = posted(gateway, topic, good, bent, good)
    assert (before["error_code"], after["error_code"]) == (200, 200)
    assert report["error_code"] == code, report
    assert words in report["message"]


def test_a_device_key_writes_no_other_device_and_no_other_topic(gateway: GatewayWorld) -> None:
    topic = gateway.settings.topics.readings
    [report] = posted(gateway, topic, json_value(reading(gateway.acme.spare)), key="device")
    assert report["error_code"] == 40301
    answer = gateway.client.post(
        path(gateway, gateway.acme.topic), json=json_value(1), headers=gateway.acme.headers("device")
    )
    assert (answer.status_code, answer.json()["error_code"]) == (404, 40401)


def test_keys_and_values_of_an_own_topic_are_bytes_as_their_types_say(gateway: GatewayWorld) -> None:
    topic = gateway.acme.topic
    [report] = posted(
        gateway,
        topic,
        {
            "partition_id": 1,
            "headers": [{"name": "trace", "value": encoded(b"\x00\xff")}, {"name": "empty"}],
            "key": {"type": "STRING", "data": "ké"},
            "value": {"type": "JSON", "data": {"b": 1.10, "a": "x y"}},
            "timestamp": "2021-02-05T19:14:42.5Z",
        },
    )
    assert report["error_code"] == 200, report
    assert report["partition_id"] == 1
    assert report["timestamp"] == "2021-02-05T19:14:42.500Z"
    assert report["key"] == {"type": "STRING", "size": 3}
    assert report["value"] == {"type": "JSON", "size": len('{"b":1.1,"a":"x y"}')}
    message = gateway.message(topic, 1, report["offset"])
    assert message.key() == "ké".encode()
    assert message.value() == b'{"b":1.1,"a":"x y"}'
    assert message.headers() == [("trace", b"\x00\xff"), ("empty", None)]
    assert message.timestamp()[1] == 1_612_552_482_500


def test_numbers_stay_as_they_came(gateway: GatewayWorld) -> None:
    text = '{"value":{"type":"JSON","data":{"price": 1.10, "id": 123456789012345678901234567890}}}'
    answer = gateway.client.post(
        path(gateway, gateway.acme.topic),
        content=text,
        headers={"Content-Type": "application/json", **gateway.acme.headers()},
    )
    [report] = reports_of(answer.text)
    message = gateway.message(gateway.acme.topic, report["partition_id"], report["offset"])
    assert message.value() == b'{"price":1.10,"id":123456789012345678901234567890}'


def test_a_record_without_data_is_a_tombstone(gateway: GatewayWorld) -> None:
    key = {"type": "BINARY", "data": "Zg"}  # without padding, as Confluent's decoder takes it
    reports = posted(
        gateway, gateway.acme.topic, {"key": key}, {"key": key, "value": None}, {"key": key, **json_value(None)}
    )
    for report in reports:
        message = gateway.message(gateway.acme.topic, report["partition_id"], report["offset"])
        assert (message.key(), message.value()) == (b"f", None)


def test_a_schema_is_registered_by_its_text_and_named_by_id_version_or_nothing(gateway: GatewayWorld) -> None:
    topic, data = gateway.acme.topic, {"n": {"long": 7}}
    [first] = posted(gateway, topic, {"value": {"type": "AVRO", "schema": NOTE, "data": data}})
    assert first["error_code"] == 200, first
    told = first["value"]
    assert (told["type"], told["subject"], told["schema_version"]) == ("AVRO", f"{topic}-value", 1)
    reports = posted(
        gateway,
        topic,
        {"value": {"schema_id": told["schema_id"], "data": data}},
        {"value": {"schema_version": 1, "data": data}},
        {"value": {"data": data}},
        {"value": {"subject": f"{topic}-value", "data": data}},
        {"value": {"type": "AVRO", "subject_name_strategy": "TOPIC_RECORD_NAME", "schema": NOTE, "data": data}},
    )
    assert [each["error_code"] for each in reports] == [200] * 5, reports
    assert reports[-1]["value"]["subject"] == f"{topic}-Memo"
    for each in (first, *reports):
        value = gateway.message(topic, each["partition_id"], each["offset"]).value()
        assert value == b"\0" + told["schema_id"].to_bytes(4, "big") + b"\x02\x0e"


def test_a_schema_of_another_organisation_is_one_that_does_not_exist(gateway: GatewayWorld) -> None:
    topic = gateway.acme.topic
    _, foreign, unknown = posted(
        gateway,
        topic,
        {"value": {"type": "AVRO", "schema": NOTE, "data": {"n": None}}},
        {"value": {"schema_id": gateway.foreign_schema, "data": {}}},
        {"value": {"schema_id": 99_999, "data": {}}},
    )
    assert foreign["error_code"] == unknown["error_code"] == 42207
    assert foreign["message"].replace(f"id {gateway.foreign_schema}.", "id 99999.") == unknown["message"]
    [named] = posted(gateway, topic, {"value": {"subject": f"{gateway.birch.topic}-value", "data": {}}})
    assert named["error_code"] == 400
    assert gateway.birch.marker not in json.dumps([foreign, named])


def test_a_value_that_does_not_fit_its_schema_is_told_by_field(gateway: GatewayWorld) -> None:
    record = {"value": {"type": "AVRO", "schema": NOTE, "data": {"n": {"long": "seven"}}}}
    [report] = posted(gateway, gateway.acme.topic, record)
    assert report["error_code"] == 400
    assert report["message"] == "Bad Request: Field n must be a whole number of 64 bits, and is the string 'seven'."


def test_a_key_given_twice_is_refused(gateway: GatewayWorld) -> None:
    answer = gateway.client.post(
        path(gateway, gateway.acme.topic),
        content='{"value":{"type":"JSON","data":{"a":1,"a":2}}}',
        headers={"Content-Type": "application/json", **gateway.acme.headers()},
    )
    [report] = reports_of(answer.text)
    assert report["error_code"] == 42206
    assert "'a' twice" in report["message"]


def batch(gateway: GatewayWorld, content: str | bytes, topic: str | None = None) -> httpx.Response:
    return gateway.client.post(
        path(gateway, topic or gateway.acme.topic) + ":batch",
        content=content,
        headers={"Content-Type": "application/json", **gateway.acme.headers()},
    )


def test_a_batch_keeps_its_good_entries_and_names_the_others(gateway: GatewayWorld) -> None:
    entries = [
        {"id": "good-1", **json_value({"a": 1})},
        {"id": "bad_1", "value": {"type": "BINARY", "data": "%"}},
        {"id": "bad_2", "partition_id": 77},
        {"id": "bad_3", "value": 5},
        {"id": "good-2", "key": {"type": "STRING", "data": "k"}},
    ]
    answer = batch(gateway, json.dumps({"entries": entries}))
    assert answer.status_code == 207
    told = answer.json()
    assert [each["id"] for each in told["successes"]] == ["good-1", "good-2"]
    assert [(each["id"], each["error_code"]) for each in told["failures"]] == [
        ("bad_1", 400),
        ("bad_2", 40402),
        ("bad_3", 400),
    ]
    success = told["successes"][0]
    assert success["topic_name"] == gateway.acme.topic
    assert "error_code" not in success
    message = gateway.message(gateway.acme.topic, success["partition_id"], success["offset"])
    assert message.value() == b'{"a":1}'


def test_a_batch_of_readings_is_checked_like_any_reading(gateway: GatewayWorld) -> None:
    entries = [
        {"id": "1", **json_value(reading(gateway.acme.device))},
        {"id": "2", **json_value(reading(gateway.birch.device))},
    ]
    told = batch(gateway, json.dumps({"entries": entries}), gateway.settings.topics.readings).json()
    assert [each["id"] for each in told["successes"]] == ["1"]
    assert [(each["id"], each["error_code"]) for each in told["failures"]] == [("2", 40301)]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        ("", 422, 42208),
        ("null", 422, 42208),
        ('{"entries": []}', 422, 42208),
        ('{"entries": null}', 422, 42208),
        ("{}", 422, 42208),
        ('{"entries": [{"value": null}]}', 422, 42208),
        ('{"entries": [{"id": 1}]}', 422, 42208),
        ('{"entries": [{"id": ""}]}', 422, 42208),
        ('{"entries": [{"id": "a b"}]}', 422, 42208),
        (json.dumps({"entries": [{"id": "a" * 81}]}), 422, 42208),
        ('{"entries": [{"id": "a"}, {"id": "a"}]}', 422, 42208),
        (json.dumps({"entries": [{"id": str(number)} for number in range(21)]}), 422, 42208),
        ('{"entries": [{"id": "a", "id": "b"}]}', 422, 42206),
        ('{"entries": [], "entries": []}', 422, 42206),
        ('{"entries": 5}', 400, 400),
        ("[]", 400, 400),
        ("{", 400, 400),
    ],
)
def test_a_batch_whose_entries_are_uncertain_is_refused_as_a_whole(
    gateway: GatewayWorld, content: str, status: int, code: int
) -> None:
    before = gateway.end(gateway.acme.topic)
    answer = batch(gateway, content)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    assert gateway.end(gateway.acme.topic) == before
