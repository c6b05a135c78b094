"""Cases of v2: an organisation's own topics, and what can be looked at."""

from __future__ import annotations

from typing import Any, Final

from tests.contract.gateway_cases.answers import none_taken, produced, records, refusal, refused, taken
from tests.contract.gateway_cases.case import NUMBER, V2, V2_AVRO, V2_BINARY, Group, Some, Stored
from tests.contract.gateway_cases.v2_posts import NOTE_SCHEMA, NOTES, SCHEMA_ID, WAITS, base64_of, looked_at, noted

OWN_TOPICS: Final = Group(
    "v2: an organisation's own topics",
    (
        noted(
            "JSON of every kind, as compact JSON",
            body=records({"b": 1, "a": [None, True]}, [], "text", 1.50, 12345678901234567890),
            answer=produced(taken(), taken(), taken(), taken(), taken()),
            stored=(
                Stored(b'{"b":1,"a":[null,true]}'),
                Stored(b"[]"),
                Stored(b'"text"'),
                Stored(b"1.5"),
                Stored(b"12345678901234567890"),
            ),
        ),
        noted(
            "a key and no value: a tombstone",
            body={"records": [{"key": {"id": 7}, "value": None}, {"key": "k"}]},
            answer=produced(taken(), taken()),
            stored=(Stored(None, b'{"id":7}'), Stored(None, b'"k"')),
        ),
        noted(
            "umlauts and smileys",
            body=records("schön 😀"),
            answer=produced(taken()),
            stored=(Stored('"schön 😀"'.encode()),),
        ),
        noted(
            "a partition named in the record",
            body={"records": [{"value": 1, "partition": 1}]},
            answer=produced(taken(partition=1)),
            stored=(Stored(b"1"),),
        ),
        noted(
            "a partition named in the path",
            path=NOTES + "/partitions/1",
            body=records(1),
            answer=produced(taken(partition=1)),
            stored=(Stored(b"1"),),
        ),
        noted(
            "a partition in the path that is not there",
            path=NOTES + "/partitions/99",
            body=records(1),
            status=404,
            answer=refusal(40402, "Partition not found."),
            confluent=WAITS,
        ),
        noted(
            "a partition in a record that is not there",
            body={"records": [{"value": 1}, {"value": 2, "partition": 99}]},
            answer=produced(taken(), refused(40402, "Partition not found.")),
            stored=(Stored(b"1"),),
            confluent=WAITS,
        ),
        noted(
            "base64 of a key and a value",
            V2_BINARY,
            body={"records": [{"key": base64_of(b"k\0"), "value": base64_of(b"\0\xff")}, {"value": ""}]},
            answer=produced(taken(), taken()),
            stored=(Stored(b"\0\xff", b"k\0"), Stored(b"")),
        ),
        noted(
            "what is not base64, beside what is",
            V2_BINARY,
            body=records("no base64!", base64_of(b"yes")),
            answer=produced(refused(42203, "base64"), taken()),
            stored=(Stored(b"yes"),),
            confluent="differs: 400 for the whole request",
        ),
        noted(
            "Avro by the text of its schema, which is registered",
            V2_AVRO,
            body=records({"text": "hello", "stars": {"long": 5}}, value_schema=NOTE_SCHEMA),
            answer=produced(taken(), value_schema_id=SCHEMA_ID),
        ),
        noted(
            "Avro with a key",
            V2_AVRO,
            body={
                "records": [{"key": "k", "value": {"text": "hello", "stars": None}}],
                "key_schema": '"string"',
                "value_schema": NOTE_SCHEMA,
            },
            answer=produced(taken(), key_schema_id=SCHEMA_ID, value_schema_id=SCHEMA_ID),
        ),
        noted(
            "Avro with a key and no schema for it",
            V2_AVRO,
            body={"records": [{"key": "k", "value": {"text": "a"}}], "value_schema": NOTE_SCHEMA},
            status=422,
            answer=none_taken(refused(42201)),
        ),
        noted(
            "Avro without a schema", V2_AVRO, body=records({"text": "a"}), status=422, answer=none_taken(refused(42202))
        ),
        noted(
            "Avro with a schema that is none",
            V2_AVRO,
            body=records({"text": "a"}, value_schema='{"type": "nonsense"}'),
            status=422,
            answer=refusal(42205),
        ),
        noted(
            "Avro that does not fit, beside what does",
            V2_AVRO,
            body=records({"text": 5}, {"text": "a", "stars": None}, value_schema=NOTE_SCHEMA),
            answer=produced(refused(42203, "text"), taken(), value_schema_id=SCHEMA_ID),
            confluent="differs: 400 for the whole request",
        ),
        noted(
            "JSON Schema",
            "application/vnd.kafka.jsonschema.v2+json",
            body=records({"text": "a"}),
            status=415,
            answer=refusal(415),
            confluent="differs: it takes JSON Schema and Protobuf",
        ),
        noted(
            "by an organisation's key of role device",
            key="organisation",
            body=records(1),
            answer=produced(taken()),
            stored=(Stored(b"1"),),
        ),
    ),
)

REPLICA: Final = {"broker": NUMBER, "leader": True, "in_sync": True}


def partition(number: int) -> dict[str, Any]:
    return {"partition": number, "leader": NUMBER, "replicas": [REPLICA]}


LOOKING: Final = Group(
    "v2: what is there",
    (
        looked_at(
            "the topics of the caller",
            "/topics",
            answer=Some('["weir.readings", "acme.notes"]', lambda found: isinstance(found, list) and len(found) == 2),
            answer_headers={"content-type": V2},
            confluent="differs: all topics",
        ),
        looked_at(
            "one topic",
            NOTES,
            answer={
                "name": "{acme}.notes",
                "configs": Some('{"cleanup.policy": "delete", …}', lambda found: found["cleanup.policy"] == "delete"),
                "partitions": [partition(0), partition(1)],
            },
        ),
        looked_at(
            "a topic of another organisation",
            "/topics/{birch}.notes",
            status=404,
            answer=refusal(40401, "Topic not found."),
        ),
        looked_at("its partitions", NOTES + "/partitions", answer=[partition(0), partition(1)]),
        looked_at("one partition", NOTES + "/partitions/1", answer=partition(1)),
        looked_at(
            "a partition that is not there",
            NOTES + "/partitions/2",
            status=404,
            answer=refusal(40402, "Partition not found."),
        ),
        looked_at(
            "where a partition begins and ends",
            NOTES + "/partitions/0/offsets",
            answer={"beginning_offset": 0, "end_offset": NUMBER},
        ),
        looked_at("the brokers", "/brokers", answer={"brokers": [NUMBER]}),
        looked_at("a viewer may look", NOTES + "/partitions/1", key="viewer", answer=partition(1)),
        looked_at("the root", "/", answer=Some("{}", lambda found: found == {})),
    ),
)
