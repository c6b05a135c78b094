"""Cases of v3: records one by one and as a stream."""

from __future__ import annotations

from typing import Any, Final

from tests.contract.gateway_cases.answers import READING, reading, refusal, reported
from tests.contract.gateway_cases.case import NUMBER, Group, Stored
from tests.contract.gateway_cases.v2_posts import NOTE_SCHEMA, OF_READINGS, SCHEMA_ID, base64_of
from tests.contract.gateway_cases.v3_posts import (
    CLUSTER,
    JSON_DATA,
    TO_READINGS,
    lines,
    record,
    sent,
)

AVRO_DATA: Final = {
    "type": "AVRO",
    "subject": "{acme}.notes-value",
    "schema_id": SCHEMA_ID,
    "schema_version": NUMBER,
    "size": NUMBER,
}


WHOLE: Final[dict[str, Any]] = {"body": record(1), "lines": False}
"""For requests that are refused before a record is read: the answer is no list then."""
NO_PARTITION: Final = refusal(40402, "Partition not found.")
A_NOTE: Final = {"value": {"type": "AVRO", "schema": NOTE_SCHEMA, "data": {"text": "a", "stars": None}}}


def of_reading(**more: Any) -> Any:
    """The report of a reading."""
    return reported("{readings}", value=JSON_DATA, **more)


READINGS: Final = Group(
    "v3: readings",
    (
        sent("one reading", TO_READINGS, body=record(READING), answer=[of_reading()], stored=(OF_READINGS,)),
        sent(
            "a reading by the key of its device",
            TO_READINGS,
            key="device",
            body=record(READING),
            answer=[of_reading()],
            stored=(OF_READINGS,),
        ),
        sent(
            "a stream of readings: one report each, in order, good or bad",
            TO_READINGS,
            body=lines(
                record(READING), record(reading(device_id="{birch}-1")), record(reading(ts="soon")), record(READING)
            ),
            answer=[of_reading(), refusal(40301, "{birch}-1"), refusal(42203, "ts"), of_reading()],
            stored=(OF_READINGS, OF_READINGS),
        ),
        sent(
            "a reading with headers of Kafka",
            TO_READINGS,
            body=record(READING, headers=[{"name": "trace", "value": base64_of(b"abc")}]),
            answer=[of_reading()],
            stored=(Stored(READING, b"{acme}-1", (("trace", b"abc"),)),),
        ),
    ),
)

