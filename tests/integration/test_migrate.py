from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from psycopg.conninfo import conninfo_to_dict

from connectors.contracts import contracts
from connectors.kafka.client import kafka_client_config
from connectors.kafka.cluster import Cluster
from connectors.kafka.topics import apply_topics, check_topics
from connectors.postgres import migrate as postgres
from connectors.postgres.metadata import metadata_version
from connectors.registry import Registry
from sinks.clickhouse.client import connect
from tests.free_ports import free_port
from tests.one_server import nowhere
from tests.stack_under_test import StackUnderTest, environment_of, plain_environment
from tests.waiting import patient
from tests.weir_command import weir
from tests.world import World, _drop
from weir.change import Change
from weir.cli.migrate import migrate
from weir.errors import ConfigError
from weir.settings import Settings

TABLES = ["agg_1h", "agg_1m", "alerts", "dead_letters", "events", "metric_definitions", "raw_readings", "usage"]
VIEWS = ["aggregates_1h", "aggregates_1m", "event_log", "metrics", "readings"]


@pytest.fixture
def empty(stack: StackUnderTest) -> Iterator[Settings]:
    """Settings whose databases, topics and subjects do not exist yet."""
    settings = nowhere(stack)
    yield settings
    _drop(settings)


def dsn_of(settings: Settings) -> str:
    return settings.postgres.dsn.get_secret_value()


def topics_of(settings: Settings) -> list[str]:
    admin = AdminClient(kafka_client_config(settings.kafka))
    return sorted(name for name in admin.list_topics(timeout=patient(10)).topics if name.startswith(settings.namespace))


def relations_of(settings: Settings) -> list[str]:
    client = connect(settings.clickhouse, database=False)
    try:
        query = "SELECT name FROM system.tables WHERE database = {db:String} ORDER BY name"
        return [row[0] for row in client.query(query, {"db": settings.clickhouse.database}).result_rows]
    finally:
        client.close()


def databases_of(settings: Settings) -> list[str]:
    name = str(conninfo_to_dict(dsn_of(settings))["dbname"])
    admin = dsn_of(settings).replace(f"dbname={name}", "dbname=postgres").replace(f"/{name}", "/postgres")
    with psycopg.connect(admin) as conn:
        return [row[0] for row in conn.execute("SELECT datname FROM pg_database WHERE datname = %s", [name])]


def versions_of(settings: Settings) -> list[int]:
    with Registry(settings.registry) as registry:
        latest = [registry.latest(subject) for subject in contracts(settings)]
    return [found.version for found in latest if found]


def actions(changes: list[Change]) -> dict[str, str]:
    return {f"{change.part} {change.name}": change.action for change in changes}


def test_a_dry_run_on_empty_servers_names_everything_and_makes_nothing(empty: Settings) -> None:
    ended = weir(plain_environment() | environment_of(empty), "migrate", "--dry-run", "--sample", "--json")
    assert ended.code == 0, ended.err
    planned = ended.json()
    assert planned["dry_run"] is True
    made = [change for change in planned["changes"] if not change["name"].startswith("group ")]
    assert {change["action"] for change in made} == {"create"}
    # two databases, the migrations and the sample; tables and views; topics; subjects
    migrations = len(postgres.read_migrations())
    assert len(made) == 3 + migrations + len(TABLES) + len(VIEWS) + len(vars(empty.topics)) + 7
    assert (databases_of(empty), relations_of(empty), topics_of(empty), versions_of(empty)) == ([], [], [], [])


def test_the_first_run_makes_everything_and_the_second_changes_nothing(empty: Settings) -> None:
    environment = plain_environment() | environment_of(empty)
    first = weir(environment, "migrate", "--sample")
    assert first.code == 0, first.err
    assert "created" in first.out
    assert relations_of(empty) == sorted(TABLES + VIEWS)
    assert topics_of(empty) == sorted(vars(empty.topics).values())
    assert versions_of(empty) == [1] * 7
    version = metadata_version(dsn_of(empty))
    second = weir(environment, "migrate", "--sample", "--json")
    assert {change["action"] for change in second.json()["changes"]} == {"unchanged"}
    assert versions_of(empty) == [1] * 7
    assert metadata_version(dsn_of(empty)) == version
    assert "Nothing to change." in weir(environment, "migrate", "--dry-run").out


def test_two_migrations_at_once_both_end_well(empty: Settings) -> None:
    faults: list[BaseException] = []

    def run() -> None:
        try:
            migrate(empty)
        except BaseException as error:  # noqa: BLE001
            faults.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert {change.action for change in migrate(empty)} == {"unchanged"}


