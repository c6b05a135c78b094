"""Dead letters from refusal to storage: the worker refuses, ClickHouse shows them, ``weir dlq`` puts them back."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import polars as pl
from click.testing import CliRunner, Result
from confluent_kafka import Message, Producer

from connectors.kafka.client import kafka_client_config
from connectors.postgres.devices import register
from streams.engine.dead_letters import DeadLetter, to_record
from streams.engine.producer import AcknowledgedProducer, Record, producer_config
from tests.free_ports import free_port
from tests.sender import Sender
from tests.stored import dead_letters, read_topic
from tests.weir_command import weir
from tests.world import World
from weir.cli.dlq import command


def dlq(world: World, *arguments: str) -> Result:
    """Run ``weir dlq …`` in this process; it must do what it was asked."""
    ended = CliRunner().invoke(command, arguments, env=world.environment, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended


def listed(world: World, *arguments: str) -> list[dict[str, Any]]:
    """What ``weir dlq list --json`` says."""
    return [json.loads(line) for line in dlq(world, "list", "--json", *arguments).stdout.splitlines()]


def replayed(world: World, *arguments: str) -> dict[str, Any]:
    """What ``weir dlq replay --json`` says it did."""
    answer: dict[str, Any] = json.loads(dlq(world, "replay", "--yes", "--json", *arguments).stdout)
    return answer


def everything(world: World) -> list[list[tuple[int | None, int | None]]]:
    """Where every message of the topics is that a replay could write to."""
    topics = world.settings.topics
    return [
        [(each.partition(), each.offset()) for each in read_topic(world.settings, topic)]
        for topic in (topics.readings, topics.aggregates_1m, topics.deadletters, topics.replayed)
    ]


# -- with a worker -----------------------------------------------------------------------------------------------------

ROWS = """
    SELECT reason, key, partition, offset, replay_count, length(value) FROM dead_letters FINAL
    ORDER BY append_ts, partition, offset