RECORDS: Final = Group(
    "v3: records of an organisation's own topics",
    (
        sent(
            "JSON with a key, headers, partition and time",
            body={
                "partition_id": 1,
                "headers": [{"name": "a", "value": base64_of(b"1")}, {"name": "b", "value": None}, {"name": "a"}],
                "key": {"type": "STRING", "data": "k"},
                "value": {"type": "JSON", "data": {"x": 1}},
                "timestamp": "2026-01-02T03:04:05.678Z",
            },
            answer=[
                reported(
                    "{acme}.notes",
                    partition_id=1,
                    timestamp="2026-01-02T03:04:05.678Z",
                    key={"type": "STRING", "size": 1},
                    value={"type": "JSON", "size": 7},
                )
            ],
            stored=(Stored(b'{"x":1}', b"k", (("a", b"1"), ("b", None), ("a", None)), 1767323045678),),
        ),
        sent(
            "binary",
            body=record(base64_of(b"\0\1"), "BINARY"),
            answer=[reported("{acme}.notes", value={"type": "BINARY", "size": 2})],
            stored=(Stored(b"\0\1"),),
        ),
        sent(
            "text",
            body=record("schön", "STRING"),
            answer=[reported("{acme}.notes", value={"type": "STRING", "size": 6})],
            stored=(Stored("schön".encode()),),
        ),
        sent(
            "Avro with the text of its schema",
            body=A_NOTE,
            answer=[reported("{acme}.notes", value=AVRO_DATA)],
        ),
        sent(
            "Avro by the newest schema of the topic",
            first=sent("", body=A_NOTE),
            body={"value": {"data": {"text": "a", "stars": {"long": 3}}}},
            answer=[reported("{acme}.notes", value=AVRO_DATA)],
        ),
        sent(
            "no key and no value",
            body={},
            answer=[reported("{acme}.notes")],
            stored=(Stored(None),),
        ),
        sent(
            "a stream with what is not base64 in it",
            body=lines(record("!", "BINARY"), record(base64_of(b"a"), "BINARY")),
            answer=[refusal(400, "base64"), reported("{acme}.notes", value={"type": "BINARY", "size": 1})],
            stored=(Stored(b"a"),),
        ),
        sent(
            "a header that is not base64",
            body=record(1, headers=[{"name": "a", "value": "!"}]),
            answer=[refusal(400, "header")],
        ),
        sent("a text for JSON's type", body=record(5, "STRING"), answer=[refusal(400)]),
        sent("a type that is none", body=record(1, "YAML"), answer=[refusal(400, "BINARY, JSON, STRING, AVRO")]),
        sent(
            "a type and a schema that do not go together",
            body={"value": {"type": "JSON", "schema_id": 1, "data": 1}},
            answer=[refusal(400)],
        ),
        sent(
            "a schema id and a version",
            body={"value": {"schema_id": 1, "schema_version": 1, "data": 1}},
            answer=[refusal(400)],
        ),
        sent(
            "the id of another organisation's schema",
            body={"value": {"schema_id": "{foreign schema}", "data": 1}},
            answer=[refusal(42207)],
        ),
        sent(
            "the id of no schema: the same words",
            body={"value": {"schema_id": 999_999_999, "data": 1}},
            answer=[refusal(42207)],
        ),
        sent(
            "Avro that does not fit",
            body={"value": {"type": "AVRO", "schema": NOTE_SCHEMA, "data": {"text": 1}}},
            answer=[refusal(400, "text")],
        ),
        sent("a partition below zero", body=record(1, partition_id=-1), answer=[NO_PARTITION]),
        sent(
            "a partition that is not there",
            body=record(1, partition_id=99),
            answer=[NO_PARTITION],
            confluent="differs: it waits a minute for metadata; here at once",
        ),
        sent("a time that is none", body=record(1, timestamp="yesterday"), answer=[refusal(400, "timestamp")]),
        sent(
            "a time that Kafka would not take",
            body=record(1, timestamp="9999-01-02T03:04:05Z"),
            answer=[refusal(42203, "ahead")],
            confluent="differs: 50002, with whatever else was in Kafka's batch",
        ),
        sent(
            "JSON that breaks off: what came before is stored",
            body=lines(record(1)) + b'{"value": {"type": "JSO',
            answer=[reported("{acme}.notes", value=JSON_DATA), refusal(400)],
            stored=(Stored(b"1"),),
        ),
        sent(
            "what is no JSON",
            body=b"hello",
            answer=[refusal(400)],
        ),
        sent("a record that is a list", body=b"[]", answer=[refusal(400)]),
        sent(
            "NaN, and a key given twice",
            body=b'{"value": {"type": "JSON", "data": NaN}} {"value": {"type": "JSON", "data": {"a": 1, "a": 2}}}'
            + lines(record(1)),
            answer=[refusal(42206, "NaN"), refusal(42206, "twice"), reported("{acme}.notes", value=JSON_DATA)],
            stored=(Stored(b"1"),),
            confluent="differs: 400",
        ),
        sent("no body", status=422, lines=False, answer=refusal(42206)),
        sent(
            "a topic that is not there",
            CLUSTER + "/topics/{acme}.absent/records",
            body=record(1),
            status=404,
            lines=False,
            answer=refusal(40401, "Topic not found."),
            confluent="differs: it waits a minute for metadata, then reports 50003 with 200",
        ),
        sent(
            "a topic of another organisation: the same words",
            CLUSTER + "/topics/{birch}.notes/records",
            body=record(1),
            status=404,
            lines=False,
            answer=refusal(40401, "Topic not found."),
            confluent="differs: it writes to any topic",
        ),
        sent(
            "another cluster",
            "/v3/clusters/another/topics/{acme}.notes/records",
            body=record(1),
            status=404,
            lines=False,
            answer=refusal(404),
            confluent="differs: it does not look at the cluster",
        ),
        sent(
            "another content type",
            media_type="text/plain",
            body=record(1),
            status=415,
            lines=False,
            answer=refusal(415),
        ),
        sent(
            "an answer type that is not given",
            headers={"Accept": "text/html"},
            body=record(1),
            status=406,
            lines=False,
            answer=refusal(406),
        ),
        sent(
            "a viewer may not write",
            key="viewer",
            body=record(1),
            status=403,
            lines=False,
            answer=refusal(40301),
        ),
    ),
)