@pytest.mark.parametrize(
    ("variable", "value", "server"),
    [
        ("WEIR_POSTGRES__DSN", "postgresql://weir:hush@127.0.0.1:{port}/weir", "Postgres"),
        ("WEIR_CLICKHOUSE__URL", "http://127.0.0.1:{port}", "ClickHouse"),
        ("WEIR_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:{port}", "Kafka"),
        ("WEIR_REGISTRY__URL", "http://127.0.0.1:{port}/apis/ccompat/v7", "registry"),
    ],
)
def test_each_server_that_is_away_is_named_in_one_sentence(
    world: World, variable: str, value: str, server: str
) -> None:
    port = free_port()
    away = world.environment | {variable: value.format(port=port)}
    ended = weir(away, "migrate", "--patience", "0.2")
    assert ended.code == 1
    assert server in ended.sentence()
    assert f"127.0.0.1:{port}" in ended.sentence()
    assert "hush" not in ended.err


def test_topics_take_their_times_from_the_broker_and_agree_in_partitions(world: World) -> None:
    settings = world.settings
    cluster = Cluster(settings.kafka)
    names = topics_of(settings)
    assert {config["message.timestamp.type"] for config in cluster.configs(names).values()} == {"LogAppendTime"}
    assert cluster.configs([settings.topics.aggregates_1m])[settings.topics.aggregates_1m]["cleanup.policy"] in (
        "compact,delete",
        "delete,compact",
    )
    assert check_topics(settings) == settings.kafka.partitions


def test_a_topic_setting_that_somebody_changed_is_put_back(world: World) -> None:
    name = world.settings.topics.readings
    cluster = Cluster(world.settings.kafka)
    cluster.alter(name, {"retention.ms": "60000", "message.timestamp.type": "CreateTime", "segment.ms": "77777000"})
    with pytest.raises(ConfigError, match="LogAppendTime"):
        check_topics(world.settings)
    assert actions(apply_topics(world.settings, dry_run=True))[f"kafka {name}"] == "alter"
    assert cluster.configs([name])[name]["retention.ms"] == "60000"
    assert actions(apply_topics(world.settings))[f"kafka {name}"] == "alter"
    config = cluster.configs([name])[name]
    assert config["retention.ms"] == str(world.settings.retention.topic_days * 86_400_000)
    assert config["message.timestamp.type"] == "LogAppendTime"
    assert config["segment.ms"] == "77777000"


def test_new_data_topics_get_as_many_partitions_as_the_old_ones_have(empty: Settings) -> None:
    Cluster(empty.kafka).create(empty.topics.readings, 7, {"message.timestamp.type": "LogAppendTime"})
    changes = {change.name: change for change in apply_topics(empty)}
    assert changes[empty.topics.readings].action == "differs"
    assert "7 partitions" in changes[empty.topics.readings].detail
    assert check_topics(empty) == 7


def test_data_topics_with_different_partition_counts_are_refused(empty: Settings) -> None:
    cluster = Cluster(empty.kafka)
    cluster.create(empty.topics.readings, 2, {})
    cluster.create(empty.topics.aggregates_1m, 3, {})
    with pytest.raises(ConfigError, match=r"readings has 2, .*aggregates\.1m has 3"):
        apply_topics(empty)


def test_a_worker_is_told_of_a_missing_topic(empty: Settings) -> None:
    with pytest.raises(ConfigError, match="weir migrate"):
        check_topics(empty)


def test_an_older_table_is_brought_up_to_date_and_keeps_its_rows(world: World) -> None:
    settings, database = world.settings, world.settings.clickhouse.database
    client = connect(settings.clickhouse)
    client.command(
        f"INSERT INTO {database}.agg_1m (org_id, device_id, window_start, count) VALUES ('o', 'd', now(), 7)"
    )
    for alteration in (
        "DROP COLUMN fw_ver",
        "COMMENT COLUMN count 'something else'",
        "MODIFY COLUMN sum Float64 CODEC(NONE)",
        "MODIFY COLUMN retention_days UInt16 DEFAULT 5",
        "MODIFY TTL toDateTime(window_start) + toIntervalDay(3)",
        "MODIFY SETTING non_replicated_deduplication_window = 3",
        "MODIFY COMMENT 'old'",
    ):
        client.command(f"ALTER TABLE {database}.agg_1m {alteration}")
    client.command(f"CREATE OR REPLACE VIEW {database}.readings AS SELECT 1 AS one")
    definition = client.command(f"SHOW CREATE TABLE {database}.agg_1m")
    planned = migrate(settings, dry_run=True)
    assert client.command(f"SHOW CREATE TABLE {database}.agg_1m") == definition
    done = migrate(settings)
    assert done == planned
    changes = {change.name: change for change in done}
    assert changes["agg_1m"].action == "alter"
    assert changes["agg_1m"].detail == (
        "column fw_ver, column count, column sum, column retention_days, TTL, "
        "setting non_replicated_deduplication_window, comment"
    )
    assert changes["readings"].action == "alter"
    assert {change.action for change in migrate(settings)} == {"unchanged"}
    assert client.query("SELECT device_id, count, fw_ver FROM agg_1m").result_rows == [("d", 7, "")]
    assert client.query("SELECT count() FROM readings").result_rows == [(0,)]
    client.close()


