"""What must be so of the servers before a cluster's tables are made, and of the tables before anything is written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from clickhouse_connect.driver import Client

from sinks.clickhouse import ddl
from sinks.clickhouse.cluster import check_cluster, check_form
from sinks.clickhouse.existing import Existing
from sinks.clickhouse.relation import Table
from sinks.clickhouse.tables import relations
from weir.errors import ConfigError
from weir.server_errors import clickhouse_passes
from weir.settings import ClickHouseSettings, Settings

CLUSTER = ClickHouseSettings(cluster="lab")
TWO_BY_TWO = {(shard, f"r{replica}") for shard in ("1", "2") for replica in (1, 2)}


class FakeServers:
    """A cluster as its system tables would tell of it."""

    def __init__(
        self,
        replicas: tuple[int, ...] = (2, 2),
        internal: int = 1,
        places: set[tuple[str, str]] | None = None,
        policies: int = 4,
        engine: str | None = None,
        everywhere: set[str] | None = None,
    ) -> None:
        """So many replicas of each shard; ``places`` are the macros shard and replica of each server.

        ``everywhere`` are the names of what every server has.
        """
        self._everywhere = everywhere or set()
        self.commands: list[str] = []
        self._shards = [(number, count, internal) for number, count in enumerate(replicas, start=1)]
        self._places = TWO_BY_TWO if places is None else places
        self._policies = policies
        self._engine = engine

    def query(self, sql: str, parameters: dict[str, Any]) -> SimpleNamespace:
        """Answer by what is asked for."""
        assert set(parameters) <= {"cluster", "policy", "database"}
        if "storage_policies" in sql:
            rows: list[Any] = [(self._policies,)]
        elif "system.macros" in sql:
            rows = [
                (f"host{number}", [("shard", shard), ("replica", replica)])
                for number, (shard, replica) in enumerate(sorted(self._places))
            ]
        elif "system.databases" in sql:
            rows = [(name,) for name in self._everywhere]
        elif "system.tables" in sql and "engine_full" in sql or "system.columns" in sql:
            rows = []
        elif "system.clusters" in sql:
            rows = self._shards
        else:
            rows = [(self._engine,)] if self._engine else []
        return SimpleNamespace(result_rows=rows)

    def command(self, sql: str) -> None:
        """Write it down."""
        self.commands.append(sql)


def client(**of: Any) -> Client:
    return cast("Client", FakeServers(**of))


def test_two_shards_of_two_replicas_with_their_macros_are_a_cluster() -> None:
    check_cluster(client(), CLUSTER)


def test_without_a_cluster_in_the_settings_nobody_is_asked() -> None:
    check_cluster(cast("Client", None), ClickHouseSettings())


@pytest.mark.parametrize(
    ("servers", "settings", "words"),
    [
        (client(replicas=()), CLUSTER, "remote_servers"),
        (client(internal=0), CLUSTER, "internal_replication"),
        (client(replicas=(2, 1)), CLUSTER, "WEIR_CLICKHOUSE__INSERT_QUORUM"),
        (client(), ClickHouseSettings(cluster="lab", insert_quorum="3"), "has 2 of the 3 replicas"),
        (client(places={("1", "r1"), ("1", "r2")}), CLUSTER, "macros shard and replica"),
        (client(places={("1", "a"), ("1", "b"), ("1", "c"), ("1", "d")}), CLUSTER, "macros shard and replica"),
        (client(policies=3), ClickHouseSettings(cluster="lab", storage_policy="tiered"), "storage policy tiered"),
    ],
)
def test_what_a_cluster_lacks_is_said_before_anything_is_made(
    servers: Client, settings: ClickHouseSettings, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        check_cluster(servers, settings)


def test_shards_of_one_replica_need_a_quorum_of_one() -> None:
    places = {("1", "a"), ("2", "a")}
    check_cluster(client(replicas=(1, 1), places=places), ClickHouseSettings(cluster="lab", insert_quorum="1"))


def test_a_worker_that_does_not_know_of_the_cluster_writes_nothing() -> None:
    with pytest.raises(ConfigError, match="set WEIR_CLICKHOUSE__CLUSTER"):
        check_form(client(engine="Distributed"), ClickHouseSettings())


def test_the_tables_of_one_server_are_not_taken_for_a_clusters() -> None:
    with pytest.raises(ConfigError, match=r"docs/scale\.md"):
        check_form(client(engine="ReplacingMergeTree"), CLUSTER)


@pytest.mark.parametrize(
    ("engine", "settings"),
    [
        (None, ClickHouseSettings()),
        (None, CLUSTER),
        ("Distributed", CLUSTER),
        ("ReplacingMergeTree", ClickHouseSettings()),
    ],
)
def test_tables_of_the_right_form_pass(engine: str | None, settings: ClickHouseSettings) -> None:
    check_form(client(engine=engine), settings)


@pytest.mark.parametrize("code", [285, 286, 289, 319, 242, 225, 279])
def test_what_a_replica_or_a_shard_says_in_bad_moments_passes(code: int) -> None:
    assert clickhouse_passes(code)


def test_a_new_replica_gets_what_it_lacks() -> None:
    settings = Settings(clickhouse=CLUSTER)
    servers = FakeServers(engine="Distributed")
    told = ddl.apply(cast("Client", servers), settings, wanted=[])
    assert [change.action for change in told] == ["create"], "the database is not on every server"
    (table, *_) = relations(settings)
    made = [sql for sql in _migrated(settings, table.name) if sql.startswith("CREATE TABLE")]
    assert made == [table.create("weir")]
    assert _migrated(settings, missing=None) == []


def _migrated(settings: Settings, missing: str | None) -> list[str]:
    """The statements of a migration of servers that have everything, except one, which lacks ``missing``."""
    (table, *_) = relations(settings)
    assert isinstance(table, Table)
    there = Existing(
        table.engine,
        table.partition_by,
        table.order_by,
        table.ttl,
        table.settings,
        table.comment,
        "",
        {column.name: column for column in table.columns},
    )
    servers = FakeServers(engine="Distributed", everywhere={"weir", table.name} - {missing or ""})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ddl, "read_existing", lambda *_: {table.name: there})
        ddl.apply(cast("Client", servers), settings, wanted=[table])
    return servers.commands
