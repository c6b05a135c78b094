"""The tables of a cluster as text, and what the settings of its sessions are."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from sinks.clickhouse.cluster import session_settings
from sinks.clickhouse.ddl import statements
from sinks.clickhouse.relation import Table, View
from sinks.clickhouse.sharded import LOCAL, SHARDING
from sinks.clickhouse.tables import relations, tables, views
from weir.settings import ClickHouseSettings, KafkaSettings, RetentionSettings, Settings

PLAIN = Settings()
SETTINGS = Settings(
    clickhouse=ClickHouseSettings(cluster="lab", database="telemetry", dedup_window_blocks=77, storage_policy="tiered"),
    kafka=KafkaSettings(partitions=24),
    retention=RetentionSettings(topic_days=3),
)
MADE = {relation.name: relation for relation in relations(SETTINGS)}


def made(name: str) -> Table:
    relation = MADE[name]
    assert isinstance(relation, Table)
    return relation


def test_without_a_cluster_nothing_is_said_of_one() -> None:
    assert session_settings(PLAIN.clickhouse) == {}
    plain: list[Table | View] = [*tables(PLAIN), *views(PLAIN)]
    assert relations(PLAIN) == plain
    for statement in statements(PLAIN):
        assert not re.search(r"CLUSTER|Replicated|Distributed|_local|(?<!non_)replicated_dedup", statement.sql)


def test_whoever_writes_or_reads_finds_a_distributed_table_under_the_name_of_one_server() -> None:
    for table in tables(PLAIN):
        both, local = made(table.name), made(table.name + LOCAL)
        assert both.engine.startswith(f"Distributed('lab', 'telemetry', '{local.name}', ")
        assert [(c.name, c.type, c.default) for c in both.columns] == [
            (c.name, c.type, c.default) for c in local.columns
        ]
        assert local.columns == next(each for each in tables(SETTINGS) if each.name == table.name).columns


def test_the_local_table_comes_first_then_the_distributed_one_and_views_last() -> None:
    names = list(MADE)
    for table in tables(PLAIN):
        assert names.index(table.name + LOCAL) + 1 == names.index(table.name)
    assert names[-len(views(PLAIN)) :] == [view.name for view in views(PLAIN)]


@pytest.mark.parametrize("table", tables(PLAIN), ids=lambda table: table.name)
def test_the_shard_is_chosen_by_the_identity_of_a_row_alone(table: Table) -> None:
    named = {name for name in re.findall(r"[a-z_]+", SHARDING[table.name]) if name in {c.name for c in table.columns}}
    assert named, "rand() would part what belongs together"
    assert named <= set(table.order_by.split(", ")), "rows that replace each other would lie in two shards"


def test_every_table_has_a_sharding_key_and_no_other() -> None:
    assert set(SHARDING) == {table.name for table in tables(PLAIN)}


def test_the_partitions_of_the_readings_choose_the_shard_of_a_device() -> None:
    assert made("agg_1h").engine.endswith(", kafkaMurmurHash(device_id) % 24)")


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("raw_readings", "ReplicatedReplacingMergeTree({path}, offset)"),
        ("agg_1m", "ReplicatedReplacingMergeTree({path}, revision)"),
        ("events", "ReplicatedReplacingMergeTree({path})"),
        ("usage", "ReplicatedSummingMergeTree({path}, (accepted, sampled_out, rejected, conflicts))"),
    ],
)
def test_a_local_table_is_replicated_under_a_path_of_its_shard(name: str, engine: str) -> None:
    path = f"'/clickhouse/tables/{{shard}}/telemetry/{name}_local', '{{replica}}'"
    assert made(name + LOCAL).engine == engine.format(path=path)


def test_a_shard_remembers_tokens_for_as_long_as_kafka_keeps_their_blocks() -> None:
    for table in tables(PLAIN):
        local = made(table.name + LOCAL)
        assert local.settings["replicated_deduplication_window"] == "77"
        assert local.settings["replicated_deduplication_window_seconds"] == str(3 * 86_400)
        assert "non_replicated_deduplication_window" not in local.settings
        assert made(table.name).settings == {}


def test_rows_expire_and_cool_in_the_shards() -> None:
    local, both = made("raw_readings_local"), made("raw_readings")
    assert local.ttl == next(each for each in tables(SETTINGS) if each.name == "raw_readings").ttl
    assert local.settings["storage_policy"] == "'tiered'"
    assert both.ttl == ""


def test_every_statement_goes_to_every_server() -> None:
    assert all(statement.sql.count(" ON CLUSTER `lab`") == 1 for statement in statements(SETTINGS))


def test_an_insert_is_acknowledged_by_shards_and_not_by_an_outbox() -> None:
    said = session_settings(SETTINGS.clickhouse)
    assert said["distributed_foreground_insert"] == 1
    assert said["insert_quorum"] == "auto"
    assert said["insert_quorum_timeout"] < SETTINGS.clickhouse.timeout_seconds * 1_000, "we would have hung up"


def test_a_correction_never_reads_less_than_was_stored() -> None:
    said = session_settings(SETTINGS.clickhouse)
    assert said["select_sequential_consistency"] == 1
    assert said["insert_quorum_parallel"] == 0, "with 1 the server ignores sequential consistency"
    assert said["skip_unavailable_shards"] == 0, "half of the rows would look like all of them"


@pytest.mark.parametrize("name", ["", "a`b", "a'b", "a b", "-a"])
def test_a_name_that_could_end_its_quotes_is_no_cluster(name: str) -> None:
    with pytest.raises(ValidationError):
        ClickHouseSettings(cluster=name)