"""


def test_a_refused_reading_goes_back_once_its_device_is_registered_and_is_stored_once(world: World) -> None:
    world.start_worker()
    with Sender(world.settings) as sender:
        now = time.time_ns() // 1_000_000
        for number in range(3):
            sender.reading("forgotten", "t", now + number, float(number))
        sender.reading("unknown", "t", now, 1.0)
        sender.flush()
        sent = {each.key: each for each in sender.sent}
    world.wait(lambda: len(world.query(ROWS)) == 4, "the table has every letter")
    rows = world.query(ROWS)
    assert {row[0] for row in rows} == {"unknown_device"}
    origins = {(each.partition, each.offset) for each in sender.sent}
    assert {(row[2], row[3]) for row in rows} == origins == {each.origin for each in dead_letters(world.settings)}
    assert {len(each.value or b"") for each in sender.sent} == {row[5] for row in rows}

    register(world.dsn, "acme", None, pl.DataFrame({"device_id": ["forgotten"], "sensor": ["t"]}))
    before = everything(world)
    would = dlq(world, "replay", "--reason", "unknown_device", "--dry-run")
    assert would.stdout == "4 letters would be put back.\n"
    assert everything(world) == before, "a dry run writes nothing"

    assert replayed(world, "--device", "forgotten")["put_back"] == 3
    assert replayed(world, "--device", "forgotten", "--again")["put_back"] == 3
    stored = "SELECT count() FROM readings WHERE device_id = 'forgotten'"
    world.wait(lambda: world.value(stored) == 3, "all of the device's readings are stored")
    back = [each for each in read_topic(world.settings, world.settings.topics.readings) if each.headers()]
    assert len(back) == 6
    assert {each.partition() for each in back} == {sent[b"forgotten"].partition}

    assert replayed(world)["put_back"] == 1
    world.wait(lambda: len(world.query(ROWS)) == 5, "the unknown device is refused again")
    assert world.query(ROWS)[-1][4] == 1
    assert replayed(world, "--max-replays", "1") == {
        "dry_run": False,
        "put_back": 0,
        "interrupted": False,
        "left": {"put_back_before": 4, "too_often": 1},
    }
    assert [each["replay_count"] for each in listed(world, "--open")] == [1]
    first, again = listed(world, "--device", "unknown")
    assert (first["put_back"], again["put_back"]) == (True, False)
    assert first["first_seen"] == again["first_seen"]
    assert world.value(stored) == 3
    assert world.value("SELECT count() - uniqExact(device_id, ts) FROM readings") == 0


# -- without one: letters as the worker writes them, and as others do --------------------------------------------------


def append(world: World, topic: str, value: bytes, key: bytes = b"d") -> Message:
    """Write a message and return it as the broker has it."""
    found: list[Message] = []
    config = kafka_client_config(world.settings.kafka) | {"compression.type": "lz4", "message.max.bytes": 8_000_000}
    producer = Producer(config)
    producer.produce(topic, value, key, partition=0, on_delivery=lambda _, message: found.append(message))
    assert producer.flush(20.0) == 0
    assert found[0].error() is None
    return found[0]


def refuse(world: World, *messages: Message, reason: str = "undecodable") -> None:
    """Write their letters, as a stage does."""
    topic = world.settings.topics.deadletters
    write(world, [to_record(DeadLetter(each, reason, "why", "readings", "acme"), topic) for each in messages])


def write(world: World, records: Sequence[Record]) -> None:
    AcknowledgedProducer(producer_config(kafka_client_config(world.settings.kafka))).write(records)


def test_a_value_that_was_cut_goes_back_whole_and_stays_when_its_topic_has_it_no_more(world: World) -> None:
    giant = b"\0\0\0\0\1" + bytes(range(256)) * 12_000
    kept = append(world, world.settings.topics.readings, giant)
    other = append(world, world.settings.topics.readings, b"another record")
    refuse(world, kept)
    gone = Message(topic=other.topic(), partition=0, offset=other.offset(), key=b"d", value=giant, timestamp=(2, 1))
    beyond = Message(topic=other.topic(), partition=0, offset=99, key=b"d", value=giant, timestamp=(2, 1))
    refuse(world, gone, beyond)
    assert [each["value_bytes"] for each in listed(world)] == [1_048_576] * 3
    assert (
        dlq(world, "replay", "--dry-run").stdout
        == "3 letters would be put back (3 cut, to be fetched whole from their topic).\n"
    )
    done = replayed(world)
    assert (done["put_back"], done["left"]) == (1, {"gone": 2})
    (back,) = [each for each in read_topic(world.settings, world.settings.topics.readings) if each.headers()]
    assert back.value() == giant
    assert dict(back.headers() or [])["replay_count"] == b"1"


def test_letters_of_others_are_listed_and_shown_and_stay_where_they_are(world: World) -> None:
    topic = world.settings.topics.deadletters
    odd = [("topic", b"payments"), ("partition", b"0"), ("offset", b"1"), ("reason", b"\xff\x1b[31m")]
    write(world, [Record(topic, None, None), Record(topic, b"k", b"\xfe\x00"), Record(topic, b"k", b"{}", headers=odd)])
    unknown = append(world, world.settings.topics.readings, b"\0\x7f\xff\xff\xffwhat", b"dev-1")
    refuse(world, unknown, reason="unknown_schema_id")
    assert [each["reason"] for each in listed(world)] == ["", "", "\ufffd\x1b[31m", "unknown_schema_id"]
    table = dlq(world, "list").stdout
    assert "\x1b" not in table, "what a sender wrote must not steer a terminal"
    assert "unknown_schema_id" in table
    assert [each["place"] for each in listed(world, "--limit", "2")] == ["0:2", "0:3"]
    assert [each["place"] for each in listed(world, "--device", "dev-1", "--org", "acme", "--since", "1h")] == ["0:3"]
    assert listed(world, "--until", "1h") == []
    assert replayed(world)["left"] == {"no_origin": 3}

    pages = dlq(world, "show", "0:0", "0:1", "0:2", "0:3").stdout
    assert "none (null: the record was a tombstone)" in pages
    assert "000000  fe 00" in pages
    assert "no schema with id 2147483647" in pages
    newest = json.loads(dlq(world, "show", "--json").stdout)
    assert (newest["place"], newest["key_base64"], newest["put_back"]) == ("0:3", "ZGV2LTE=", True)
    summary = [json.loads(line) for line in dlq(world, "list", "--summary", "--json").stdout.splitlines()]
    assert {(each["reason"], each["org"]): (each["letters"], each["put_back"]) for each in summary} == {
        ("", ""): (2, 0),
        ("unknown_schema_id", "acme"): (1, 1),
        ("\ufffd\x1b[31m", ""): (1, 0),
    }


def test_a_limited_replay_goes_on_where_the_last_one_ended(world: World) -> None:
    topic = world.settings.topics.readings
    refuse(world, *(append(world, topic, b"%d" % number) for number in range(5)))
    assert [replayed(world, "--limit", "2", "--rate", "1")["put_back"] for _ in range(4)] == [2, 2, 1, 0]
    back = [each.value() for each in read_topic(world.settings, topic) if each.headers()]
    assert back == [b"0", b"1", b"2", b"3", b"4"]


def test_without_its_topics_it_says_what_to_run(world: World) -> None:
    ended = weir(world.environment | {"WEIR_NAMESPACE": "nobody-migrated-this"}, "dlq", "list")
    assert (ended.code, ended.out) == (2, "")
    assert ended.sentence() == "weir: Topic nobody-migrated-this.deadletters does not exist; run `weir migrate`."


def test_without_kafka_it_says_where_it_looked(world: World) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    ended = weir(world.environment | {"WEIR_KAFKA__BOOTSTRAP_SERVERS": nowhere}, "dlq", "replay", "--yes")
    assert (ended.code, ended.out) == (1, "")
    assert ended.sentence().startswith(f"weir: Kafka at {nowhere} cannot be asked")


def test_a_replay_that_nobody_can_confirm_and_a_letter_that_is_not_there_are_refused(world: World) -> None:
    nothing = dlq(world, "replay")
    assert nothing.stdout == "0 letters put back.\n"
    missing = weir(world.environment, "dlq", "show", "0:4")
    assert (missing.code, missing.sentence()) == (2, "weir: There is no dead letter at 0:4; there are none.")
    refuse(world, append(world, world.settings.topics.readings, b"x"))
    asked = weir(world.environment, "dlq", "replay")
    assert asked.code == 2
    assert asked.sentence() == "weir: 1 letter would be put back: say --yes, there is nobody to ask."
    missing = weir(world.environment, "dlq", "show", "0:4")
    assert missing.sentence() == "weir: There is no dead letter at 0:4; there are 0:0 to 0:0."