def test_a_table_with_another_key_is_reported_and_left_alone(world: World) -> None:
    client = connect(world.settings.clickhouse)
    client.command("DROP TABLE alerts")
    client.command(
        "CREATE TABLE alerts (id String, ts DateTime) ENGINE = MergeTree PARTITION BY toYYYYMM(ts) ORDER BY id"
    )
    change = next(change for change in migrate(world.settings) if change.name == "alerts")
    assert change.action == "differs"
    assert "its order is id" in change.detail
    assert "its column ts is DateTime" in change.detail
    assert client.query("SELECT sorting_key FROM system.tables WHERE name = 'alerts' AND database = currentDatabase()")
    client.close()


def test_a_storage_policy_that_the_server_lacks_is_refused_before_anything_is_made(empty: Settings) -> None:
    tiered = empty.model_copy(
        update={"clickhouse": empty.clickhouse.model_copy(update={"storage_policy": "no_such_policy"})}
    )
    with pytest.raises(ConfigError, match="no_such_policy"):
        migrate(tiered)
    assert relations_of(empty) == []


def test_a_contract_that_could_not_read_old_records_is_refused_by_the_registry(world: World) -> None:
    subject = f"{world.settings.topics.readings}-value"
    with Registry(world.settings.registry) as registry:
        assert registry.compatibility(subject) == "BACKWARD"
        with pytest.raises(ConfigError, match="refused"):
            registry.register(
                subject,
                '{"type": "record", "name": "Reading", "namespace": "io.weir", "fields": ['
                '{"name": "brand_new", "type": "string"}]}',
            )


def test_a_migration_that_was_changed_after_it_ran_is_refused(empty: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(postgres.FOLDER, folder)
    postgres.apply(dsn_of(empty), folder=folder)
    file = next(folder.glob("001_*[!n].sql"))
    file.write_text(file.read_text() + "\n-- an afterthought\n")
    with pytest.raises(ConfigError, match="applied with other content"):
        postgres.apply(dsn_of(empty), folder=folder)


def test_a_migration_that_fails_leaves_nothing_behind(empty: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "001_good.sql").write_text("CREATE TABLE good (a int)")
    (folder / "002_bad.sql").write_text("CREATE TABLE half (a int); SELECT no_such_function()")
    with pytest.raises(ConfigError, match="no_such_function"):
        postgres.apply(dsn_of(empty), folder=folder)
    (folder / "002_bad.sql").write_text("CREATE TABLE half (a int)")
    assert [change.action for change in postgres.apply(dsn_of(empty), folder=folder)] == ["unchanged", "create"]


def test_a_database_of_a_newer_weir_is_left_alone(empty: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "001_first.sql").write_text("SELECT 1")
    (folder / "002_second.sql").write_text("SELECT 2")
    postgres.apply(dsn_of(empty), folder=folder)
    (folder / "002_second.sql").unlink()
    with pytest.raises(ConfigError, match="002_second, which this Weir does not know"):
        postgres.apply(dsn_of(empty), folder=folder)


def test_postgres_migrations_come_back_and_go_up_again(world: World) -> None:
    planned = weir(world.environment, "migrate", "--down-to", "0", "--dry-run")
    assert "would remove" in planned.out
    assert metadata_version(world.dsn) >= 1
    down = weir(world.environment, "migrate", "--down-to", "0", "--json")
    assert [change["action"] for change in down.json()["changes"]] == ["remove"] * len(postgres.read_migrations())
    with pytest.raises(ConfigError, match="weir migrate"):
        metadata_version(world.dsn)
    with psycopg.connect(world.dsn) as conn:
        left = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert left == [("weir_migrations",)]
    assert weir(world.environment, "migrate").code == 0
    assert metadata_version(world.dsn) >= 1
